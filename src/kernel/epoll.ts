import koffi from "koffi";
import { EAGAIN } from "./errno.js";
import {
  addressOf,
  check,
  errno,
  libc,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  memory,
  O_CLOEXEC,
  retry,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
} from "./ffi.js";
import { Poll } from "./poll.js";
import { readSockaddr } from "./sockaddr.js";

const self = koffi.load(null);
const c = {
  create: self.func("int epoll_create1(int flags)") as unknown as (flags: number) => number,
  ctl: self.func("int epoll_ctl(int epfd, int op, int fd, const void *event)") as unknown as (
    epfd: number,
    op: number,
    fd: number,
    event: Uint8Array,
  ) => number,
  wait: self.func("int epoll_wait(int epfd, void *events, int count, int timeout)") as unknown as (
    epfd: number,
    events: Uint8Array,
    count: number,
    timeout: number,
  ) => number,
  accept: self.func("int accept4(int fd, void *address, void *size, int flags)") as unknown as (
    fd: number,
    address: Uint8Array,
    size: Uint8Array,
    flags: number,
  ) => number,
};

const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;
/** struct epoll_event is packed on x86-64 only: 12 bytes there, 16 elsewhere, the data word last. */
const EVENT_SIZE = process.arch === "x64" ? 12 : 16;
const DATA_AT = process.arch === "x64" ? 4 : 8;
const EVENTS = 64;
const SOCKADDR_SIZE = 28;
/** ENOMEM, ENFILE, EMFILE, ENOBUFS: the connection is still there, and cannot be taken now. */
const NO_ROOM = [12, 23, 24, 105];

/**
 * Many descriptors that are hardly ever ready, watched by the event loop as one: ten thousand listening sockets cost one handle.
 * The descriptors stay the caller's; closing one takes it out.
 */
export class Epoll {
  readonly #fd: number;
  readonly #poll: Poll;
  readonly #events = memory(EVENTS * EVENT_SIZE);
  readonly #event = memory(EVENT_SIZE);
  #closed = false;

  /** `onReadable` is called once per ready descriptor and turn of the event loop (level-triggered). */
  constructor(onReadable: (fd: number) => void) {
    this.#fd = check(c.create(O_CLOEXEC), "epoll_create1");
    this.#poll = new Poll(this.#fd, { readable: true }, ({ status }) => {
      if (status < 0) this.#poll.restart();
      const count = c.wait(this.#fd, this.#events, EVENTS, 0);
      for (let i = 0; i < count && !this.#closed; i++) onReadable(this.#events.readInt32LE(i * EVENT_SIZE + DATA_AT));
    }).unref();
  }

  add(fd: number): void {
    this.#event.writeUInt32LE(EPOLLIN, 0);
    this.#event.writeInt32LE(fd, DATA_AT);
    check(c.ctl(this.#fd, EPOLL_CTL_ADD, fd, this.#event), `epoll_ctl add ${fd}`);
  }

  /** Stops calling for `milliseconds`: for when there is no descriptor left to accept with, which would spin otherwise. */
  pause(milliseconds: number): void {
    this.#poll.restart({ readable: false });
    setTimeout(() => {
      if (!this.#closed) this.#poll.restart({ readable: true });
    }, milliseconds).unref();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#poll.close();
    libc.close(this.#fd);
  }
}

export interface Peer {
  readonly address: string;
  readonly port: number;
}

const address = memory(SOCKADDR_SIZE);
const addressSize = memory(4);

/**
 * A connection that waits on a listening socket, its descriptor owned by the caller; undefined if there is none.
 * Throws KernelError when it cannot be taken for want of descriptors or memory.
 */
export function acceptConnection(fd: number): { readonly fd: number; readonly peer: Peer } | undefined {
  addressSize.writeUInt32LE(SOCKADDR_SIZE, 0);
  const connection = retry(() => c.accept(fd, address, addressSize, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (connection >= 0) return { fd: connection, peer: readSockaddr(address) };
  // The other side may have given up meanwhile (ECONNABORTED and whatever its network says): nothing to accept either.
  if (!NO_ROOM.includes(errno())) return undefined;
  check(connection, "accept");
  return undefined;
}

/** struct msghdr with one iovec; the control buffer holds one IPV6_PKTINFO: a cmsghdr of 16 bytes and a struct in6_pktinfo of 20. */
const IPPROTO_IPV6 = 41;
const IPV6_RECVPKTINFO = 49;
const IPV6_PKTINFO = 50;
const CONTROL_SIZE = 64;
const PKTINFO_MESSAGE = 40;
const datagram = memory(65536);
const control = memory(CONTROL_SIZE);
const vector = memory(16);
const header = memory(56);

/** Where a datagram came from and which address of ours it came to: what an answer needs. */
export interface DatagramPeer extends Peer {
  /** struct sockaddr */
  readonly raw: Uint8Array;
  /** The cmsghdr to send back, so that a socket bound to :: answers from the address that was asked; empty for IPv4 sockets. */
  readonly from: Uint8Array;
}

/** Call once per IPv6 UDP socket, before `receiveDatagram`. */
export function wantDatagramAddress(fd: number): void {
  const one = memory(4);
  one.writeUInt32LE(1, 0);
  // An IPv4 socket refuses this (ENOPROTOOPT), and is bound to an address or does not matter.
  libc.setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, one, 4);
}

/** A datagram that waits; undefined if there is none. The bytes are valid until the next call. */
export function receiveDatagram(fd: number): { readonly bytes: Uint8Array; readonly peer: DatagramPeer } | undefined {
  // An ICMP error of an earlier answer is reported once, in place of a datagram; the socket is as good as before.
  for (let attempt = 0; attempt < 2; attempt++) {
    fillHeader(datagram, address, SOCKADDR_SIZE, control, CONTROL_SIZE);
    const size = retry(() => libc.recvmsg(fd, header, MSG_DONTWAIT));
    if (size >= 0) {
      const raw = Uint8Array.prototype.slice.call(address, 0, header.readUInt32LE(8));
      const has = Number(header.readBigUInt64LE(40)) >= PKTINFO_MESSAGE - 4 && control.readInt32LE(12) === IPV6_PKTINFO;
      const from = has ? Uint8Array.prototype.slice.call(control, 0, PKTINFO_MESSAGE) : new Uint8Array(0);
      return { bytes: datagram.subarray(0, size), peer: { ...readSockaddr(raw), raw, from } };
    }
    if (errno() === EAGAIN) return undefined;
  }
  return undefined;
}

/** As UDP does, a datagram that the kernel has no room for is lost. */
export function sendDatagram(fd: number, bytes: Uint8Array, to: DatagramPeer): void {
  datagram.set(bytes);
  address.set(to.raw);
  control.set(to.from);
  fillHeader(datagram.subarray(0, bytes.length), address, to.raw.length, control, to.from.length);
  libc.sendmsg(fd, header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

function fillHeader(data: Uint8Array, name: Uint8Array, nameSize: number, extra: Uint8Array, extraSize: number): void {
  vector.writeBigUInt64LE(addressOf(data), 0);
  vector.writeBigUInt64LE(BigInt(data.length), 8);
  header.fill(0);
  header.writeBigUInt64LE(addressOf(name), 0);
  header.writeUInt32LE(nameSize, 8);
  header.writeBigUInt64LE(addressOf(vector), 16);
  header.writeBigUInt64LE(1n, 24);
  header.writeBigUInt64LE(extraSize === 0 ? 0n : addressOf(extra), 32);
  header.writeBigUInt64LE(BigInt(extraSize), 40);
}

export function closeDescriptor(fd: number): void {
  libc.close(fd);
}
