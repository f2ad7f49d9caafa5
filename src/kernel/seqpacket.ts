import { basename, dirname } from "node:path";
import { EAGAIN, kernelError } from "./errno.js";
import {
  AF_UNIX,
  check,
  errno,
  libc,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  memory,
  O_CLOEXEC,
  O_PATH,
  retry,
  SHUT_WR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_SEQPACKET,
} from "./ffi.js";
import { Poll } from "./poll.js";

/** Room for one packet. conmon sends at most 8 KiB and a byte. */
const PACKET_SIZE = 65_536;
/** sun_path without its end mark */
const SUN_PATH = 107;

const packet = memory(PACKET_SIZE);

/**
 * A connected unix(7) SOCK_SEQPACKET socket, which Node's net module cannot open. conmon's attach socket is one.
 * Throws KernelError (ENOENT, ECONNREFUSED …) from `seqpacketConnect`; later errors end the socket.
 */
export class SeqpacketSocket {
  readonly fd: number;
  #poll: Poll | undefined;
  #onPacket: ((bytes: Buffer) => void) | undefined;
  #onEnd: (() => void) | undefined;
  #queue: { readonly bytes: Uint8Array; readonly done: () => void }[] = [];
  #ending = false;
  #readEnded = false;
  #closed = false;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** One packet (a copy), `undefined` if there is none now, `null` at the end of the stream or on an error. */
  read(): Buffer | undefined | null {
    if (this.#closed) return null;
    const size = retry(() => libc.recv(this.fd, packet, PACKET_SIZE, MSG_DONTWAIT));
    if (size > 0) return Buffer.from(packet.subarray(0, size));
    if (size < 0 && errno() === EAGAIN) return undefined;
    return null;
  }

  /** Calls `onPacket` with each packet and `onEnd` once when the other side has ended or failed. */
  onReadable(onPacket: (bytes: Buffer) => void, onEnd: () => void): void {
    this.#onPacket = onPacket;
    this.#onEnd = onEnd;
    this.#watch();
  }

  /** Sends one packet; resolves when the kernel has it (or the socket is closed). Packets keep their order. */
  write(bytes: Uint8Array): Promise<void> {
    if (this.#closed || bytes.length === 0) return Promise.resolve();
    if (this.#queue.length === 0 && this.#send(bytes)) return Promise.resolve();
    return new Promise((done) => {
      this.#queue.push({ bytes: Buffer.from(bytes), done });
      this.#watch();
    });
  }

  /** No more writes: the other side sees the end of our stream, after what is queued. */
  shutdown(): void {
    this.#ending = true;
    if (this.#queue.length === 0 && !this.#closed) libc.shutdown(this.fd, SHUT_WR);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#poll?.close();
    libc.close(this.fd);
    for (const { done } of this.#queue.splice(0)) done();
  }

  /** False: the kernel's buffer is full. An error drops the packet: the reading side reports the end. */
  #send(bytes: Uint8Array): boolean {
    const sent = retry(() => libc.send(this.fd, bytes, bytes.byteLength, MSG_DONTWAIT | MSG_NOSIGNAL));
    return sent >= 0 || errno() !== EAGAIN;
  }

  #watch(): void {
    if (this.#closed) return;
    const wants = { readable: this.#onPacket !== undefined && !this.#readEnded, writable: this.#queue.length > 0 };
    if (this.#poll !== undefined) this.#poll.restart(wants);
    else this.#poll = new Poll(this.fd, wants, ({ status, readable, writable }) => this.#ready({ status, readable, writable }));
  }

  #ready(ready: { readonly status: number; readonly readable: boolean; readonly writable: boolean }): void {
    if (ready.writable || ready.status < 0) {
      while (this.#queue.length > 0 && this.#send(this.#queue[0]!.bytes)) this.#queue.shift()!.done();
      if (this.#queue.length === 0) {
        if (this.#ending) libc.shutdown(this.fd, SHUT_WR);
        this.#watch();
      }
    }
    if (!ready.readable && ready.status >= 0) return;
    // Bounded, so that one busy container does not hold the event loop.
    for (let i = 0; i < 64 && !this.#closed && !this.#readEnded; i++) {
      const bytes = this.read();
      if (bytes === undefined) break;
      if (bytes === null) {
        this.#readEnded = true;
        this.#watch();
        this.#onEnd?.();
      } else this.#onPacket?.(bytes);
    }
  }
}

/** Connects at once (a unix socket never waits). A path beyond 107 bytes is reached through a descriptor of its directory. */
export function seqpacketConnect(path: string): SeqpacketSocket {
  const operation = `connect ${path}`;
  const fd = check(libc.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), operation);
  let directory = -1;
  let shortPath = path;
  if (Buffer.byteLength(path) > SUN_PATH) {
    directory = libc.open(dirname(path), O_PATH | O_CLOEXEC, 0);
    shortPath = `/proc/self/fd/${directory}/${basename(path)}`;
  }
  const address = memory(128);
  address.writeUInt16LE(AF_UNIX, 0);
  const length = address.write(shortPath, 2, SUN_PATH);
  const result = libc.connect(fd, address, 2 + length + 1);
  const code = result < 0 ? errno() : 0;
  if (directory >= 0) libc.close(directory);
  if (code === 0) return new SeqpacketSocket(fd);
  libc.close(fd);
  throw kernelError(operation, code);
}
