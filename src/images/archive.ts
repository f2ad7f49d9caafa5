import { spawn } from "node:child_process";
import { constants } from "node:fs";
import { lstat, open } from "node:fs/promises";
import { Readable } from "node:stream";
import { RefusalError, refuse } from "../base/errors.js";
import { linkDestination, type Rooted, resolveInRoot, withRooted } from "./rooted.js";

/** The JSON in Docker's header X-Docker-Container-Path-Stat (base64 of it). */
export interface PathStat {
  readonly name: string;
  readonly size: number;
  /** Go's os.FileMode */
  readonly mode: number;
  /** RFC 3339 with nanoseconds */
  readonly mtime: string;
  readonly linkTarget: string;
}

/**
 * `rootfs`: a directory of the host. `path`: inside the container; a trailing "/" or "/." follows a link.
 * Refusal 404 "Could not find the file /x in container NAME"; `container` is the name for that sentence.
 */
export async function statPath(rootfs: string, path: string, container = ""): Promise<PathStat> {
  return explain(path, container, async () => {
    const { stat, linkTarget } = await withRooted(rootfs, path, { follow: followsLast(path) }, async (rooted) => {
      const found = await lstat(rooted.at, { bigint: true });
      if (path.endsWith("/") && !found.isDirectory()) refuse(400, `not a directory`);
      const target = found.isSymbolicLink() ? await linkDestination(rootfs, path) : "";
      return { stat: found, linkTarget: target };
    });
    return {
      name: baseName(path),
      size: Number(stat.size),
      mode: goFileMode(Number(stat.mode)),
      mtime: rfc3339(stat.mtimeNs),
      linkTarget,
    };
  });
}

/** The header's text. */
export function encodePathStat(stat: PathStat): string {
  return Buffer.from(JSON.stringify(stat)).toString("base64");
}

/**
 * `docker cp` out of a container: a tar of the file or directory, entries named from the last component of `path` on
 * ("/etc/hosts" → "hosts", "/etc" → "etc/…", "/etc/." → "./…"). Hard links and file capabilities are kept.
 */
export async function getArchive(rootfs: string, path: string, container = ""): Promise<Readable> {
  return explain(path, container, async () => {
    const rooted = await resolveInRoot(rootfs, path, { follow: followsLast(path) });
    try {
      const found = await lstat(rooted.at);
      if (path.endsWith("/") && !found.isDirectory()) refuse(400, `not a directory`);
      const name = baseName(path);
      if (!found.isDirectory()) return tarOfEntry(rooted, rooted.name, name);
      // The directory is entered here, without following a link, so that tar starts in the right one.
      const handle = await open(
        rooted.at,
        constants.O_RDONLY | constants.O_DIRECTORY | (rooted.name === "." ? 0 : constants.O_NOFOLLOW),
      );
      await rooted.close();
      return tarOfEntry({ directory: handle, close: () => handle.close() }, ".", name);
    } catch (error) {
      await rooted.close();
      throw error;
    }
  });
}

/** `docker export`: everything below the root file system, names without a leading slash. */
export async function exportTar(rootfs: string): Promise<Readable> {
  const handle = await open(rootfs, constants.O_RDONLY | constants.O_DIRECTORY);
  return tarOfEntry({ directory: handle, close: () => handle.close() }, ".", "");
}

/**
 * GNU tar walks with openat(2) and O_NOFOLLOW below its starting directory, which is handed over as an open descriptor:
 * a container cannot lead it outside.
 */
