import { parseIp } from "../base/ip.js";
import type { SocketRequest } from "../plan/port.js";
import { EINVAL, kernelError } from "./errno.js";
import { AF_INET, AF_INET6, errno, libc, memory, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM } from "./ffi.js";
import type { NamespacePool } from "./namespace-pool.js";
import { SOL_SOCKET } from "./netlink/constants.js";
import { sockaddrOf } from "./sockaddr.js";

const SO_REUSEADDR = 2;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPPROTO_SCTP = 132;

/** Bound sockets, non-blocking and close-on-exec, owned by the caller. Stops at the first failure and closes what it has opened. */
export function openSockets(pool: NamespacePool, requests: readonly SocketRequest[]): number[] {
  const fds: number[] = [];
  try {
    for (const request of requests) fds.push(pool.inside(request.ns, () => openSocket(request)));
    return fds;
  } catch (error) {
    for (const fd of fds) libc.close(fd);
    throw error;
  }
}

/** In the thread's present namespace. */
function openSocket(r: SocketRequest): number {
  const operation = `listen ${r.type} ${r.address.includes(":") ? `[${r.address}]` : r.address}:${r.port}`;
  if (parseIp(r.address) === undefined || !(r.port >= 0 && r.port <= 65_535)) throw kernelError(operation, EINVAL);
  const v6 = r.address.includes(":");
  const type = r.type === "udp" ? SOCK_DGRAM : SOCK_STREAM;
  const fd = libc.socket(v6 ? AF_INET6 : AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, r.type === "sctp" ? IPPROTO_SCTP : 0);
  if (fd < 0) throw kernelError(operation, errno());
  const option = (level: number, name: number, value: number) => {
    const bytes = memory(128);
    bytes.writeUInt32LE(value, 0);
    return libc.setsockopt(fd, level, name, bytes, 4);
  };
  const address = sockaddrOf(r.address, r.port);
  const failed =
    (v6 && option(IPPROTO_IPV6, IPV6_V6ONLY, r.dualStack ? 0 : 1) < 0) ||
    (r.reuseAddress && option(SOL_SOCKET, SO_REUSEADDR, 1) < 0) ||
    libc.bind(fd, address, address.length) < 0 ||
    (r.type !== "udp" && r.backlog !== undefined && libc.listen(fd, r.backlog) < 0);
  if (!failed) return fd;
  const code = errno();
  libc.close(fd);
  throw kernelError(operation, code);
}
