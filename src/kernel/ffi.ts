import koffi from "koffi";
import { EINTR, kernelError } from "./errno.js";

/**
 * The C library, as this folder uses it. Every function returns what C returns (-1 on error); `errno()` must be read before
 * anything else is called. Memory is passed as a Uint8Array whose bytes live outside the V8 heap: make it with `memory()`.
 * Only 64-bit little-endian Linux (x86-64, arm64): the struct layouts in this folder assume it.
 */

/** Loaded from the running program: Node is linked to the C library, whichever (glibc, musl) that is. */
const self = koffi.load(null);

type Bytes = Uint8Array;
type Pointer = Bytes | bigint | null;

/** How often this thread has called into the C library; what libnftables calls by itself is not in it. */
export const tally = { calls: 0 };

function bind<F extends (...args: never[]) => number>(prototype: string): F {
  const native = self.func(prototype) as unknown as (...args: Parameters<F>) => number;
  const counted = (...args: Parameters<F>): number => {
    tally.calls++;
    return native(...args);
  };
  return counted as unknown as F;
}

/** As `libc.send`, but on a thread of libuv's pool, for a request that the kernel takes long over. Negative: it failed (no errno). */
const sendNative = self.func("intptr_t send(int fd, const void *buffer, size_t size, int flags)");
export function sendAsync(fd: number, buffer: Bytes): Promise<number> {
  tally.calls++;
  return new Promise((done) => {
    sendNative.async(fd, buffer, buffer.byteLength, 0, (error: unknown, result: number) => done(error ? -1 : result));
  });
}

export const libc = {
  open: bind<(path: string, flags: number, mode: number) => number>("int open(const char *path, int flags, int mode)"),
  openat: bind<(directory: number, path: string, flags: number, mode: number) => number>(
    "int openat(int directory, const char *path, int flags, int mode)",
  ),
  link: bind<(from: string, to: string) => number>("int link(const char *from, const char *to)"),
  unlink: bind<(path: string) => number>("int unlink(const char *path)"),
  close: bind<(fd: number) => number>("int close(int fd)"),
  read: bind<(fd: number, buffer: Pointer, size: number) => number>("intptr_t read(int fd, void *buffer, size_t size)"),
  write: bind<(fd: number, buffer: Pointer, size: number) => number>("intptr_t write(int fd, const void *buffer, size_t size)"),
  socket: bind<(domain: number, type: number, protocol: number) => number>("int socket(int domain, int type, int protocol)"),
  bind: bind<(fd: number, address: Bytes, size: number) => number>("int bind(int fd, const void *address, uint32_t size)"),
  connect: bind<(fd: number, address: Bytes, size: number) => number>("int connect(int fd, const void *address, uint32_t size)"),
  listen: bind<(fd: number, backlog: number) => number>("int listen(int fd, int backlog)"),
  shutdown: bind<(fd: number, how: number) => number>("int shutdown(int fd, int how)"),
  getsockname: bind<(fd: number, address: Bytes, size: Bytes) => number>("int getsockname(int fd, void *address, void *size)"),
  setsockopt: bind<(fd: number, level: number, name: number, value: Bytes, size: number) => number>(
    "int setsockopt(int fd, int level, int name, const void *value, uint32_t size)",
  ),
  send: bind<(fd: number, buffer: Bytes, size: number, flags: number) => number>(
    "intptr_t send(int fd, const void *buffer, size_t size, int flags)",
  ),
  recv: bind<(fd: number, buffer: Bytes, size: number, flags: number) => number>(
    "intptr_t recv(int fd, void *buffer, size_t size, int flags)",
  ),
  sendto: bind<(fd: number, buffer: Bytes, size: number, flags: number, to: Bytes, toSize: number) => number>(
    "intptr_t sendto(int fd, const void *buffer, size_t size, int flags, const void *to, uint32_t toSize)",
  ),
  sendmsg: bind<(fd: number, message: Bytes, flags: number) => number>(
    "intptr_t sendmsg(int fd, const void *message, int flags)",
  ),
  recvmsg: bind<(fd: number, message: Bytes, flags: number) => number>("intptr_t recvmsg(int fd, void *message, int flags)"),
  sendmmsg: bind<(fd: number, messages: Bytes, count: number, flags: number) => number>(
    "int sendmmsg(int fd, void *messages, unsigned int count, int flags)",
  ),
  recvmmsg: bind<(fd: number, messages: Bytes, count: number, flags: number, timeout: null) => number>(
    "int recvmmsg(int fd, void *messages, unsigned int count, int flags, void *timeout)",
  ),
  setns: bind<(fd: number, type: number) => number>("int setns(int fd, int type)"),
  unshare: bind<(flags: number) => number>("int unshare(int flags)"),
  mount: bind<(source: string, target: string, type: string | null, flags: number, data: string | null) => number>(
    "int mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)",
  ),
  umount2: bind<(target: string, flags: number) => number>("int umount2(const char *target, int flags)"),
  pipe2: bind<(fds: Bytes, flags: number) => number>("int pipe2(void *fds, int flags)"),
  /** pidfd_open(2), pidfd_send_signal(2): no wrapper in glibc before 2.36 */
  syscall: bind<(number: number, a: number, b: number, c: Pointer, d: number) => number>(
    "long syscall(long number, long a, long b, const void *c, long d)",
  ),
  /** The same with other types of arguments: fsopen(2), fsconfig(2) */
  syscallText: bind<(number: number, text: string, a: number) => number>("long syscall(long number, const char *text, long a)"),
  syscall5: bind<(number: number, a: number, b: number, c: Pointer, d: Pointer, e: number) => number>(
    "long syscall(long number, long a, long b, const void *c, const void *d, long e)",
  ),
};

export const errno = (): number => koffi.errno();

/** The address of memory whose bytes live outside the V8 heap. The caller keeps `bytes` referenced while the kernel may use it. */
export const addressOf = (bytes: Bytes): bigint => BigInt(koffi.address(bytes));

/** Zeroed bytes with a fixed address: V8 moves small typed arrays (up to 64 bytes) with its heap, so those are cut from a larger piece. */
export function memory(size: number): Buffer {
  return Buffer.alloc(Math.max(size, 128)).subarray(0, size);
}

/** Throws KernelError for -1; `operation` names what was asked ("mount /x"). */
export function check(result: number, operation: string): number {
  if (result < 0) throw kernelError(operation, errno());
  return result;
}

/** Calls again while a signal interrupts (EINTR). */
export function retry(call: () => number): number {
  for (;;) {
    const result = call();
    if (result >= 0 || errno() !== EINTR) return result;
  }
}

export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;
export const CLONE_NEWNET = 0x40000000;

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_SEQPACKET = 5;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const MSG_TRUNC = 0x20;
export const MSG_DONTWAIT = 0x40;
export const MSG_NOSIGNAL = 0x4000;
export const SHUT_WR = 1;