function tarOfEntry(from: Pick<Rooted, "directory" | "close">, member: string, name: string): Readable {
  const escaped = name.replace(/[\\&,\n]/g, (c) => (c === "\n" ? "\\n" : `\\${c}`));
  // Names of members and hard link targets are rewritten, those of symbolic links are not (flags rhS).
  const rename =
    name === ""
      ? "flags=rhS;s,^\\./\\(..*\\)$,\\1,"
      : member === "."
        ? `flags=rhS;s,^\\.,${escaped === "/" ? "" : escaped},`
        : `flags=rhS;s,^.*$,${escaped},`;
  const child = spawn(
    "tar",
    [
      ...["--create", "--file=-", "--format=pax", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"],
      ...["--numeric-owner", "--absolute-names", "--xattrs", "--xattrs-include=security.capability"],
      ...["--warning=no-file-ignored", "--warning=no-file-changed", "--warning=no-file-removed", "--ignore-failed-read"],
      ...["--directory=/proc/self/fd/3", `--transform=${rename}`, "--no-wildcards", "--", member === "." ? "." : `./${member}`],
    ],
    { stdio: ["ignore", "pipe", "pipe", from.directory.fd], env: { PATH: process.env.PATH ?? "/usr/bin:/bin", LANG: "C.UTF-8" } },
  );
  return outputOf(child, "tar", () => void from.close());
}

/** A child's stdout as a stream that fails when the child does. `onEnd` runs once the child is gone. */
export function outputOf(child: ReturnType<typeof spawn>, what: string, onEnd: () => void): Readable {
  const stdout = child.stdout as Readable;
  let errors = "";
  child.stderr?.setEncoding("utf8");
  child.stderr?.on("data", (text: string) => {
    errors = (errors + text).slice(-4096);
  });
  const closed = new Promise<Error | undefined>((resolve) => {
    child.on("error", resolve);
    // 1 from GNU tar: files changed while they were read, which a running container may do.
    child.on("close", (code, signal) => {
      const failed = signal !== null || (code ?? 2) > 1;
      resolve(failed ? new Error(`${what} ended with ${signal ?? code}: ${errors.trim()}`) : undefined);
    });
  });
  void closed.then(onEnd);
  async function* chunks() {
    try {
      for await (const chunk of stdout) yield chunk as Buffer;
      const error = await closed;
      if (error !== undefined) throw error;
    } finally {
      child.kill("SIGKILL");
    }
  }
  return Readable.from(chunks(), { objectMode: false });
}

function followsLast(path: string): boolean {
  return path.endsWith("/") || path.endsWith("/.") || path === "." || path === "";
}

/** Go's filepath.Base: "/a/b/" → "b", "/" → "/"; but a trailing "/." is kept as ".". */
export function baseName(path: string): string {
  if (path.endsWith("/.") || path === ".") return ".";
  const trimmed = path.replace(/\/+$/, "");
  return trimmed === "" ? "/" : trimmed.slice(trimmed.lastIndexOf("/") + 1);
}

export function goFileMode(mode: number): number {
  const types: Record<number, number> = {
    [constants.S_IFDIR]: 1 << 31,
    [constants.S_IFLNK]: 1 << 27,
    [constants.S_IFBLK]: 1 << 26,
    [constants.S_IFCHR]: (1 << 26) | (1 << 21),
    [constants.S_IFIFO]: 1 << 25,
    [constants.S_IFSOCK]: 1 << 24,
  };
  let out = (mode & 0o777) | (types[mode & constants.S_IFMT] ?? 0);
  if ((mode & 0o4000) !== 0) out |= 1 << 23;
  if ((mode & 0o2000) !== 0) out |= 1 << 22;
  if ((mode & 0o1000) !== 0) out |= 1 << 20;
  return out >>> 0;
}

function rfc3339(nanoseconds: bigint): string {
  const seconds = new Date(Number(nanoseconds / 1_000_000n)).toISOString().slice(0, 19);
  const fraction = (nanoseconds % 1_000_000_000n).toString().padStart(9, "0").replace(/0+$/, "");
  return fraction === "" ? `${seconds}Z` : `${seconds}.${fraction}Z`;
}

/** System call errors of a path that a person gave → Docker's refusals. */
export async function explain<T>(path: string, container: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof RefusalError) throw error;
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP" || code === "ENAMETOOLONG")
      refuse(404, `Could not find the file ${path} in container ${container}`.trimEnd());
    throw error;
  }
}
