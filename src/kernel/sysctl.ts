import { EINVAL, ENOENT, kernelError } from "./errno.js";
import { errno, libc, memory, O_CLOEXEC, O_RDONLY, O_WRONLY, retry } from "./ffi.js";

/** /proc/sys shows the namespace of the thread that opens the file, so both run inside the namespace meant. */

/** "net.ipv4.conf.eth0/100.forwarding" → "/proc/sys/net/ipv4/conf/eth0.100/forwarding", as sysctl(8) reads keys. */
export function sysctlPath(key: string): string {
  const path = key.replace(/[./]/g, (c) => (c === "." ? "/" : "."));
  const parts = path.split("/");
  if (!/^[\w./:@+-]+$/.test(path) || parts.some((part) => part === "" || part === "." || part === ".."))
    throw kernelError(`sysctl ${JSON.stringify(key)}`, EINVAL);
  return `/proc/sys/${path}`;
}

export function writeSysctl(key: string, value: string): void {
  const operation = `sysctl -w ${key}=${value}`;
  const fd = libc.open(sysctlPath(key), O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) throw kernelError(operation, errno());
  const bytes = Buffer.from(value);
  const result = retry(() => libc.write(fd, bytes, bytes.length));
  const code = result < 0 ? errno() : 0;
  libc.close(fd);
  if (code !== 0) throw kernelError(operation, code);
}

const buffer = memory(4096);

/** The value with its white space made single spaces; undefined if there is no such key. */
export function readSysctl(key: string): string | undefined {
  const fd = libc.open(sysctlPath(key), O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) {
    const code = errno();
    if (code === ENOENT) return undefined;
    throw kernelError(`sysctl ${key}`, code);
  }
  const size = retry(() => libc.read(fd, buffer, buffer.length));
  libc.close(fd);
  return size < 0 ? undefined : buffer.toString("latin1", 0, size).trim().replace(/\s+/g, " ");
}
