import { createHash } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ImageRuntimeConfig } from "../model/container.js";
import type { Image } from "./contract.js";
import { familiarName } from "./reference.js";

/** One entry of overlay-images/images.json, as far as it is needed (containers/storage, images.go). */
interface StoredImage {
  readonly id: string;
  readonly digest?: string;
  readonly names?: readonly string[];
  readonly layer?: string;
  readonly created?: string;
}
/** One entry of overlay-layers/layers.json (containers/storage, layers.go). */
export interface StoredLayer {
  readonly id: string;
  readonly parent?: string;
  readonly "diff-digest"?: string;
  readonly "diff-size"?: number;
  readonly "compressed-diff-digest"?: string;
}

/** An image's config blob: Docker's and OCI's share these fields. */
export interface ImageConfigFile {
  readonly created?: string;
  readonly author?: string;
  readonly comment?: string;
  readonly architecture?: string;
  readonly os?: string;
  readonly variant?: string;
  readonly config?: ImageRuntimeConfig | null;
  readonly rootfs?: { readonly type: string; readonly diff_ids: readonly string[] | null };
  readonly history?: readonly HistoryEntry[] | null;
}
export interface HistoryEntry {
  readonly created?: string;
  readonly created_by?: string;
  readonly author?: string;
  readonly comment?: string;
  readonly empty_layer?: boolean;
}

export interface IndexedImage {
  readonly image: Image;
  readonly file: ImageConfigFile;
  /** Names as storage keeps them, sorted. */
  readonly names: readonly string[];
  readonly topLayer: string;
  /** Ids of storage's layers, uppermost first. */
  readonly layerIds: readonly string[];
}

export interface Snapshot {
  /** By hex id. */
  readonly images: ReadonlyMap<string, IndexedImage>;
  /** Canonical name → hex id. */
  readonly byName: ReadonlyMap<string, string>;
  readonly layers: ReadonlyMap<string, StoredLayer>;
}

/** Repository digests are ours to remember: storage keeps only the digest of its own copy's manifest. "repo@sha256:…" → hex id */
export type RepoDigests = Readonly<Record<string, string>>;

export interface StorageIndex {
  /** Costs three stat(2) when nothing has changed. */
  read(): Promise<Snapshot>;
  layerDirectory(layerId: string): string;
}

/** A file parsed as JSON, kept until its inode, size or mtime changes. Absent file: the fallback. */
function cachedJson<T>(path: string, fallback: T): () => Promise<{ readonly value: T; readonly stamp: string }> {
  let held: { value: T; stamp: string } = { value: fallback, stamp: "none" };
  return async () => {
    const info = await stat(path, { bigint: true }).catch(() => undefined);
    const stamp = info === undefined ? "absent" : `${info.ino}:${info.size}:${info.mtimeNs}`;
    if (stamp === held.stamp) return held;
    held = { stamp, value: info === undefined ? fallback : (JSON.parse(await readFile(path, "utf8")) as T) };
    return held;
  };
}

export function createStorageIndex(root: string, metadataFile: string): StorageIndex {
  const images = cachedJson<readonly StoredImage[]>(join(root, "overlay-images/images.json"), []);
  const layers = cachedJson<readonly StoredLayer[]>(join(root, "overlay-layers/layers.json"), []);
  const metadata = cachedJson<{ readonly repoDigests?: RepoDigests }>(metadataFile, {});
  const configs = new Map<string, ImageConfigFile>();
  let held: { readonly stamp: string; readonly snapshot: Snapshot } | undefined;

  async function configOf(id: string): Promise<ImageConfigFile | undefined> {
    const known = configs.get(id);
    if (known !== undefined) return known;
    // Big data lives in a file named after its key in base64 (containers/storage, makeBigDataBaseName).
    const name = `=${Buffer.from(`sha256:${id}`).toString("base64")}`;
    const text = await readFile(join(root, "overlay-images", id, name), "utf8").catch(() => undefined);
    if (text === undefined) return undefined;
    const config = JSON.parse(text) as ImageConfigFile;
    configs.set(id, config);
    return config;
  }

  return {
    async read() {
      const [i, l, m] = await Promise.all([images(), layers(), metadata()]);
      const stamp = `${i.stamp} ${l.stamp} ${m.stamp}`;
      if (held?.stamp === stamp) return held.snapshot;
      const layerMap = new Map(l.value.map((layer) => [layer.id, layer]));
      const usable: { stored: StoredImage; config: ImageConfigFile }[] = [];
      for (const stored of i.value) {
        const config = await configOf(stored.id);
        // An image whose config is not there yet is being written by a program at this moment.
        if (config !== undefined) usable.push({ stored, config });
      }
      for (const id of configs.keys()) if (!i.value.some((stored) => stored.id === id)) configs.delete(id);
      const snapshot = buildSnapshot(usable, layerMap, m.value.repoDigests ?? {});
      held = { stamp, snapshot };
      return snapshot;
    },
    layerDirectory: (layerId) => join(root, "overlay", layerId, "diff"),
  };
}

