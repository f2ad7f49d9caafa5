import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { refuse } from "../base/errors.js";
import { unpackInto } from "./archive-put.js";
import type { Progress } from "./contract.js";
import { hostArchitecture } from "./import.js";
import { compressionOf, fileDigest, writeUncompressed } from "./layer-file.js";
import { canonicalName, familiarName, parseReference } from "./reference.js";
import { resolveInRoot } from "./rooted.js";
import type { Storage } from "./storage.js";
import type { ImageConfigFile, StorageIndex } from "./storage-index.js";
import { type LayerSource, makeTemporary, removeTemporary, storeImage } from "./storage-write.js";

export interface LoadedImage {
  readonly id: string;
  /** Familiar names. */
  readonly names: readonly string[];
}

interface ArchivedImage {
  readonly config: Buffer;
  /** Paths of files, lowest layer first. */
  readonly layers: readonly string[];
  readonly names: readonly string[];
}

/**
 * `docker load`: an archive of `docker save` or an OCI image layout in a tar, with any number of images.
 * Refusal 400 for anything else.
 */
export async function loadImages(
  storage: Storage,
  index: StorageIndex,
  source: Readable,
  progress: Progress,
): Promise<readonly LoadedImage[]> {
  const directory = await makeTemporary(storage);
  try {
    await unpackInto(directory, "", source, { noOverwriteDirNonDir: false, owner: { uid: 0, gid: 0 } });
    const images = (await dockerArchive(directory)) ?? (await ociArchive(directory));
    if (images === undefined) refuse(400, "Error processing tar file: neither manifest.json nor index.json in the archive");
    const loaded: LoadedImage[] = [];
    for (const image of images) {
      const layers = await layerSources(directory, image);
      const before = await index.read();
      const present = new Set([...before.layers.values()].map((layer) => layer["diff-digest"]));
      const id = await storeImage(storage, { config: image.config, layers, names: image.names });
      for (const layer of layers)
        if (!present.has(layer.digest))
          progress({
            status: "Loading layer",
            progressDetail: { current: layer.size, total: layer.size },
            id: layer.digest.slice(7, 19),
          });
      for (const name of image.names) {
        const old = before.byName.get(name);
        if (old !== undefined && `sha256:${old}` !== id)
          progress({
            stream: `The image ${familiarName(name)} already exists, renaming the old one with ID sha256:${old} to empty string\n`,
          });
        progress({ stream: `Loaded image: ${familiarName(name)}\n` });
      }
      if (image.names.length === 0) progress({ stream: `Loaded image ID: ${id}\n` });
      loaded.push({ id, names: image.names.map(familiarName) });
    }
    return loaded;
  } finally {
    await removeTemporary(directory);
  }
}

/** A path that the archive names, followed inside the unpacked directory only. */
async function inside(directory: string, path: string): Promise<string> {
  const rooted = await resolveInRoot(directory, path, { follow: true }).catch(() =>
    refuse(400, `Error processing tar file: ${JSON.stringify(path)} is missing in the archive`),
  );
  await rooted.close();
  return join(directory, rooted.path);
}

async function jsonOf<T>(directory: string, path: string): Promise<T | undefined> {
  const text = await readFile(await inside(directory, path), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    return refuse(400, `Error processing tar file: ${path}: ${(error as Error).message}`);
  }
}

const has = (directory: string, name: string): Promise<boolean> =>
  stat(join(directory, name)).then(
    () => true,
    () => false,
  );

/** moby's image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format". */
async function dockerArchive(directory: string): Promise<readonly ArchivedImage[] | undefined> {
  if (!(await has(directory, "manifest.json"))) return undefined;
  const entries = await jsonOf<{ Config?: unknown; RepoTags?: unknown; Layers?: unknown }[]>(directory, "manifest.json");
  if (!Array.isArray(entries)) refuse(400, "Error processing tar file: manifest.json is not a list");
  return Promise.all(
    entries.map(async (entry) => {
      const layers = stringsOf(entry.Layers);
      if (typeof entry.Config !== "string") refuse(400, "Error processing tar file: manifest.json names no Config");
      return {
        config: await readFile(await inside(directory, entry.Config)),
        layers: await Promise.all(layers.map((path) => inside(directory, path))),
        names: stringsOf(entry.RepoTags).map(nameFromArchive),
      };
    }),
  );
}

