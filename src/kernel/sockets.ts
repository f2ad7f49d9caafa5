import { parseIp } from "../base/ip.js";
import { HOST_NS } from "../plan/objects.js";
import type { SocketRequest } from "../plan/port.js";
import { EINVAL, kernelError } from "./errno.js";
import { AF_INET, AF_INET6, errno, libc, memory, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM } from "./ffi.js";
import type { NamespacePool } from "./namespace-pool.js";
import { SOL_SOCKET } from "./netlink/constants.js";
import { sockaddrOf } from "./sockaddr.js";
import { readSysctl } from "./sysctl.js";

const SO_REUSEADDR = 2;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
const IPPROTO_SCTP = 132;

/** Bound sockets, non-blocking and close-on-exec, owned by the caller. Stops at the first failure and closes what it has opened. */
export function openSockets(pool: NamespacePool, requests: readonly SocketRequest[]): number[] {
  const fds: number[] = [];
  try {
    for (const request of requests) pool.inside(request.ns, () => openRun(request, fds));
    return fds;
  } catch (error) {
    for (const fd of fds) libc.close(fd);
    throw error;
  }
}

/** From so many sockets on it pays to ask whether an option has the wanted value by default. */
const WORTH_ASKING = 32;
const ON = optionValue(1);
const OFF = optionValue(0);

function optionValue(value: number): Buffer {
  const bytes = memory(4);
  bytes.writeUInt32LE(value, 0);
  return bytes;
}

/** In the thread's present namespace. Nothing is made per socket but the socket: there may be ten thousand. */
function openRun(r: SocketRequest, fds: number[]): void {
  const count = r.count ?? 1;
  if (parseIp(r.address) === undefined || !(r.port >= 0 && count >= 1 && r.port + count - 1 <= 65_535))
    throw kernelError(operationOf(r, r.port), EINVAL);
  const v6 = r.address.includes(":");
  const domain = v6 ? AF_INET6 : AF_INET;
  const type = (r.type === "udp" ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const protocol = r.type === "sctp" ? IPPROTO_SCTP : 0;
  const backlog = r.type === "udp" ? undefined : r.backlog;
  const v6Only =
    v6 &&
    !(r.dualStack && count >= WORTH_ASKING && readSysctl(r.ns === HOST_NS ? "host" : "pinned", "net.ipv6.bindv6only") === "0")
      ? r.dualStack
        ? OFF
        : ON
      : undefined;
  const address = sockaddrOf(r.address, r.port);
  for (let port = r.port; port < r.port + count; port++) {
    const fd = libc.socket(domain, type, protocol);
    if (fd < 0) throw kernelError(operationOf(r, port), errno());
    address[2] = port >> 8;
    address[3] = port & 255;
    const failed =
      (v6Only !== undefined && libc.setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, v6Only, 4) < 0) ||
      (r.reuseAddress && libc.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, ON, 4) < 0) ||
      libc.bind(fd, address, address.length) < 0 ||
      (backlog !== undefined && libc.listen(fd, backlog) < 0);
    if (failed) {
      const code = errno();
      libc.close(fd);
      throw kernelError(operationOf(r, port), code);
    }
    fds.push(fd);
  }
}

const operationOf = (r: SocketRequest, port: number): string =>
  `listen ${r.type} ${r.address.includes(":") ? `[${r.address}]` : r.address}:${port}`;
