import { createHash, randomBytes } from "node:crypto";
import { link, mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { programError } from "./program.js";
import type { Storage } from "./storage.js";

export interface LayerSource {
  /** Digest of `file`'s bytes; of the uncompressed tar where there is no file. "sha256:…" */
  readonly digest: string;
  readonly size: number;
  /** Absent: storage has the layer already and skopeo does not ask for its bytes. */
  readonly file?: string;
  readonly gzip?: boolean;
}

const mediaTypes = {
  manifest: "application/vnd.docker.distribution.manifest.v2+json",
  config: "application/vnd.docker.container.image.v1+json",
  tar: "application/vnd.docker.image.rootfs.diff.tar",
  gzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
} as const;

export const sha256 = (data: Buffer | string): string => `sha256:${createHash("sha256").update(data).digest("hex")}`;

/** A new directory for working files; the caller removes it with `removeTemporary`. */
export async function makeTemporary(storage: Storage): Promise<string> {
  const path = join(storage.tmp, randomBytes(8).toString("hex"));
  await mkdir(path, { mode: 0o700 });
  return path;
}

export async function removeTemporary(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}

/**
 * Makes an image: a `dir:` layout of Docker's manifest, config and new layers, which skopeo copies into storage. Layers that
 * storage has are named by their digest only and cost nothing. Docker's manifest types, not OCI's, because a Docker config
 * holds what OCI's does not (Healthcheck, OnBuild, Shell).
 * Resolves to the image's id, "sha256:…", the digest of the config.
 */
export async function storeImage(
  storage: Storage,
  image: { readonly config: string | Buffer; readonly layers: readonly LayerSource[]; readonly names: readonly string[] },
): Promise<string> {
  const config = Buffer.isBuffer(image.config) ? image.config : Buffer.from(image.config);
  const id = sha256(config);
  const directory = await makeTemporary(storage);
  try {
    await writeFile(join(directory, "version"), "Directory Transport Version: 1.1\n");
    await writeFile(join(directory, id.slice("sha256:".length)), config);
    for (const layer of image.layers) {
      if (layer.file === undefined) continue;
      await link(layer.file, join(directory, layer.digest.slice("sha256:".length))).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== "EEXIST") throw error;
      });
    }
    const manifest = {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config: { mediaType: mediaTypes.config, size: config.length, digest: id },
      layers: image.layers.map((layer) => ({
        mediaType: layer.gzip === true ? mediaTypes.gzip : mediaTypes.tar,
        size: layer.size,
        digest: layer.digest,
      })),
    };
    await writeFile(join(directory, "manifest.json"), JSON.stringify(manifest));
    await copyIn(storage, `dir:${directory}`, id, image.names);
    return id;
  } finally {
    await removeTemporary(directory);
  }
}

/** skopeo copy into storage, under the first name (or none), then the other names. */
async function copyIn(storage: Storage, source: string, id: string, names: readonly string[]): Promise<void> {
  const [first, ...others] = names;
  const result = await storage.skopeo(["copy", "--quiet", source, storage.reference(first ?? `@${id.slice("sha256:".length)}`)]);
  if (result.code !== 0) throw new Error(programError(result.stderr));
  await addNames(storage, id, others);
}

export async function addNames(storage: Storage, id: string, names: readonly string[]): Promise<void> {
  if (names.length === 0) return;
  const result = await storage.buildah(["tag", id.slice("sha256:".length), ...names]);
  if (result.code !== 0) throw new Error(programError(result.stderr));
}
