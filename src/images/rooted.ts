import { constants } from "node:fs";
import { type FileHandle, lstat, mkdir, open, readlink } from "node:fs/promises";

/**
 * Paths inside a container's root file system, resolved without ever leaving it, also while the container changes it.
 * Every directory on the way is opened by its name in the directory before (O_NOFOLLOW, through /proc/self/fd/N), symbolic links
 * are read and walked by us, and ".." goes back along the directories that were opened: the kernel never resolves
 * a path that the container wrote. (The class of CVE-2018-15664.)
 */
export interface Rooted {
  /** The opened directory that holds `name`. */
  readonly directory: FileHandle;
  /** One component, or "." when the path ends at the directory itself. */
  readonly name: string;
  /** Absolute inside the root, symbolic links of the parents resolved. */
  readonly path: string;
  /** A path for system calls that do not follow the last component: /proc/self/fd/N/name */
  readonly at: string;
  close(): Promise<void>;
}

export interface ResolveOptions {
  /** Follow a symbolic link in the last place. */
  readonly follow: boolean;
  /** Make missing parents, 0755. */
  readonly makeParents?: boolean;
}

const maxLinks = 40;
const directoryFlags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

export const fdPath = (handle: FileHandle, name: string): string => `/proc/self/fd/${handle.fd}/${name}`;

/** Rejects with ENOENT, ENOTDIR or ELOOP as system calls do. With `follow`, a missing last component is ENOENT too. */
export async function resolveInRoot(rootfs: string, path: string, options: ResolveOptions): Promise<Rooted> {
  const opened: { handle: FileHandle; name: string }[] = [
    { handle: await open(rootfs, constants.O_RDONLY | constants.O_DIRECTORY), name: "" },
  ];
  const top = () => opened[opened.length - 1]!;
  const leave = async (keep: number) => {
    while (opened.length > keep) await opened.pop()?.handle.close();
  };
  const result = (name: string): Rooted => {
    const { handle } = top();
    const names = [...opened.slice(1).map((entry) => entry.name), ...(name === "." ? [] : [name])];
    return { directory: handle, name, path: `/${names.join("/")}`, at: fdPath(handle, name), close: () => leave(0) };
  };
  try {
    const pending = path.split("/").filter((part) => part !== "" && part !== ".");
    let links = 0;
    while (pending.length > 0) {
      const part = pending.shift()!;
      if (part === "..") {
        await leave(Math.max(1, opened.length - 1));
        continue;
      }
      const last = pending.length === 0;
      if (last && !options.follow) return result(part);
      const at = fdPath(top().handle, part);
      const info = await lstat(at).catch(async (error: NodeJS.ErrnoException) => {
        if (error.code !== "ENOENT" || options.makeParents !== true || last) throw error;
        await mkdir(at, { mode: 0o755 });
        return lstat(at);
      });
      if (info.isSymbolicLink()) {
        if (++links > maxLinks) throw systemError("ELOOP", path);
        const target = await readlink(at);
        if (target.startsWith("/")) await leave(1);
        pending.unshift(...target.split("/").filter((piece) => piece !== "" && piece !== "."));
      } else if (info.isDirectory()) {
        opened.push({ handle: await open(at, directoryFlags), name: part });
      } else {
        if (!last) throw systemError("ENOTDIR", path);
        return result(part);
      }
    }
    return result(".");
  } catch (error) {
    await leave(0);
    throw error;
  }
}

function systemError(code: string, path: string): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(`${code}: ${path}`);
  error.code = code;
  return error;
}

/** Runs `use` on a resolved path and closes it. */
export async function withRooted<T>(
  rootfs: string,
  path: string,
  options: ResolveOptions,
  use: (rooted: Rooted) => Promise<T>,
): Promise<T> {
  const rooted = await resolveInRoot(rootfs, path, options);
  try {
    return await use(rooted);
  } finally {
    await rooted.close();
  }
}

/** The path to which a symbolic link in the root leads, all links resolved, also if nothing is there. */
export async function linkDestination(rootfs: string, path: string): Promise<string> {
  try {
    return await withRooted(rootfs, path, { follow: true }, async (rooted) => rooted.path);
  } catch {
    // Dangling or circular: one step is all that can be said.
    return withRooted(rootfs, path, { follow: false }, async (rooted) => {
      const target = await readlink(rooted.at);
      const base = target.startsWith("/") ? [] : rooted.path.split("/").slice(1, -1);
      const parts: string[] = [...base];
      for (const part of target.split("/")) {
        if (part === "..") parts.pop();
        else if (part !== "" && part !== ".") parts.push(part);
      }
      return `/${parts.join("/")}`;
    });
  }
}
