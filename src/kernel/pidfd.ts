import { ESRCH, kernelError } from "./errno.js";
import { errno, libc } from "./ffi.js";
import { Poll } from "./poll.js";

const SYS_pidfd_send_signal = 424;
const SYS_pidfd_open = 434;

/** A process, held by a descriptor: its number cannot come to mean another process. pidfd_open(2), Linux 5.3. */
export class Pidfd {
  readonly pid: number;
  readonly fd: number;
  #poll: Poll | undefined;
  #closed = false;

  constructor(pid: number, fd: number) {
    this.pid = pid;
    this.fd = fd;
  }

  /** Calls `callback` once when the process has ended, at once if it has already. Only the last callback given counts. Returns the stop function. */
  onExit(callback: () => void): () => void {
    this.#poll?.close();
    const poll = new Poll(this.fd, { readable: true }, () => {
      poll.close();
      callback();
    });
    this.#poll = poll;
    return () => poll.close();
  }

  /** False: it has ended already. */
  signal(signal: number): boolean {
    if (libc.syscall(SYS_pidfd_send_signal, this.fd, signal, null, 0) === 0) return true;
    const code = errno();
    if (code === ESRCH) return false;
    throw kernelError(`kill ${this.pid}`, code);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#poll?.close();
    libc.close(this.fd);
  }
}

/** Throws KernelError ESRCH if there is no such process. The descriptor is close-on-exec. */
export function openPidfd(pid: number): Pidfd {
  const fd = libc.syscall(SYS_pidfd_open, pid, 0, null, 0);
  if (fd < 0) throw kernelError(`pidfd_open ${pid}`, errno());
  return new Pidfd(pid, fd);
}
