import type { ImageRuntimeConfig } from "../model/container.js";
import { hostArchitecture } from "./import.js";
import { hexOf } from "./lookup.js";
import type { HistoryEntry, ImageConfigFile, IndexedImage, Snapshot } from "./storage-index.js";
import { type LayerSource, sha256 } from "./storage-write.js";

export interface BuildLayer {
  /** Digest of the uncompressed tar */
  readonly digest: string;
  readonly size: number;
  /** What overlayfs takes as a lower directory */
  readonly directory: string;
  /** The layer as a tar; absent: storage has it */
  readonly file?: string;
}

/** What a step of a build made: an image that is perhaps in no storage yet. */
export interface StepImage {
  /** "sha256:…" of `text`, as the image's id will be if it is stored */
  readonly id: string;
  readonly text: string;
  readonly file: ImageConfigFile;
  /** Lowest first */
  readonly layers: readonly BuildLayer[];
}

export interface StepResult {
  readonly config?: ImageRuntimeConfig;
  readonly author?: string;
  readonly createdBy: string;
  /** Absent: the step only changes the configuration */
  readonly layer?: BuildLayer;
}

/** What FROM scratch begins with. */
export function emptyImage(): StepImage {
  const file = {
    architecture: hostArchitecture(),
    os: "linux",
    config: {},
    history: [],
    rootfs: { type: "layers", diff_ids: [] },
  };
  return { id: "", text: JSON.stringify(file), file, layers: [] };
}

export function imageInStorage(found: IndexedImage, snapshot: Snapshot, directoryOf: (layerId: string) => string): StepImage {
  return {
    id: `sha256:${hexOf(found.image)}`,
    text: JSON.stringify(found.file),
    file: found.file,
    layers: layersOf(found, snapshot, directoryOf),
  };
}

function layersOf(found: IndexedImage, snapshot: Snapshot, directoryOf: (layerId: string) => string): BuildLayer[] {
  const ids = [...found.layerIds].reverse();
  return found.image.diffIds.map((digest, i) => ({
    digest,
    size: snapshot.layers.get(ids[i] ?? "")?.["diff-size"] ?? 0,
    directory: directoryOf(ids[i] ?? ""),
  }));
}

/** The layers with these digests from below on, out of any image that has them; undefined where no image has them any more. */
export function layersInStorage(
  diffIds: readonly string[],
  snapshot: Snapshot,
  directoryOf: (layerId: string) => string,
): BuildLayer[] | undefined {
  if (diffIds.length === 0) return [];
  for (const found of snapshot.images.values()) {
    const { diffIds: own } = found.image;
    if (own.length >= diffIds.length && diffIds.every((digest, i) => own[i] === digest))
      return layersOf(found, snapshot, directoryOf).slice(0, diffIds.length);
  }
  return undefined;
}

export function nextImage(from: StepImage, step: StepResult): StepImage {
  const created = new Date().toISOString();
  const author = step.author ?? from.file.author ?? "";
  const entry: HistoryEntry = {
    created,
    created_by: step.createdBy,
    ...(author === "" ? {} : { author }),
    ...(step.layer === undefined ? { empty_layer: true } : {}),
  };
  const layers = step.layer === undefined ? from.layers : [...from.layers, step.layer];
  const { variant } = from.file;
  const file: ImageConfigFile = {
    architecture: from.file.architecture ?? hostArchitecture(),
    os: from.file.os ?? "linux",
    ...(variant === undefined ? {} : { variant }),
    ...(author === "" ? {} : { author }),
    created,
    config: step.config ?? from.file.config ?? {},
    history: [...(from.file.history ?? []), entry],
    rootfs: { type: "layers", diff_ids: layers.map((layer) => layer.digest) },
  };
  const text = JSON.stringify(file);
  return { id: sha256(text), text, file, layers };
}

/** A step remembered from an earlier build. */
export function rememberedImage(text: string, layers: readonly BuildLayer[]): StepImage {
  return { id: sha256(text), text, file: JSON.parse(text) as ImageConfigFile, layers };
}

export function layerSources(image: StepImage): LayerSource[] {
  return image.layers.map(({ digest, size, file }) => ({ digest, size, ...(file === undefined ? {} : { file }) }));
}
