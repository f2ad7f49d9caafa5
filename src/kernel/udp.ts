import { EAGAIN } from "./errno.js";
import { addressOf, errno, libc, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_TRUNC, memory } from "./ffi.js";
import { Poll } from "./poll.js";

/** Datagrams per recvmmsg/sendmmsg call. */
const BATCH = 64;
/** Largest datagram received; a longer one is dropped (DNS over UDP stays below this by EDNS). */
const DATAGRAM_SIZE = 4096;
const SOCKADDR_SIZE = 32;
/** sizeof(struct mmsghdr) and the offsets in it, on 64-bit Linux */
const MMSGHDR = 64;
const NAMELEN = 8;
const FLAGS = 48;
const LEN = 56;

/** Raw struct sockaddr_in/in6 of the other side; `readSockaddr`/`sockaddrOf` (sockaddr.ts) translate. May be kept. */
export type UdpPeer = Uint8Array;

/** One set of buffers and headers for all ports of a thread: everything between poll and flush is synchronous. */
class Ring {
  readonly headers: Buffer;
  readonly data = memory(BATCH * DATAGRAM_SIZE);
  readonly names = new Uint8Array(BATCH * SOCKADDR_SIZE);
  readonly #vectors: Buffer;
  /** Views for speed: a DataView or Buffer accessor per field costs more than the system call. */
  readonly words: Uint32Array;
  readonly lengths: BigUint64Array;

  constructor() {
    this.headers = memory(BATCH * MMSGHDR);
    this.#vectors = memory(BATCH * 16);
    const pointers = new BigUint64Array(this.headers.buffer, this.headers.byteOffset, (BATCH * MMSGHDR) / 8);
    this.words = new Uint32Array(this.headers.buffer, this.headers.byteOffset, (BATCH * MMSGHDR) / 4);
    this.lengths = new BigUint64Array(this.#vectors.buffer, this.#vectors.byteOffset, BATCH * 2);
    const [names, data, vectors] = [addressOf(this.names), addressOf(this.data), addressOf(this.#vectors)];
    for (let i = 0; i < BATCH; i++) {
      pointers[i * 8] = names + BigInt(i * SOCKADDR_SIZE);
      pointers[i * 8 + 2] = vectors + BigInt(i * 16);
      pointers[i * 8 + 3] = 1n;
      this.lengths[i * 2] = data + BigInt(i * DATAGRAM_SIZE);
      this.lengths[i * 2 + 1] = BigInt(DATAGRAM_SIZE);
    }
  }
}

let receiving: Ring | undefined;
let sending: Ring | undefined;

/**
 * A bound UDP socket, given as a descriptor that this object owns from now on, read and written many datagrams per system call.
 * Works in any thread. Datagrams sent inside the callback leave together when it has seen all that was received; sent at another
 * time they leave at once. As UDP does, a datagram that the kernel has no room for is lost.
 */
export class UdpPort {
  readonly fd: number;
  #poll: Poll | undefined;
  #callback: ((bytes: Uint8Array, peer: UdpPeer) => void) | undefined;
  #batching = false;
  #queued = 0;
  #closed = false;

  constructor(fd: number) {
    this.fd = fd;
    receiving ??= new Ring();
    sending ??= new Ring();
  }

  /** `bytes` is only valid during the call: copy what is kept. `peer` may be kept, for a later `send`. */
  onDatagrams(callback: (bytes: Uint8Array, peer: UdpPeer) => void): void {
    this.#callback = callback;
    this.#poll ??= new Poll(this.fd, { readable: true }, ({ status }) => this.#receive(status));
  }

  send(bytes: Uint8Array, peer: UdpPeer): void {
    if (this.#closed) return;
    const ring = sending!;
    // The sending ring is that of the port whose callback runs; another port's datagram must not land in it.
    if (!this.#batching || bytes.length > DATAGRAM_SIZE) {
      libc.sendto(this.fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL, peer, peer.length);
      return;
    }
    const i = this.#queued;
    ring.data.set(bytes, i * DATAGRAM_SIZE);
    ring.names.set(peer, i * SOCKADDR_SIZE);
    ring.words[(i * MMSGHDR + NAMELEN) / 4] = peer.length;
    ring.lengths[i * 2 + 1] = BigInt(bytes.length);
    this.#queued = i + 1;
    if (this.#queued === BATCH) this.#flush();
  }

  unref(): this {
    this.#poll?.unref();
    return this;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#poll?.close();
    libc.close(this.fd);
  }

  #receive(status: number): void {
    const ring = receiving!;
    const { words } = ring;
    // At most four batches, then the other descriptors of this thread have their turn.
    for (let round = 0; round < 4 && !this.#closed; round++) {
      for (let i = 0; i < BATCH; i++) words[(i * MMSGHDR + NAMELEN) / 4] = SOCKADDR_SIZE;
      const count = libc.recvmmsg(this.fd, ring.headers, BATCH, MSG_DONTWAIT, null);
      if (count <= 0) break;
      this.#batching = true;
      try {
        for (let i = 0; i < count && !this.#closed; i++) {
          if (words[(i * MMSGHDR + FLAGS) / 4]! & MSG_TRUNC) continue;
          const at = i * DATAGRAM_SIZE;
          const name = i * SOCKADDR_SIZE;
          const peer = ring.names.slice(name, name + words[(i * MMSGHDR + NAMELEN) / 4]!);
          this.#callback?.(ring.data.subarray(at, at + words[(i * MMSGHDR + LEN) / 4]!), peer);
        }
      } finally {
        this.#batching = false;
        this.#flush();
      }
      if (count < BATCH) break;
    }
    if (status < 0) this.#poll?.restart();
  }

  #flush(): void {
    const count = this.#queued;
    this.#queued = 0;
    let start = 0;
    while (start < count && !this.#closed) {
      const headers = start === 0 ? sending!.headers : sending!.headers.subarray(start * MMSGHDR);
      const sent = libc.sendmmsg(this.fd, headers, count - start, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent > 0) start += sent;
      else if (errno() === EAGAIN) return;
      // The first one cannot be sent (no route back to that peer, say): the others are not its hostages.
      else start += 1;
    }
  }
}
