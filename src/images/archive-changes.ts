import { spawn } from "node:child_process";
import type { Stats } from "node:fs";
import { constants } from "node:fs";
import { lstat, mkdir, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { outputOf } from "./archive.js";
import { resolveInRoot } from "./rooted.js";
import { readTar } from "./tar-blocks.js";

export const ChangeKind = { Modified: 0, Added: 1, Deleted: 2 } as const;
export interface PathChange {
  readonly Path: string;
  readonly Kind: 0 | 1 | 2;
}

/**
 * `docker diff`: what a writable layer (overlayfs upper directory) changes in the layers below (uppermost first), sorted by path.
 * A character device 0:0 is a deletion; in an opaque directory everything of below that is not there again is deleted
 * (Documentation/filesystems/overlayfs.rst).
 */
export async function changes(upperDir: string, lowerDirs: readonly string[]): Promise<readonly PathChange[]> {
  const out: PathChange[] = [];
  const shared: string[] = [];
  /** False: nothing but mount points of ours. */
  async function walk(path: string): Promise<boolean> {
    const entries = await readdir(join(upperDir, path), { withFileTypes: true });
    let hidden = 0;
    for (const entry of entries) {
      const child = `${path}/${entry.name}`;
      const info = await lstat(join(upperDir, child)).catch(() => undefined);
      if (info === undefined) continue;
      const below = await lowerStat(lowerDirs, child);
      if (isWhiteout(info)) {
        if (below !== undefined) out.push({ Path: child, Kind: ChangeKind.Deleted });
        continue;
      }
      if (below === undefined && isMountPoint(child, info)) {
        hidden++;
        continue;
      }
      const at = out.length;
      out.push({ Path: child, Kind: below === undefined ? ChangeKind.Added : ChangeKind.Modified });
      if (!info.isDirectory()) continue;
      if (below?.isDirectory()) shared.push(child);
      if (!(await walk(child))) {
        out.splice(at, 1);
        hidden++;
      }
    }
    return hidden === 0 || hidden < entries.length;
  }
  await walk("");
  for (const directory of await opaqueDirectories(upperDir, shared)) {
    const present = new Set(await readdir(join(upperDir, directory)));
    for (const name of await lowerNames(lowerDirs, directory))
      if (!present.has(name)) out.push({ Path: `${directory}/${name}`, Kind: ChangeKind.Deleted });
  }
  return out.sort((a, b) => (a.Path < b.Path ? -1 : a.Path > b.Path ? 1 : 0));
}

const mountPoints = new Set(
  "/.dockerenv /etc/hostname /etc/hosts /etc/resolv.conf /etc/mtab /dev /dev/console /dev/mqueue /dev/pts /dev/shm /proc /sys".split(
    " ",
  ),
);

/**
 * Empty files and directories that exist only so that the engine can mount over them. Docker keeps them in a layer of their
 * own below the writable one, so its `diff` and `commit` do not show them.
 */
export function isMountPoint(path: string, info: { isFile(): boolean; readonly size: number }): boolean {
  return mountPoints.has(path) && (!info.isFile() || info.size === 0);
}

export function isWhiteout(info: Stats): boolean {
  return info.isCharacterDevice() && info.rdev === 0;
}

/** What the layers below show at a path: the first layer that says something about it decides. */
async function lowerStat(lowerDirs: readonly string[], path: string): Promise<Stats | undefined> {
  for (const lower of lowerDirs) {
    const info = await lstat(join(lower, path)).catch((error: NodeJS.ErrnoException) => error.code);
    if (typeof info === "object") return isWhiteout(info) ? undefined : info;
    // A file in the place of a parent hides everything below it in deeper layers.
    if (info === "ENOTDIR") return undefined;
    if (await parentHidden(lower, path)) return undefined;
  }
  return undefined;
}

/** A whiteout of a parent in this layer hides the deeper layers' path. (lstat through it gives ENOTDIR, caught above.) */
async function parentHidden(lower: string, path: string): Promise<boolean> {
  const parent = path.slice(0, path.lastIndexOf("/"));
  if (parent === "") return false;
  const info = await lstat(join(lower, parent)).catch(() => undefined);
  return info !== undefined && isWhiteout(info);
}

async function lowerNames(lowerDirs: readonly string[], directory: string): Promise<ReadonlySet<string>> {
  const names = new Set<string>();
  for (const lower of lowerDirs)
    for (const name of await readdir(join(lower, directory)).catch(() => [] as string[]))
      if ((await lowerStat(lowerDirs, `${directory}/${name}`)) !== undefined) names.add(name);
  return names;
}

/**
 * Those of the directories that carry trusted.overlay.opaque. Node cannot read extended attributes; GNU tar writes them into
 * its headers, so it is given the directories alone.
 */
async function opaqueDirectories(upperDir: string, directories: readonly string[]): Promise<readonly string[]> {
  if (directories.length === 0) return [];
  const child = spawn(
    "tar",
    [
      ...["--create", "--file=-", "--format=pax", "--no-recursion", "--xattrs", "--xattrs-include=trusted.overlay.opaque"],
      ...["--numeric-owner", "--directory", upperDir, "--null", "--verbatim-files-from", "--files-from=-"],
    ],
    { stdio: ["pipe", "pipe", "pipe"], env: { PATH: process.env.PATH ?? "/usr/bin:/bin", LANG: "C.UTF-8" } },
  );
  const list = Readable.from(directories.map((path) => `.${path}\0`));
  child.stdin.on("error", () => list.destroy());
  list.pipe(child.stdin);
  const opaque: string[] = [];
  for await (const entry of readTar(outputOf(child, "tar", () => undefined)))
    if (entry.pax.get("SCHILY.xattr.trusted.overlay.opaque")?.toString() === "y")
      opaque.push(entry.path.replace(/^\./, "").replace(/\/+$/, ""));
  return opaque;
}

/**
 * First use of an empty volume: the image's content of that path goes in, with owners, modes, times, links and extended attributes.
 * `fromPath` is inside `rootfs` and need not be there. Resolves to false when there was nothing to copy.
 */
export async function copyUp(rootfs: string, fromPath: string, volumeDir: string): Promise<boolean> {
  const from = await resolveInRoot(rootfs, fromPath, { follow: true }).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR" || error.code === "ELOOP") return undefined;
    throw error;
  });
  if (from === undefined) return false;
  try {
    if (!(await lstat(from.at)).isDirectory()) return false;
    await mkdir(volumeDir, { recursive: true });
    const to = await open(volumeDir, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      const child = spawn("cp", ["-a", "-T", "--", "/proc/self/fd/3/.", "/proc/self/fd/4/."], {
        stdio: ["ignore", "ignore", "pipe", from.directory.fd, to.fd],
      });
      let errors = "";
      child.stderr?.on("data", (text: Buffer) => {
        errors += text.toString();
      });
      const code = await new Promise<number>((resolve, reject) => {
        child.on("error", reject);
        child.on("close", (status) => resolve(status ?? 1));
      });
      if (code !== 0) throw new Error(`copying ${fromPath} into the volume: ${errors.trim()}`);
      return true;
    } finally {
      await to.close();
    }
  } finally {
    await from.close();
  }
}

/** Bytes of the files below a directory, hard-linked ones once (docker's SizeRw, volume sizes). */
export async function dirSize(directory: string): Promise<number> {
  const seen = new Set<string>();
  let sum = 0;
  async function walk(path: string): Promise<void> {
    for (const entry of await readdir(path, { withFileTypes: true }).catch(() => [])) {
      const child = join(path, entry.name);
      if (entry.isDirectory()) {
        await walk(child);
        continue;
      }
      const info = await lstat(child).catch(() => undefined);
      if (info === undefined || (!info.isFile() && !info.isSymbolicLink())) continue;
      const key = `${info.dev}:${info.ino}`;
      if (info.nlink > 1 && seen.has(key)) continue;
      seen.add(key);
      sum += info.size;
    }
  }
  await walk(directory);
  return sum;
}
