import { check, libc, memory, O_CLOEXEC } from "./ffi.js";

/** The two ends of a pipe(7) as raw descriptors, close-on-exec, owned by the caller. Give one to a child by its `stdio` array. */
export function pipe(): { readonly read: number; readonly write: number } {
  const fds = memory(8);
  check(libc.pipe2(fds, O_CLOEXEC), "pipe2");
  return { read: fds.readInt32LE(0), write: fds.readInt32LE(4) };
}

/** Closes a raw descriptor; an already closed one is no error. */
export function closeFd(fd: number): void {
  libc.close(fd);
}
