import { createReadStream } from "node:fs";
import { chmod, lchown, lstat, mkdir, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pack } from "tar-stream";
import { refuse } from "../base/errors.js";
import { getArchive } from "./archive.js";
import { unpackInto } from "./archive-put.js";
import type { CopyRequest, Source } from "./build-sources.js";
import { decompressed, peek } from "./layer-file.js";
import { resolveInRoot, withRooted } from "./rooted.js";

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Copies into a mounted root file system as COPY and ADD do: the content of directories, files by name or to a name, and for ADD the
 * content of archives. `destination` is absolute; a "/" at its end makes it a directory. Owner undefined: as in the source.
 */
export async function copySources(
  rootfs: string,
  sources: readonly Source[],
  destination: string,
  request: Pick<CopyRequest, "keyword" | "chmod">,
  owner: Owner | undefined,
): Promise<void> {
  const present = await statIn(rootfs, destination);
  const intoDirectory = destination.endsWith("/") || present === "directory" || sources.length > 1;
  const mode = request.chmod;
  for (const source of sources) {
    const at = join(source.root, source.path);
    if (source.isDirectory) {
      if (present === "file") refuse(400, `cannot copy to non-directory: ${destination}`);
      await copyDirectory(rootfs, source, destination, owner, mode);
    } else if (request.keyword === "ADD" && (await isArchive(at))) {
      await makeDirectories(rootfs, destination, owner);
      const archive = createReadStream(at);
      await unpackInto(rootfs, destination, archive, { noOverwriteDirNonDir: false, ...(owner === undefined ? {} : { owner }) });
    } else {
      const target = intoDirectory ? `${destination.replace(/\/+$/, "")}/${source.name}` : destination;
      const cut = target.lastIndexOf("/");
      await makeDirectories(rootfs, target.slice(0, cut) || "/", owner);
      const archive = await archiveOfFile(at, target.slice(cut + 1), mode);
      await unpackInto(rootfs, target.slice(0, cut) || "/", archive, {
        noOverwriteDirNonDir: true,
        ...(owner === undefined ? {} : { owner }),
      });
    }
  }
}

async function copyDirectory(
  rootfs: string,
  source: Source,
  destination: string,
  owner: Owner | undefined,
  mode: number | undefined,
): Promise<void> {
  const before = await withRooted(rootfs, destination, { follow: true }, (rooted) => lstat(rooted.at)).catch(() => undefined);
  await makeDirectories(rootfs, destination, owner);
  const archive = await getArchive(source.root, `${source.path}/.`);
  await unpackInto(rootfs, destination, archive, { noOverwriteDirNonDir: false, ...(owner === undefined ? {} : { owner }) });
  await withRooted(rootfs, destination, { follow: true }, async (rooted) => {
    // The archive's first entry is the source directory itself: a destination that was there keeps its own attributes.
    if (before !== undefined) {
      await lchown(rooted.at, before.uid, before.gid);
      await chmod(rooted.at, before.mode & 0o7777);
    }
    if (mode !== undefined) await changeModes(rooted.at, mode);
  });
}

async function changeModes(path: string, mode: number): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const child = join(path, entry.name);
    if (entry.isDirectory()) await changeModes(child, mode);
    if (!entry.isSymbolicLink()) await chmod(child, mode);
  }
}

/** Parents that are missing get the owner, as in Docker. */
export async function makeDirectories(rootfs: string, path: string, owner: Owner | undefined): Promise<boolean> {
  const parts = path.split("/").filter((part) => part !== "" && part !== ".");
  let made = false;
  for (let length = 1; length <= parts.length; length++) {
    const each = `/${parts.slice(0, length).join("/")}`;
    const kind = await statIn(rootfs, each);
    if (kind === "directory") continue;
    if (kind === "file") refuse(400, `cannot mkdir: ${each}: file exists`);
    const rooted = await resolveInRoot(rootfs, each, { follow: false });
    try {
      await mkdir(rooted.at, { mode: 0o755 });
      await lchown(rooted.at, owner?.uid ?? 0, owner?.gid ?? 0);
      made = true;
    } finally {
      await rooted.close();
    }
  }
  return made;
}

async function statIn(rootfs: string, path: string): Promise<"directory" | "file" | undefined> {
  return withRooted(rootfs, path, { follow: true }, async (rooted) =>
    (await lstat(rooted.at)).isDirectory() ? ("directory" as const) : ("file" as const),
  ).catch(() => undefined);
}

async function archiveOfFile(path: string, name: string, mode: number | undefined): Promise<Readable> {
  const info = await lstat(path);
  if (!info.isFile()) refuse(400, `cannot copy a file of this kind: ${name}`);
  const archive = pack();
  const { uid, gid, mtime, size } = info;
  const entry = archive.entry({ name, size, mode: mode ?? info.mode & 0o7777, uid, gid, mtime }, (error) =>
    error ? archive.destroy(error) : archive.finalize(),
  );
  createReadStream(path)
    .on("error", (error) => archive.destroy(error))
    .pipe(entry as unknown as NodeJS.WritableStream);
  return Readable.from(archive as AsyncIterable<Buffer>, { objectMode: false });
}

/** ADD unpacks tar archives, compressed ones too (POSIX and GNU ones say "ustar" at byte 257). */
async function isArchive(path: string): Promise<boolean> {
  const file = createReadStream(path, { end: 1024 * 1024 });
  try {
    const head = await peek(await decompressed(file), 512);
    return head.length >= 512 && head.subarray(257, 262).toString("latin1") === "ustar";
  } catch {
    return false;
  } finally {
    file.destroy();
  }
}

/** `--chown=USER[:GROUP]`, names looked up in the image's own files; without a group, the group called like the user. */
export async function ownerOf(rootfs: string, text: string): Promise<Owner> {
  const [user = "", group = user] = text.split(":");
  return { uid: await numberOf(rootfs, "/etc/passwd", user, "user"), gid: await numberOf(rootfs, "/etc/group", group, "group") };
}

async function numberOf(rootfs: string, file: string, name: string, kind: string): Promise<number> {
  if (/^[0-9]{1,10}$/.test(name)) return Number(name);
  const text = await withRooted(rootfs, file, { follow: true }, async (rooted) => {
    const handle = await open(rooted.at);
    return handle.readFile("utf8").finally(() => handle.close());
  }).catch(() => "");
  const entry = text
    .split("\n")
    .map((line) => line.split(":"))
    .find((fields) => fields[0] === name);
  if (entry === undefined)
    refuse(
      400,
      `unable to convert uid/gid chown string to host mapping: can't find ${kind === "user" ? "uid" : "gid"} for ${kind} ${name}: no such ${kind}: ${name}`,
    );
  return Number(entry?.[2]);
}
