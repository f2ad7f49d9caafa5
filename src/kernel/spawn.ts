import koffi from "koffi";
import { kernelError } from "./errno.js";
import { check, memory, O_RDWR } from "./ffi.js";
import { openPidfd } from "./pidfd.js";

/**
 * Starting programs without a copy of this process. Node starts children by fork(2), which copies the page tables of a process of
 * hundreds of megabytes and makes each page that is written afterwards fault: 20–40 ms of processor time per start, spread over
 * all threads. posix_spawn(3) borrows the memory until the exec (CLONE_VM | CLONE_VFORK): 1 ms, in the calling thread only.
 */
export interface SpawnRequest {
  /** Absolute path */
  readonly path: string;
  readonly argv: readonly string[];
  readonly env: readonly string[];
  readonly cwd: string;
  /** What becomes descriptor 0, 1, 2, …; null is /dev/null. All others are closed. */
  readonly fds: readonly (number | null)[];
}
export interface ExitStatus {
  readonly code: number | null;
  readonly signal: number | null;
}

type Bytes = Uint8Array;
const self = koffi.load(null);
const bind = <T>(prototype: string): T => self.func(prototype) as unknown as T;

const c = {
  spawn: bind<
    (pid: Bytes, path: string, actions: Bytes, attributes: Bytes, argv: (string | null)[], env: (string | null)[]) => number
  >(
    "int posix_spawn(void *pid, const char *path, const void *actions, const void *attributes, const char **argv, const char **env)",
  ),
  actionsInit: bind<(actions: Bytes) => number>("int posix_spawn_file_actions_init(void *actions)"),
  actionsDestroy: bind<(actions: Bytes) => number>("int posix_spawn_file_actions_destroy(void *actions)"),
  addDup2: bind<(actions: Bytes, from: number, to: number) => number>(
    "int posix_spawn_file_actions_adddup2(void *actions, int from, int to)",
  ),
  addClose: bind<(actions: Bytes, fd: number) => number>("int posix_spawn_file_actions_addclose(void *actions, int fd)"),
  addOpen: bind<(actions: Bytes, fd: number, path: string, flags: number, mode: number) => number>(
    "int posix_spawn_file_actions_addopen(void *actions, int fd, const char *path, int flags, unsigned int mode)",
  ),
  addChdir: bind<(actions: Bytes, path: string) => number>(
    "int posix_spawn_file_actions_addchdir_np(void *actions, const char *path)",
  ),
  attributesInit: bind<(attributes: Bytes) => number>("int posix_spawnattr_init(void *attributes)"),
  attributesDestroy: bind<(attributes: Bytes) => number>("int posix_spawnattr_destroy(void *attributes)"),
  setFlags: bind<(attributes: Bytes, flags: number) => number>("int posix_spawnattr_setflags(void *attributes, short flags)"),
  setDefaultSignals: bind<(attributes: Bytes, set: Bytes) => number>(
    "int posix_spawnattr_setsigdefault(void *attributes, const void *set)",
  ),
  setMask: bind<(attributes: Bytes, set: Bytes) => number>("int posix_spawnattr_setsigmask(void *attributes, const void *set)"),
  waitpid: bind<(pid: number, status: Bytes, options: number) => number>("int waitpid(int pid, void *status, int options)"),
};

/** glibc 2.34: whoever started the engine may have left it descriptors that are not close-on-exec. */
const addCloseFrom = optional<(actions: Bytes, from: number) => number>(
  "int posix_spawn_file_actions_addclosefrom_np(void *actions, int from)",
);

const POSIX_SPAWN_SETSIGDEF = 0x04;
const POSIX_SPAWN_SETSIGMASK = 0x08;
const POSIX_SPAWN_SETSID = 0x80;
/** Room for the C library's opaque structures (glibc: 80 and 336 bytes; musl: 80 and 336). */
const OPAQUE = 1024;
const SIGSET = 128;

/** Starts a program in a session of its own, with default signals. Returns its number; throws KernelError (ENOENT, EACCES …). */
export function spawnProgram(request: SpawnRequest): number {
  const operation = `exec ${request.path}`;
  const actions = memory(OPAQUE);
  const attributes = memory(OPAQUE);
  succeed(c.actionsInit(actions), operation);
  succeed(c.attributesInit(attributes), operation);
  try {
    succeed(c.addChdir(actions, request.cwd), operation);
    addDescriptors(actions, request.fds, operation);
    succeed(c.setFlags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID), operation);
    succeed(c.setDefaultSignals(attributes, memory(SIGSET).fill(0xff)), operation);
    succeed(c.setMask(attributes, memory(SIGSET)), operation);
    const pid = memory(4);
    succeed(c.spawn(pid, request.path, actions, attributes, [...request.argv, null], [...request.env, null]), operation);
    return pid.readInt32LE(0);
  } finally {
    c.attributesDestroy(attributes);
    c.actionsDestroy(actions);
  }
}

/** Calls `callback` once when the child has ended; it is reaped then. */
export function onChildExit(pid: number, callback: (status: ExitStatus) => void): void {
  const pidfd = openPidfd(pid);
  pidfd.onExit(() => {
    pidfd.close();
    const status = memory(4);
    check(c.waitpid(pid, status, 0), `waitpid ${pid}`);
    const word = status.readInt32LE(0);
    const signal = word & 0x7f;
    callback(signal === 0 ? { code: (word >> 8) & 0xff, signal: null } : { code: null, signal });
  });
}

/** Moved above all that are in use first: a target may be the number of a source that comes later. */
function addDescriptors(actions: Bytes, fds: readonly (number | null)[], operation: string): void {
  const base = Math.max(fds.length, ...fds.map((fd) => (fd ?? 0) + 1));
  fds.forEach((fd, i) => {
    if (fd !== null) succeed(c.addDup2(actions, fd, base + i), operation);
  });
  fds.forEach((fd, i) => {
    if (fd === null) succeed(c.addOpen(actions, i, "/dev/null", O_RDWR, 0), operation);
    else {
      succeed(c.addDup2(actions, base + i, i), operation);
      succeed(c.addClose(actions, base + i), operation);
    }
  });
  if (addCloseFrom !== undefined) succeed(addCloseFrom(actions, fds.length), operation);
}

function optional<T>(prototype: string): T | undefined {
  try {
    return bind<T>(prototype);
  } catch {
    return undefined;
  }
}

/** These functions return the errno instead of setting it. */
function succeed(result: number, operation: string): void {
  if (result !== 0) throw kernelError(operation, result);
}
