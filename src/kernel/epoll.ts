import koffi from "koffi";
import { EAGAIN } from "./errno.js";
import { check, errno, libc, MSG_DONTWAIT, MSG_NOSIGNAL, memory, O_CLOEXEC, retry, SOCK_CLOEXEC, SOCK_NONBLOCK } from "./ffi.js";
import { Poll } from "./poll.js";
import { readSockaddr } from "./sockaddr.js";

const self = koffi.load(null);
const c = {
  create: self.func("int epoll_create1(int flags)") as unknown as (flags: number) => number,
  ctl: self.func("int epoll_ctl(int epfd, int op, int fd, const void *event)") as unknown as (
    epfd: number,
    op: number,
    fd: number,
    event: Uint8Array | null,
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
  recvfrom: self.func(
    "intptr_t recvfrom(int fd, void *buffer, size_t size, int flags, void *address, void *addressSize)",
  ) as unknown as (fd: number, buffer: Uint8Array, size: number, flags: number, from: Uint8Array, fromSize: Uint8Array) => number,
};

const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
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
 * The descriptors stay the caller's; `remove` before closing one.
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

  remove(fd: number): void {
    c.ctl(this.#fd, EPOLL_CTL_DEL, fd, null);
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
  /** struct sockaddr, for `sendDatagram` */
  readonly raw: Uint8Array;
}

const address = memory(SOCKADDR_SIZE);
const addressSize = memory(4);
const datagram = memory(65536);

/**
 * A connection that waits on a listening socket, its descriptor owned by the caller; undefined if there is none.
 * Throws KernelError when it cannot be taken for want of descriptors or memory.
 */
export function acceptConnection(fd: number): { readonly fd: number; readonly peer: Peer } | undefined {
  addressSize.writeUInt32LE(SOCKADDR_SIZE, 0);
  const connection = retry(() => c.accept(fd, address, addressSize, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (connection >= 0) return { fd: connection, peer: peer() };
  // The other side may have given up meanwhile (ECONNABORTED and whatever its network says): nothing to accept either.
  if (!NO_ROOM.includes(errno())) return undefined;
  check(connection, "accept");
  return undefined;
}

/** A datagram that waits; undefined if there is none. The bytes are valid until the next call. */
export function receiveDatagram(fd: number): { readonly bytes: Uint8Array; readonly peer: Peer } | undefined {
  addressSize.writeUInt32LE(SOCKADDR_SIZE, 0);
  const size = retry(() => c.recvfrom(fd, datagram, datagram.length, MSG_DONTWAIT, address, addressSize));
  if (size >= 0) return { bytes: datagram.subarray(0, size), peer: peer() };
  // An ICMP error of an earlier answer is reported here once; the socket is as good as before.
  return errno() === EAGAIN ? undefined : receiveDatagramAgain(fd);
}

function receiveDatagramAgain(fd: number): ReturnType<typeof receiveDatagram> {
  const size = retry(() => c.recvfrom(fd, datagram, datagram.length, MSG_DONTWAIT, address, addressSize));
  return size >= 0 ? { bytes: datagram.subarray(0, size), peer: peer() } : undefined;
}

/** As UDP does, a datagram that the kernel has no room for is lost. */
export function sendDatagram(fd: number, bytes: Uint8Array, to: Uint8Array): void {
  libc.sendto(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL, to, to.length);
}

export function closeDescriptor(fd: number): void {
  libc.close(fd);
}

function peer(): Peer {
  const raw = Uint8Array.prototype.slice.call(address, 0, addressSize.readUInt32LE(0));
  return { ...readSockaddr(raw), raw };
}
