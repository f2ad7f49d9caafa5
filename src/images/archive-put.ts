import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { chmod, chown, lchown, link, lstat, lutimes, mkdir, open, rm, rmdir, symlink, unlink } from "node:fs/promises";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { extract, type Header } from "tar-stream";
import { RefusalError, refuse } from "../base/errors.js";
import { explain } from "./archive.js";
import { decompressed } from "./layer-file.js";
import { type Rooted, resolveInRoot, withRooted } from "./rooted.js";

export interface PutOptions {
  /** Refuse to replace a directory by something else and the other way round. */
  readonly noOverwriteDirNonDir: boolean;
  /** Give everything to this owner instead of the archive's. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  readonly container?: string;
}

/**
 * `docker cp` into a container: unpacks a tar (maybe compressed) into a directory of the container. Names, symbolic links and hard links
 * of the archive and of the container cannot lead outside `rootfs` (see rooted.ts).
 * Refusals: 404 when the directory is not there, 400 when it is none, when the archive is broken or would overwrite as forbidden.
 */
export async function putArchive(rootfs: string, path: string, archive: Readable, options: PutOptions): Promise<void> {
  const target = await explain(path, options.container ?? "", () =>
    withRooted(rootfs, path, { follow: true }, async (rooted) => {
      if (!(await lstat(rooted.at)).isDirectory()) refuse(400, "extraction point is not a directory");
      return rooted.path;
    }),
  );
  await unpackInto(rootfs, target, archive, options);
}

/** Unpacks below `base`, a directory inside `rootfs`. Directories get their times last. */
export async function unpackInto(
  rootfs: string,
  base: string,
  archive: Readable,
  options: Pick<PutOptions, "noOverwriteDirNonDir" | "owner">,
): Promise<void> {
  const entries = extract();
  const feeding = pipeline(await decompressed(archive), entries as unknown as NodeJS.WritableStream);
  feeding.catch(() => undefined);
  const directories: { path: string; mtime: Date }[] = [];
  try {
    for await (const entry of entries) {
      const { header } = entry;
      const path = `${base}/${header.name}`;
      await withRooted(rootfs, path, { follow: false, makeParents: true }, async (rooted) => {
        await writeEntry(rootfs, base, rooted, header, entry as unknown as Readable, options);
        if (header.type === "directory") directories.push({ path, mtime: header.mtime ?? new Date(0) });
      });
      entry.resume();
    }
    await feeding;
  } catch (error) {
    entries.destroy();
    archive.destroy();
    if (error instanceof RefusalError) throw error;
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (code === "") refuse(400, `Error processing tar file: ${(error as Error).message}`);
    throw error;
  }
  for (const { path, mtime } of directories.reverse())
    await withRooted(rootfs, path, { follow: false }, (rooted) => lutimes(rooted.at, mtime, mtime)).catch(() => undefined);
}

async function writeEntry(
  rootfs: string,
  base: string,
  rooted: Rooted,
  header: Header,
  content: Readable,
  options: Pick<PutOptions, "noOverwriteDirNonDir" | "owner">,
): Promise<void> {
  const present = await lstat(rooted.at).catch(() => undefined);
  const isDirectory = header.type === "directory";
  if (present !== undefined) {
    const was = present.isDirectory();
    if (options.noOverwriteDirNonDir && was !== isDirectory)
      refuse(
        400,
        isDirectory
          ? `cannot overwrite non-directory ${JSON.stringify(rooted.path)} with directory ${JSON.stringify(`${base}/${header.name}`)}`
          : `cannot overwrite directory ${JSON.stringify(rooted.path)} with non-directory ${JSON.stringify(`${base}/${header.name}`)}`,
      );
    // A mount's root or the container's own root stays; only its attributes change.
    if (!(was && isDirectory)) {
      if (rooted.name === ".") refuse(400, `cannot overwrite directory ${JSON.stringify(rooted.path)} with non-directory`);
      if (was) await rmdir(rooted.at).catch(() => rm(rooted.at, { recursive: true, force: true }));
      else await unlink(rooted.at);
    }
  }
  const uid = options.owner?.uid ?? header.uid ?? 0;
  const gid = options.owner?.gid ?? header.gid ?? 0;
  const mode = (header.mode ?? 0o644) & 0o7777;
  const mtime = header.mtime ?? new Date();
  switch (header.type) {
    case "directory": {
      if (present === undefined || !present.isDirectory()) await mkdir(rooted.at, { mode: 0o700 });
      const handle = await open(
        rooted.at,
        constants.O_RDONLY | constants.O_DIRECTORY | (rooted.name === "." ? 0 : constants.O_NOFOLLOW),
      );
      try {
        await handle.chown(uid, gid);
        await handle.chmod(mode);
      } finally {
        await handle.close();
      }
      return;
    }
    case "symlink":
      await symlink(header.linkname ?? "", rooted.at);
      await lchown(rooted.at, uid, gid);
      await lutimes(rooted.at, mtime, mtime);
      return;
    case "link": {
      const source = await resolveInRoot(rootfs, `${base}/${header.linkname ?? ""}`, { follow: false });
      try {
        await link(source.at, rooted.at);
      } finally {
        await source.close();
      }
      return;
    }
    case "character-device":
    case "block-device":
    case "fifo":
      await makeNode(rooted, header);
      await chown(rooted.at, uid, gid);
      await chmod(rooted.at, mode);
      return;
    default: {
      const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
      const handle = await open(rooted.at, flags, 0o600);
      try {
        for await (const chunk of content) await handle.writeFile(chunk as Buffer);
        await handle.chown(uid, gid);
        await handle.chmod(mode);
        await handle.utimes(mtime, mtime);
      } finally {
        await handle.close();
      }
    }
  }
}

/** Node has no mknod(2). Rare enough for a program, which gets the directory as an open descriptor. */
async function makeNode(rooted: Rooted, header: Header): Promise<void> {
  const kind = header.type === "fifo" ? "p" : header.type === "block-device" ? "b" : "c";
  const numbers = kind === "p" ? [] : [String(header.devmajor ?? 0), String(header.devminor ?? 0)];
  const child = spawn("mknod", ["-m", "600", "--", `/proc/self/fd/3/${rooted.name}`, kind, ...numbers], {
    stdio: ["ignore", "ignore", "pipe", rooted.directory.fd],
  });
  const code = await new Promise<number>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status) => resolve(status ?? 1));
  });
  if (code !== 0) throw new Error(`mknod ${rooted.path} failed`);
}
