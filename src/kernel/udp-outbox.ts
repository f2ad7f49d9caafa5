import { EAGAIN } from "./errno.js";
import { addressOf, errno, libc, MSG_DONTWAIT, MSG_NOSIGNAL, memory } from "./ffi.js";

const SLOTS = 128;
const DATAGRAM_SIZE = 4096;
const SOCKADDR_SIZE = 32;
/** sizeof(struct mmsghdr) and the offset of msg_namelen in it, on 64-bit Linux */
const MMSGHDR = 64;
const NAMELEN = 8;

type OnError = (errno: number) => void;

/** Buffers and headers for datagrams to be sent, in the order in which they were put. */
interface Slots {
  readonly headers: Buffer;
  readonly data: Buffer;
  readonly names: Buffer;
  readonly vectors: Buffer;
  readonly words: Uint32Array;
  readonly lengths: BigUint64Array;
}

let slots: Slots | undefined;
let count = 0;
const fds = new Int32Array(SLOTS);
const handlers: (OnError | undefined)[] = new Array(SLOTS).fill(undefined);
let scheduled = false;

/**
 * Sends a datagram at the end of this turn of the event loop, together with the others that are put until then: one system call for a run of
 * datagrams of one socket. `peer` is a struct sockaddr, undefined for a connected socket. Flush before closing a socket.
 * What the kernel has no room for is lost, as UDP does; `onError` hears of other errors.
 */
export function putDatagram(fd: number, bytes: Uint8Array, peer: Uint8Array | undefined, onError?: OnError): void {
  if (bytes.length > DATAGRAM_SIZE) {
    sendDatagram(fd, bytes, peer, onError);
    return;
  }
  slots ??= makeSlots();
  if (count === SLOTS) flushDatagrams();
  const i = count++;
  slots.data.set(bytes, i * DATAGRAM_SIZE);
  slots.lengths[i * 2 + 1] = BigInt(bytes.length);
  if (peer !== undefined) slots.names.set(peer, i * SOCKADDR_SIZE);
  slots.words[(i * MMSGHDR + NAMELEN) / 4] = peer === undefined ? 0 : peer.length;
  fds[i] = fd;
  handlers[i] = onError;
  if (scheduled) return;
  scheduled = true;
  setImmediate(flushDatagrams);
}

/** Sends a datagram at once: where few are under way this saves the wait for the end of the turn (30 µs of a forwarded question's 430). */
export function sendDatagram(fd: number, bytes: Uint8Array, peer: Uint8Array | undefined, onError?: OnError): void {
  const sent =
    peer === undefined
      ? libc.send(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL)
      : libc.sendto(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL, peer, peer.length);
  if (sent < 0) report(errno(), onError);
}

/** Sends what is waiting now. */
export function flushDatagrams(): void {
  scheduled = false;
  const end = count;
  count = 0;
  for (let start = 0; start < end; ) {
    const fd = fds[start]!;
    let stop = start + 1;
    while (stop < end && fds[stop] === fd) stop++;
    const headers = start === 0 ? slots!.headers : slots!.headers.subarray(start * MMSGHDR);
    const sent = libc.sendmmsg(fd, headers, stop - start, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) start += sent;
    else {
      const code = errno();
      // full: the rest of this socket's run is lost; anything else concerns one datagram, and the others are not its hostages
      if (code === EAGAIN) start = stop;
      else report(code, handlers[start++]);
    }
  }
  handlers.fill(undefined, 0, end);
}

/** Not from within: whoever is told may close sockets or send. */
function report(code: number, onError: OnError | undefined): void {
  if (onError !== undefined && code !== EAGAIN) setImmediate(onError, code);
}

function makeSlots(): Slots {
  const headers = memory(SLOTS * MMSGHDR);
  const data = memory(SLOTS * DATAGRAM_SIZE);
  const names = memory(SLOTS * SOCKADDR_SIZE);
  const vectors = memory(SLOTS * 16);
  const pointers = new BigUint64Array(headers.buffer, headers.byteOffset, (SLOTS * MMSGHDR) / 8);
  const lengths = new BigUint64Array(vectors.buffer, vectors.byteOffset, SLOTS * 2);
  const [name, bytes, vector] = [addressOf(names), addressOf(data), addressOf(vectors)];
  for (let i = 0; i < SLOTS; i++) {
    pointers[i * 8] = name + BigInt(i * SOCKADDR_SIZE);
    pointers[i * 8 + 2] = vector + BigInt(i * 16);
    pointers[i * 8 + 3] = 1n;
    lengths[i * 2] = bytes + BigInt(i * DATAGRAM_SIZE);
  }
  const words = new Uint32Array(headers.buffer, headers.byteOffset, (SLOTS * MMSGHDR) / 4);
  return { headers, data, names, vectors, words, lengths };
}
