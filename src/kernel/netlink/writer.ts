import { NLM_F_ACK, NLMSG_HEADER } from "./constants.js";

/** Netlink messages one behind the other, as one send takes them. Grows as needed; may be used again after `clear`. */
export class Writer {
  #buffer: Buffer;
  #at = 0;
  #starts: number[] = [];

  constructor(size = 4096) {
    this.#buffer = Buffer.allocUnsafeSlow(size);
  }

  /** How many messages there are, and their bytes. */
  get count(): number {
    return this.#starts.length;
  }
  get size(): number {
    return this.#at;
  }

  clear(): this {
    this.#at = 0;
    this.#starts = [];
    return this;
  }

  /** Numbers the messages from `seq` on, asks for the acknowledgement of the last one (or of `ackIndex`; -1: of none), and returns the bytes to send (valid until changed). */
  finish(seq: number, ackIndex: number = this.#starts.length - 1): Buffer {
    const { length } = this.#starts;
    for (let i = 0; i < length; i++) this.#buffer.writeUInt32LE((seq + i) >>> 0, this.#starts[i]! + 8);
    if (length > 0 && ackIndex >= 0) {
      const flagsAt = this.#starts[ackIndex]! + 6;
      this.#buffer.writeUInt16LE(this.#buffer.readUInt16LE(flagsAt) | NLM_F_ACK, flagsAt);
    }
    return this.#buffer.subarray(0, this.#at);
  }

  /** One message: `body` writes what follows the nlmsghdr. */
  message(type: number, flags: number, body: () => void): void {
    const start = this.#at;
    this.#room(NLMSG_HEADER);
    this.#buffer.fill(0, start, start + NLMSG_HEADER);
    this.#at = start + NLMSG_HEADER;
    body();
    this.#align();
    this.#buffer.writeUInt32LE(this.#at - start, start);
    this.#buffer.writeUInt16LE(type, start + 4);
    this.#buffer.writeUInt16LE(flags, start + 6);
    this.#starts.push(start);
  }

  /** Takes back the message that was written last. */
  dropLast(): void {
    this.#at = this.#starts.pop() ?? 0;
  }

  beginAttribute(type: number): number {
    const start = this.#at;
    this.#room(4);
    const b = this.#buffer;
    b[start] = 0;
    b[start + 1] = 0;
    b[start + 2] = type;
    b[start + 3] = type >>> 8;
    this.#at = start + 4;
    return start;
  }
  endAttribute(start: number): void {
    const length = this.#at - start;
    this.#buffer[start] = length;
    this.#buffer[start + 1] = length >>> 8;
    this.#align();
  }

  // Byte by byte: Buffer's own accessors check what is known here, and this is the inner loop of large sends.
  u8(v: number): void {
    this.#room(1);
    this.#buffer[this.#at++] = v;
  }
  u16(v: number): void {
    this.#room(2);
    const b = this.#buffer;
    b[this.#at++] = v;
    b[this.#at++] = v >>> 8;
  }
  be16(v: number): void {
    this.#room(2);
    const b = this.#buffer;
    b[this.#at++] = v >>> 8;
    b[this.#at++] = v;
  }
  u32(v: number): void {
    this.#room(4);
    const b = this.#buffer;
    b[this.#at++] = v;
    b[this.#at++] = v >>> 8;
    b[this.#at++] = v >>> 16;
    b[this.#at++] = v >>> 24;
  }
  be32(v: number): void {
    this.#room(4);
    const b = this.#buffer;
    b[this.#at++] = v >>> 24;
    b[this.#at++] = v >>> 16;
    b[this.#at++] = v >>> 8;
    b[this.#at++] = v;
  }
  bytes(v: Uint8Array): void {
    this.#room(v.length);
    this.#buffer.set(v, this.#at);
    this.#at += v.length;
  }
  /** With its end mark. ASCII goes byte by byte: a call into Buffer costs more than a short text. */
  text(v: string): void {
    this.#room(v.length * 3 + 1);
    const b = this.#buffer;
    let at = this.#at;
    for (let i = 0; i < v.length; i++) {
      const c = v.charCodeAt(i);
      if (c > 127) {
        at = this.#at + b.write(v, this.#at);
        break;
      }
      b[at++] = c;
    }
    b[at++] = 0;
    this.#at = at;
  }
  zeros(n: number): void {
    this.#room(n);
    for (let i = 0; i < n; i++) this.#buffer[this.#at++] = 0;
  }

  #align(): void {
    this.#room(3);
    while (this.#at & 3) this.#buffer[this.#at++] = 0;
  }

  #room(n: number): void {
    if (this.#at + n <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#buffer.length * 2, this.#at + n));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }
}