function buildSnapshot(
  usable: readonly { readonly stored: StoredImage; readonly config: ImageConfigFile }[],
  layers: ReadonlyMap<string, StoredLayer>,
  repoDigests: RepoDigests,
): Snapshot {
  const images = new Map<string, IndexedImage>();
  const byName = new Map<string, string>();
  const parents = parentsOf(usable);
  for (const { stored, config } of usable) {
    const layerIds: string[] = [];
    for (let id = stored.layer ?? ""; id !== "" && layerIds.length < 1024; id = layers.get(id)?.parent ?? "") layerIds.push(id);
    const sizes = layerIds.map((id) => layers.get(id)?.["diff-size"] ?? 0).reverse();
    const names = [...(stored.names ?? [])].sort();
    for (const name of names) byName.set(name, stored.id);
    for (const [name, id] of Object.entries(repoDigests)) if (id === stored.id) byName.set(name, id);
    const digests = Object.entries(repoDigests).filter(([, id]) => id === stored.id);
    let next = 0;
    const image: Image = {
      id: `sha256:${stored.id}`,
      repoTags: names.filter((name) => !name.includes("@")).map(familiarName),
      repoDigests: [...new Set([...digests.map(([name]) => name), ...names.filter((name) => name.includes("@"))])].map(
        familiarName,
      ),
      parent: parents.get(stored.id) ?? "",
      comment: config.comment ?? config.history?.at(-1)?.comment ?? "",
      created: config.created ?? stored.created ?? "0001-01-01T00:00:00Z",
      author: config.author ?? "",
      architecture: config.architecture ?? "amd64",
      os: config.os ?? "linux",
      size: sizes.reduce((sum, size) => sum + size, 0),
      config: config.config ?? {},
      diffIds: config.rootfs?.diff_ids ?? [],
      history: (config.history ?? []).map((entry) => ({
        created: entry.created ?? "0001-01-01T00:00:00Z",
        created_by: entry.created_by ?? "",
        ...(entry.comment === undefined ? {} : { comment: entry.comment }),
        ...(entry.empty_layer === true ? { empty_layer: true, size: 0 } : { size: sizes[next++] ?? 0 }),
      })),
    };
    images.set(stored.id, { image, file: config, names, topLayer: stored.layer ?? "", layerIds });
  }
  return { images, byName, layers };
}

/**
 * Docker records the image from which another was made; storage does not. It is the one with the longest history and layers
 * that the other's begin with (the same rule as the build cache's).
 */
function parentsOf(usable: readonly { readonly stored: StoredImage; readonly config: ImageConfigFile }[]): Map<string, string> {
  const keys = usable.map(({ stored, config }) => ({ id: stored.id, keys: prefixKeys(config) }));
  const whole = new Map<string, string>();
  for (const { id, keys: own } of keys) {
    const last = own.at(-1);
    if (last !== undefined) whole.set(last, id);
  }
  const parents = new Map<string, string>();
  for (const { id, keys: own } of keys) {
    for (let length = own.length - 1; length > 0; length--) {
      const parent = whole.get(own[length - 1] ?? "");
      if (parent === undefined || parent === id) continue;
      parents.set(id, `sha256:${parent}`);
      break;
    }
  }
  return parents;
}

const keysOfConfig = new WeakMap<ImageConfigFile, readonly string[]>();

/** One digest for each beginning of an image's history, the layers of its entries included. */
function prefixKeys(config: ImageConfigFile): readonly string[] {
  const known = keysOfConfig.get(config);
  if (known !== undefined) return known;
  const keys: string[] = [];
  let layer = 0;
  for (const entry of config.history ?? []) {
    const diffId = entry.empty_layer === true ? "" : (config.rootfs?.diff_ids?.[layer++] ?? "");
    // Programs write the same history differently: "" or nothing, .540Z or .54Z.
    const created = (entry.created ?? "").replace(/\.?0*Z$/, "Z");
    const text = JSON.stringify([keys.at(-1) ?? "", created, entry.created_by ?? "", entry.comment ?? "", diffId]);
    keys.push(createHash("sha256").update(text).digest("base64"));
  }
  keysOfConfig.set(config, keys);
  return keys;
}