interface Descriptor {
  readonly mediaType?: string;
  readonly digest: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: { readonly architecture?: string; readonly os?: string };
}

/** OCI image-spec, image-layout.md. */
async function ociArchive(directory: string): Promise<readonly ArchivedImage[] | undefined> {
  if (!(await has(directory, "index.json"))) return undefined;
  const blob = (digest: string) => inside(directory, `blobs/${digest.replace(":", "/")}`);
  const out: ArchivedImage[] = [];
  const visit = async (descriptors: readonly Descriptor[], depth: number, inherited: readonly string[]): Promise<void> => {
    for (const descriptor of descriptors) {
      const full =
        descriptor.annotations?.["io.containerd.image.name"] ?? descriptor.annotations?.["org.opencontainers.image.ref.name"];
      // A bare tag ("latest") names no repository.
      const names = full !== undefined && /[/:]/.test(full) ? [nameFromArchive(full)] : inherited;
      const manifest = JSON.parse(await readFile(await blob(descriptor.digest), "utf8")) as {
        manifests?: readonly Descriptor[];
        config?: Descriptor;
        layers?: readonly Descriptor[];
      };
      if (manifest.manifests !== undefined && depth < 3) {
        const fitting = manifest.manifests.filter((m) => (m.platform?.architecture ?? hostArchitecture()) === hostArchitecture());
        await visit(fitting.slice(0, 1), depth + 1, names);
      } else if (manifest.config !== undefined) {
        const layers = await Promise.all((manifest.layers ?? []).map((layer) => blob(layer.digest)));
        out.push({ config: await readFile(await blob(manifest.config.digest)), layers, names });
      }
    }
  };
  await visit((await jsonOf<{ manifests?: readonly Descriptor[] }>(directory, "index.json"))?.manifests ?? [], 0, []);
  return out;
}

function stringsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
}

function nameFromArchive(text: string): string {
  const reference = parseReference(text);
  if (!reference.ok) refuse(400, `Error processing tar file: ${reference.error.message}: ${JSON.stringify(text)}`);
  return canonicalName(reference.value);
}

/** An uncompressed layer's digest stands in the config already; skopeo verifies it while it reads the bytes. */
async function layerSources(directory: string, image: ArchivedImage): Promise<LayerSource[]> {
  let config: ImageConfigFile;
  try {
    config = JSON.parse(image.config.toString()) as ImageConfigFile;
  } catch (error) {
    return refuse(400, `Error processing tar file: the image's config: ${(error as Error).message}`);
  }
  const diffIds = config.rootfs?.diff_ids ?? [];
  if (diffIds.length !== image.layers.length) refuse(400, "invalid manifest, layers length mismatch");
  return Promise.all(
    image.layers.map(async (file, i): Promise<LayerSource> => {
      const digest = diffIds[i] ?? "";
      if (!/^sha256:[0-9a-f]{64}$/.test(digest)) refuse(400, `invalid digest in the image's config: ${JSON.stringify(digest)}`);
      const head = await firstBytes(file);
      const compression = compressionOf(head);
      const { size } = await stat(file);
      if (compression === "none") return { digest, size, file };
      if (compression === "gzip") return { digest: await fileDigest(file), size, file, gzip: true };
      const plain = join(directory, `${digest.slice("sha256:".length)}.plain`);
      return { ...(await writeUncompressed(createReadStream(file), plain)), file: plain };
    }),
  );
}

async function firstBytes(file: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of createReadStream(file, { start: 0, end: 5 })) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
