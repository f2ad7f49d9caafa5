import { EAGAIN, kernelError } from "./errno.js";
import {
  AF_INET,
  AF_INET6,
  addressOf,
  check,
  errno,
  libc,
  MSG_DONTWAIT,
  memory,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
} from "./ffi.js";
import { Poll } from "./poll.js";
import { sockaddrOf } from "./sockaddr.js";
import { flushDatagrams, putDatagram, sendDatagram } from "./udp-outbox.js";

const BATCH = 32;
const DATAGRAM_SIZE = 4096;
/** sizeof(struct mmsghdr) and the offset of msg_len in it, on 64-bit Linux */
const MMSGHDR = 64;
const LEN = 56;

/** Buffers and headers for all clients of a thread: what is received is used up before anything else is. */
class Receiving {
  readonly headers = memory(BATCH * MMSGHDR);
  readonly data = memory(BATCH * DATAGRAM_SIZE);
  readonly #vectors = memory(BATCH * 16);
  readonly words: Uint32Array;

  constructor() {
    const pointers = new BigUint64Array(this.headers.buffer, this.headers.byteOffset, (BATCH * MMSGHDR) / 8);
    const vectors = new BigUint64Array(this.#vectors.buffer, this.#vectors.byteOffset, BATCH * 2);
    this.words = new Uint32Array(this.headers.buffer, this.headers.byteOffset, (BATCH * MMSGHDR) / 4);
    const [data, vector] = [addressOf(this.data), addressOf(this.#vectors)];
    for (let i = 0; i < BATCH; i++) {
      pointers[i * 8 + 2] = vector + BigInt(i * 16);
      pointers[i * 8 + 3] = 1n;
      vectors[i * 2] = data + BigInt(i * DATAGRAM_SIZE);
      vectors[i * 2 + 1] = BigInt(DATAGRAM_SIZE);
    }
  }
}

let receiving: Receiving | undefined;

export interface UdpClientEvents {
  /** `bytes` is only valid during the call. */
  readonly onDatagram: (bytes: Buffer) => void;
  /** What the network said of an earlier datagram (ECONNREFUSED: nobody listens there). */
  readonly onError: (errno: number) => void;
}

/**
 * A UDP socket connected to one address and port, in this thread's namespace, on a random port of its own: only datagrams from there
 * are received. Throws KernelError where there is no way to the address.
 */
export class UdpClient {
  readonly #fd: number;
  readonly #poll: Poll;
  readonly #events: UdpClientEvents;
  #closed = false;

  constructor(address: string, port: number, events: UdpClientEvents) {
    this.#events = events;
    receiving ??= new Receiving();
    const family = address.includes(":") ? AF_INET6 : AF_INET;
    this.#fd = check(libc.socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    const to = sockaddrOf(address, port);
    if (libc.connect(this.#fd, to, to.length) < 0) {
      const code = errno();
      libc.close(this.#fd);
      throw kernelError(`connect ${address} port ${port}`, code);
    }
    this.#poll = new Poll(this.#fd, { readable: true }, ({ status }) => this.#receive(status));
  }

  /** The datagram leaves at once. */
  send(bytes: Uint8Array): void {
    if (!this.#closed) sendDatagram(this.#fd, bytes, undefined, this.#events.onError);
  }

  /** Copies the datagram; it leaves at the end of this turn of the event loop, with others. */
  put(bytes: Uint8Array): void {
    if (!this.#closed) putDatagram(this.#fd, bytes, undefined, this.#events.onError);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    flushDatagrams();
    this.#poll.close();
    libc.close(this.#fd);
  }

  #receive(status: number): void {
    const ring = receiving!;
    for (let round = 0; round < 4 && !this.#closed; round++) {
      const count = libc.recvmmsg(this.#fd, ring.headers, BATCH, MSG_DONTWAIT, null);
      if (count <= 0) {
        const code = errno();
        if (count < 0 && code !== EAGAIN) this.#events.onError(code);
        break;
      }
      for (let i = 0; i < count && !this.#closed; i++) {
        const at = i * DATAGRAM_SIZE;
        this.#events.onDatagram(ring.data.subarray(at, at + ring.words[(i * MMSGHDR + LEN) / 4]!));
      }
      if (count < BATCH) break;
    }
    if (status < 0) this.#poll.restart();
  }
}
