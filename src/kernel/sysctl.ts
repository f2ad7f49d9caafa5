import { EINVAL, ENOENT, kernelError } from "./errno.js";
import { errno, libc, memory, O_CLOEXEC, O_PATH, O_RDONLY, O_WRONLY, retry } from "./ffi.js";

/**
 * Below /proc/sys/net stand the values of the network namespace of the thread that opens the file, so both functions run inside the
 * namespace meant. The kernel keeps a directory entry per namespace under one name in one hash chain (proc_sys_compare), so that with
 * 1,000 namespaces each open walks 1,000 entries. Hence instances of procfs of our own, mounted nowhere: one for the host's namespace,
 * and one for the others that is replaced before its chains are long.
 */
export type SysctlPlace = "host" | "pinned";

/** Opens of the instance for pinned namespaces after which it is replaced. */
const OPENS_PER_INSTANCE = 128;

/** "net.ipv4.conf.eth0/100.forwarding" → "sys/net/ipv4/conf/eth0.100/forwarding", as sysctl(8) reads keys. */
function sysctlPath(key: string): string {
  const path = key.replace(/[./]/g, (c) => (c === "." ? "/" : "."));
  const parts = path.split("/");
  if (!/^[\w./:@+-]+$/.test(path) || parts.some((part) => part === "" || part === "." || part === ".."))
    throw kernelError(`sysctl ${JSON.stringify(key)}`, EINVAL);
  return `sys/${path}`;
}

export function writeSysctl(place: SysctlPlace, key: string, value: string): void {
  const operation = `sysctl -w ${key}=${value}`;
  const fd = libc.openat(procfs(place), sysctlPath(key), O_WRONLY | O_CLOEXEC, 0);
  if (fd < 0) throw kernelError(operation, errno());
  const bytes = Buffer.from(value);
  const result = retry(() => libc.write(fd, bytes, bytes.length));
  const code = result < 0 ? errno() : 0;
  libc.close(fd);
  if (code !== 0) throw kernelError(operation, code);
}

const buffer = memory(4096);

/** The value with its white space made single spaces; undefined if there is no such key. */
export function readSysctl(place: SysctlPlace, key: string): string | undefined {
  const fd = libc.openat(procfs(place), sysctlPath(key), O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) {
    const code = errno();
    if (code === ENOENT) return undefined;
    throw kernelError(`sysctl ${key}`, code);
  }
  const size = retry(() => libc.read(fd, buffer, buffer.length));
  libc.close(fd);
  return size < 0 ? undefined : buffer.toString("latin1", 0, size).trim().replace(/\s+/g, " ");
}

const instances: Record<SysctlPlace, { fd: number; opens: number }> = {
  host: { fd: -1, opens: 0 },
  pinned: { fd: -1, opens: 0 },
};

function procfs(place: SysctlPlace): number {
  const instance = instances[place];
  if (instance.fd >= 0 && (place === "host" || instance.opens++ < OPENS_PER_INSTANCE)) return instance.fd;
  if (instance.fd >= 0) libc.close(instance.fd);
  instance.fd = ownProcfs() ?? libc.open("/proc", O_PATH | O_CLOEXEC, 0);
  instance.opens = 1;
  return instance.fd;
}

const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_CMD_CREATE = 6;
const SYS_fsopen = 430;
const SYS_fsconfig = 431;
const SYS_fsmount = 432;

/** Undefined where the kernel (before 5.2) or a privilege is missing. */
function ownProcfs(): number | undefined {
  const context = libc.syscallText(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
  if (context < 0) return undefined;
  const made = libc.syscall5(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, null, null, 0);
  const fd = made < 0 ? -1 : libc.syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, null, 0);
  libc.close(context);
  return fd < 0 ? undefined : fd;
}
