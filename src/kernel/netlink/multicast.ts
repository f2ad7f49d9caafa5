import { EAGAIN, ENOBUFS } from "../errno.js";
import { addressOf, check, errno, libc, MSG_DONTWAIT, memory, retry, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW } from "../ffi.js";
import { Poll } from "../poll.js";
import { AF_NETLINK, NETLINK_ADD_MEMBERSHIP, NETLINK_LISTEN_ALL_NSID, SOL_NETLINK, SOL_SOCKET } from "./constants.js";
import { eachMessage, enlargeReceiveBuffer, type Visit } from "./socket.js";

const SO_ATTACH_FILTER = 26;
const RECEIVE_SIZE = 256 * 1024;
const BUFFER_SIZE = 8 * 1024 * 1024;
/** Most of what comes are our own changes, some twenty messages for an endpoint: read when the requests that follow each other have been done. */
const GATHER_MS = 10;
/** struct msghdr and cmsghdr on 64-bit Linux */
const MSG_CONTROLLEN = 40;
const CMSG_HEADER = 16;
const CONTROL_SIZE = 64;

/** Notifications of a namespace and, where the kernel gives them, of those that it has a number for. */
export class MulticastSocket {
  readonly fd: number;
  readonly #poll: Poll;
  #timer: NodeJS.Timeout | undefined;
  readonly #buffer = memory(RECEIVE_SIZE);
  readonly #control = memory(CONTROL_SIZE + 64);
  readonly #vector = memory(16);
  readonly #message = memory(56);
  readonly #visit: (nsid: number | undefined, message: Parameters<Visit>[0]) => void;
  readonly #lost: () => void;

  /**
   * Opened in the thread's present namespace. `ignorePorts`: senders whose notifications the kernel does not even queue (our own
   * sockets). `lost` is called when some did not fit into the buffer.
   */
  constructor(options: {
    readonly protocol: number;
    readonly groups: readonly number[];
    readonly ignorePorts: readonly number[];
    readonly visit: (nsid: number | undefined, message: Parameters<Visit>[0]) => void;
    readonly lost: () => void;
  }) {
    this.#visit = options.visit;
    this.#lost = options.lost;
    this.fd = check(libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, options.protocol), "socket netlink");
    enlargeReceiveBuffer(this.fd, BUFFER_SIZE);
    if (options.ignorePorts.length > 0) attachPortFilter(this.fd, options.ignorePorts);
    const address = memory(12);
    address.writeUInt16LE(AF_NETLINK, 0);
    check(libc.bind(this.fd, address, 12), "bind netlink");
    this.#option(NETLINK_LISTEN_ALL_NSID, 1);
    for (const group of options.groups) check(this.#option(NETLINK_ADD_MEMBERSHIP, group), `netlink group ${group}`);
    this.#vector.writeBigUInt64LE(addressOf(this.#buffer), 0);
    this.#vector.writeBigUInt64LE(BigInt(RECEIVE_SIZE), 8);
    this.#message.writeBigUInt64LE(addressOf(this.#vector), 16);
    this.#message.writeBigUInt64LE(1n, 24);
    this.#message.writeBigUInt64LE(addressOf(this.#control), 32);
    this.#poll = new Poll(this.fd, { readable: true }, ({ status }) => {
      // libuv stops at a socket error (ENOBUFS); the error itself comes out of recvmsg.
      if (status < 0) this.#lost();
      this.#poll.restart({ readable: false });
      this.#timer = setTimeout(() => this.#read(), GATHER_MS);
    });
  }

  #read(): void {
    this.#timer = undefined;
    this.drain();
    this.#poll.restart({ readable: true });
  }

  /** Reads what is there now; bounded, so that a storm does not hold the thread. */
  drain(): void {
    for (let i = 0; i < 512; i++) {
      this.#message.writeBigUInt64LE(BigInt(CONTROL_SIZE), MSG_CONTROLLEN);
      const size = retry(() => libc.recvmsg(this.fd, this.#message, MSG_DONTWAIT));
      if (size < 0) {
        const code = errno();
        if (code === ENOBUFS) {
          this.#lost();
          continue;
        }
        if (code !== EAGAIN) this.#lost();
        return;
      }
      const nsid = this.#nsid();
      eachMessage(this.#buffer, size, (m) => this.#visit(nsid, m));
    }
  }

  close(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#poll.close();
    libc.close(this.fd);
  }

  /** The number of the namespace that it happened in, in an ancillary message; none: in the socket's own. */
  #nsid(): number | undefined {
    const length = Number(this.#message.readBigUInt64LE(MSG_CONTROLLEN));
    if (length < CMSG_HEADER + 4) return undefined;
    if (this.#control.readInt32LE(8) !== SOL_NETLINK || this.#control.readInt32LE(12) !== NETLINK_LISTEN_ALL_NSID)
      return undefined;
    const nsid = this.#control.readInt32LE(CMSG_HEADER);
    return nsid < 0 ? undefined : nsid;
  }

  #option(name: number, value: number): number {
    const bytes = memory(128);
    bytes.writeUInt32LE(value, 0);
    return libc.setsockopt(this.fd, SOL_NETLINK, name, bytes, 4);
  }
}

/** A classic BPF program: drops messages whose nlmsg_pid is one of these. */
function attachPortFilter(fd: number, ports: readonly number[]): void {
  const code: (readonly [op: number, jt: number, jf: number, k: number])[] = [
    // ld [12]: nlmsg_pid, read as big-endian
    [0x20, 0, 0, 12],
    ...ports.map((port, i) => [0x15, ports.length - i, 0, swap(port)] as const),
    [0x06, 0, 0, 0xffffffff],
    [0x06, 0, 0, 0],
  ];
  const program = memory(code.length * 8);
  for (const [i, [op, jt, jf, k]] of code.entries()) {
    program.writeUInt16LE(op, i * 8);
    program[i * 8 + 2] = jt;
    program[i * 8 + 3] = jf;
    program.writeUInt32LE(k, i * 8 + 4);
  }
  const header = memory(16);
  header.writeUInt16LE(code.length, 0);
  header.writeBigUInt64LE(addressOf(program), 8);
  libc.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, header, 16);
}

function swap(n: number): number {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(n >>> 0);
  return bytes.readUInt32BE(0);
}
