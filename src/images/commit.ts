import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { orRefuse } from "../base/errors.js";
import { outputOf } from "./archive.js";
import { isMountPoint } from "./archive-changes.js";
import { applyChanges } from "./changes.js";
import type { CommitRequest } from "./contract.js";
import { nameOf } from "./import.js";
import { writeUncompressed } from "./layer-file.js";
import type { Storage } from "./storage.js";
import type { IndexedImage, Snapshot } from "./storage-index.js";
import { type LayerSource, makeTemporary, removeTemporary, storeImage } from "./storage-write.js";
import { endOfArchive, readTar, type TarEntry, writeHeader } from "./tar-blocks.js";

/** `docker commit`: the base image's layers by reference, and one new layer out of the writable layer. */
export async function commitImage(
  storage: Storage,
  snapshot: Snapshot,
  base: IndexedImage,
  request: CommitRequest,
): Promise<string> {
  const names = request.repo === "" ? [] : [nameOf(request.repo, request.tag)];
  const config = orRefuse(applyChanges(request.config, request.changes));
  const directory = await makeTemporary(storage);
  try {
    const file = join(directory, "layer.tar");
    const layer = await writeUncompressed(layerOfUpper(request.upperDir), file);
    const created = new Date().toISOString();
    const entry = {
      created,
      created_by: request.createdBy,
      ...(request.author === "" ? {} : { author: request.author }),
      ...(request.comment === "" ? {} : { comment: request.comment }),
    };
    return await storeImage(storage, {
      config: JSON.stringify({
        architecture: base.image.architecture,
        os: base.image.os,
        ...(base.file.variant === undefined ? {} : { variant: base.file.variant }),
        ...(request.author === "" ? {} : { author: request.author }),
        ...(request.comment === "" ? {} : { comment: request.comment }),
        created,
        config,
        history: [...(base.file.history ?? []), entry],
        rootfs: { type: "layers", diff_ids: [...base.image.diffIds, layer.digest] },
      }),
      layers: [...presentLayers(snapshot, base), { ...layer, file }],
      names,
    });
  } finally {
    await removeTemporary(directory);
  }
}

/** The layers of an image that is in storage, lowest first: named by digest, no bytes. */
export function presentLayers(snapshot: Snapshot, found: IndexedImage): LayerSource[] {
  const ids = [...found.layerIds].reverse();
  return found.image.diffIds.map((digest, i) => ({ digest, size: snapshot.layers.get(ids[i] ?? "")?.["diff-size"] ?? 0 }));
}

/**
 * A layer's tar out of an overlayfs upper directory: a character device 0:0 becomes ".wh.NAME", an opaque directory gets
 * ".wh..wh..opq" (OCI image-spec, layer.md), overlayfs's own attributes are left out.
 */
export function layerOfUpper(upperDir: string): Readable {
  return Readable.from(convert(upperDir), { objectMode: false });
}

async function* convert(upperDir: string): AsyncGenerator<Buffer> {
  const directory = await open(upperDir, constants.O_RDONLY | constants.O_DIRECTORY);
  const child = spawn(
    "tar",
    [
      ...["--create", "--file=-", "--format=pax", "--pax-option=delete=atime,delete=ctime", "--numeric-owner", "--xattrs"],
      ...["--xattrs-include=security.capability", "--xattrs-include=user.*", "--xattrs-include=trusted.overlay.*"],
      ...["--warning=no-file-ignored", "--warning=no-file-changed", "--warning=no-file-removed", "--ignore-failed-read"],
      ...["--sort=name", "--directory=/proc/self/fd/3", "."],
    ],
    { stdio: ["ignore", "pipe", "pipe", directory.fd], env: { PATH: process.env.PATH ?? "/usr/bin:/bin", LANG: "C.UTF-8" } },
  );
  const source = outputOf(child, "tar", () => void directory.close());
  for await (const entry of readTar(source)) {
    const path = entry.path.replace(/\/+$/, "");
    if (entry.type === "3" && entry.deviceMajor === 0 && entry.deviceMinor === 0) {
      const slash = path.lastIndexOf("/");
      yield whiteout(entry, `${path.slice(0, slash + 1)}.wh.${path.slice(slash + 1)}`);
      continue;
    }
    if (entry.type === "0" && isMountPoint(path.slice(1), { isFile: () => true, size: entry.size })) continue;
    const pax = new Map([...entry.pax].filter(([key]) => !/^SCHILY\.xattr\.(trusted|user)\.overlay\./.test(key)));
    yield writeHeader({ path: entry.path, type: entry.type, header: entry.header, size: entry.size, pax });
    yield* entry.content();
    if (entry.pax.get("SCHILY.xattr.trusted.overlay.opaque")?.toString() === "y") yield whiteout(entry, `${path}/.wh..wh..opq`);
  }
  yield endOfArchive;
}

function whiteout(entry: TarEntry, path: string): Buffer {
  const header = Buffer.from(entry.header);
  // No device numbers, no link target.
  header.fill(0, 157, 257);
  header.fill(0, 329, 345);
  return writeHeader({ path, type: "0", header, size: 0, pax: new Map() });
}
