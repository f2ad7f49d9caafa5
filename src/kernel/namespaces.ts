import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { EEXIST, ENOENT, errnoName, kernelError } from "./errno.js";
import { CLONE_NEWNET, check, errno, libc, O_CLOEXEC, O_CREAT, O_EXCL, O_RDONLY } from "./ffi.js";
import { bindMount, umount } from "./mounts.js";

/**
 * Entering a network namespace is a property of the thread. `fn` runs synchronously inside the namespace pinned at `path`
 * (or given as an open descriptor) and must not return a promise: what awaits would run on in the wrong namespace.
 * Throws KernelError if the namespace cannot be entered. If this thread cannot come back the process aborts, as all that it
 * would do from there on would hit the wrong namespace.
 */
export function inNamespace<T>(path: string | number, fn: () => T): T {
  const home = homeNamespace();
  const fd = typeof path === "number" ? path : openNamespace(path);
  try {
    check(libc.setns(fd, CLONE_NEWNET), `netns enter ${path}`);
    try {
      return fn();
    } finally {
      comeBack(home);
    }
  } finally {
    if (typeof path !== "number") libc.close(fd);
  }
}

/** A descriptor of the namespace pinned at `path`, close-on-exec, owned by the caller. */
export function openNamespace(path: string): number {
  return check(libc.open(path, O_RDONLY | O_CLOEXEC, 0), `netns open ${path}`);
}

let home: number | undefined;

/** This thread's own namespace (each worker thread loads this module anew, so that this variable is the thread's). */
export function homeNamespace(): number {
  home ??= openNamespace("/proc/thread-self/ns/net");
  return home;
}

/** Makes the namespace at `path` this thread's own, for good. */
export function adoptNamespace(path: string): void {
  const fd = openNamespace(path);
  check(libc.setns(fd, CLONE_NEWNET), `netns enter ${path}`);
  if (home !== undefined) libc.close(home);
  home = fd;
}

/**
 * Makes a network namespace without a name: `fd` (close-on-exec, the caller's) keeps it. What `inside` does runs in the new namespace, which
 * saves a setns.
 */
export function unnamedNamespace<T>(inside: () => T): { readonly fd: number; readonly result: T } {
  const back = homeNamespace();
  check(libc.unshare(CLONE_NEWNET), "netns add");
  try {
    const fd = openNamespace("/proc/thread-self/ns/net");
    try {
      return { fd, result: inside() };
    } catch (error) {
      libc.close(fd);
      throw error;
    }
  } finally {
    comeBack(back);
  }
}

/**
 * Pins a namespace at `path`, an empty file of that name with the namespace mounted over it, as ip-netns(8) does. The file is a hard link to
 * `template` where there can be one: on a disk the making of a file costs ten times as much. Throws KernelError EEXIST if the path exists.
 */
export function pinNamespace(fd: number, path: string, template?: string): void {
  const operation = `netns add ${path}`;
  if (template === undefined || libc.link(template, path) < 0) {
    const code = template === undefined ? 0 : errno();
    if (code === EEXIST) throw kernelError(operation, code);
    libc.close(check(libc.open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o444), operation));
    // Else it has all the links that the file system allows (EMLINK: 65,000 on ext4).
    if (template !== undefined && code === ENOENT) libc.link(path, template);
  }
  try {
    bindMount(`/proc/thread-self/fd/${fd}`, path);
  } catch (error) {
    libc.unlink(path);
    throw error;
  }
}

/** Both, for a namespace that is entered by its path only. Returns what `inside` does. */
export function makeNamespace<T>(path: string, inside: () => T): T {
  const { fd, result } = unnamedNamespace(inside);
  try {
    pinNamespace(fd, path);
  } finally {
    libc.close(fd);
  }
  return result;
}

/** Unpins a namespace; the kernel ends it with its last process and socket. Not there: false. */
export function removeNamespace(path: string): boolean {
  umount(path);
  if (libc.unlink(path) === 0) return true;
  const code = errno();
  if (code === ENOENT) return false;
  throw kernelError(`netns delete ${path}`, code);
}

/** The directory of the pins, made if missing. */
export function namespaceDirectory(execRoot: string): string {
  const directory = join(execRoot, "netns");
  mkdirSync(directory, { recursive: true, mode: 0o755 });
  return directory;
}

/** Names in the directory of the pins: namespaces, and files that are none. */
export function listNamespaces(directory: string): { readonly pinned: string[]; readonly stale: string[] } {
  const pinned: string[] = [];
  const stale: string[] = [];
  if (existsSync(directory))
    for (const name of readdirSync(directory).sort()) (isPinned(join(directory, name)) ? pinned : stale).push(name);
  return { pinned, stale };
}

/** All namespaces are files of one file system (nsfs), so that its device number tells them. */
export function isPinned(path: string): boolean {
  nsfs ??= statSync("/proc/self/ns/net").dev;
  return statSync(path, { throwIfNoEntry: false })?.dev === nsfs;
}

let nsfs: number | undefined;

function comeBack(fd: number): void {
  if (libc.setns(fd, CLONE_NEWNET) === 0) return;
  process.stderr.write(`linkspan: cannot return to the engine's network namespace: ${errnoName(errno())}\n`);
  process.abort();
}
