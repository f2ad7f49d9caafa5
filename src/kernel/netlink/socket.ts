import { assert } from "../../base/result.js";
import { EAGAIN, ENOBUFS, kernelError } from "../errno.js";
import { check, errno, libc, MSG_DONTWAIT, memory, retry, SOCK_CLOEXEC, SOCK_RAW } from "../ffi.js";
import { eachAttribute, text } from "./codec.js";
import {
  AF_NETLINK,
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NETLINK_GET_STRICT_CHK,
  NETLINK_ROUTE,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP_INTR,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_HEADER,
  NLMSGERR_ATTR_MSG,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SOL_NETLINK,
  SOL_SOCKET,
} from "./constants.js";
import { Writer } from "./writer.js";

/** What the kernel said about one message. `errno` is positive. */
export interface Refused {
  readonly errno: number;
  readonly extAck?: string;
}

/** One received message: `start`/`end` are the range of its payload (behind the nlmsghdr) in `bytes`, valid during the call only. */
export type Visit = (message: {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  readonly pid: number;
  readonly bytes: Buffer;
  readonly start: number;
  readonly end: number;
}) => void;

/** A dump's part is 32 KiB at most (netlink_dump), other messages are smaller. */
const RECEIVE_SIZE = 256 * 1024;
const received = memory(RECEIVE_SIZE);
const one = memory(128);
one.writeUInt32LE(1, 0);

/**
 * A netlink socket, bound to the namespace in which it was opened whatever the thread does later. Requests are synchronous: the
 * kernel answers within send(2), so reading never waits.
 */
export class NetlinkSocket {
  readonly fd: number;
  #seq = 1;
  #portId = 0;
  #largeBuffer = false;
  #strict = false;

  /** Opened in the thread's present namespace. */
  constructor(protocol: number = NETLINK_ROUTE) {
    this.fd = check(libc.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), "socket netlink");
    libc.setsockopt(this.fd, SOL_NETLINK, NETLINK_EXT_ACK, one, 4);
    libc.setsockopt(this.fd, SOL_NETLINK, NETLINK_CAP_ACK, one, 4);
  }

  /** The sender's number in notifications of what this socket caused; 0 until the first answer. */
  get portId(): number {
    return this.#portId;
  }

  /**
   * Sends all messages at once. The kernel runs them in order, each on its own, and reports each that fails; only the last one's
   * success is asked for (or that of `ackIndex`, the last one that counts), as it tells that all have run. Returns the failures by
   * message index. `echoed` gets what comes back of messages with NLM_F_ECHO.
   */
  request(
    messages: Writer,
    ackIndex: number = messages.count - 1,
    echoed?: (index: number, message: Parameters<Visit>[0]) => void,
  ): ReadonlyMap<number, Refused> {
    const failures = new Map<number, Refused>();
    if (messages.count === 0) return failures;
    if (messages.count > 64) this.#enlarge();
    const first = this.take(messages.count);
    const bytes = messages.finish(first, ackIndex);
    check(
      retry(() => libc.send(this.fd, bytes, bytes.length, 0)),
      "netlink send",
    );
    this.readAnswers(first, ackIndex, failures, echoed);
    return failures;
  }

  /** For a sender that has sent by itself: numbers for its messages, to be given to `finish` and `readAnswers`. */
  take(count: number): number {
    const first = this.#seq;
    this.#seq = (this.#seq + count) % 0x7fffffff;
    return first;
  }

  /** Collects the refusals of messages numbered from `first`, until the answer to message `last` has come or there is none. */
  readAnswers(
    first: number,
    last: number,
    failures: Map<number, Refused>,
    echoed?: (index: number, message: Parameters<Visit>[0]) => void,
  ): void {
    let ended = false;
    while (!ended) {
      const size = this.#receive();
      if (size === 0) return;
      eachMessage(received, size, (m) => {
        const index = m.seq - first;
        if (index < 0) return;
        if (m.type !== NLMSG_ERROR) {
          echoed?.(index, m);
          return;
        }
        this.#portId = m.pid;
        const refused = readError(m.bytes, m.start, m.end, m.flags);
        if (refused !== undefined) failures.set(index, refused);
        if (index === last) ended = true;
      });
    }
  }

  /** Requests that have one answer each (a get) or, with NLM_F_ACK, an acknowledgement. Throws KernelError if the kernel refuses, except for `tolerate`. */
  get(messages: Writer, operation: string, visit: Visit, tolerate: readonly number[] = []): void {
    assert(messages.count > 0, "a request has messages");
    const count = messages.count;
    if (count > 16) this.#enlarge();
    const first = this.take(count);
    const bytes = messages.finish(first, -1);
    check(
      retry(() => libc.send(this.fd, bytes, bytes.length, 0)),
      operation,
    );
    let ended = false;
    let failure: Refused | undefined;
    while (!ended) {
      const size = this.#receive();
      if (size === 0) break;
      eachMessage(received, size, (m) => {
        const index = m.seq - first;
        if (index < 0 || index >= count) return;
        this.#portId = m.pid;
        if (index === count - 1) ended = true;
        if (m.type !== NLMSG_ERROR) {
          visit(m);
          return;
        }
        const refused = readError(m.bytes, m.start, m.end, m.flags);
        if (refused !== undefined && !tolerate.includes(refused.errno)) failure ??= refused;
      });
    }
    if (failure !== undefined) throw kernelError(operation, failure.errno, failure.extAck);
  }

  /**
   * A dump. `write` puts one message with NLM_F_DUMP into the writer. What changed meanwhile (NLM_F_DUMP_INTR) makes it start
   * again, up to three times; `restart` tells the caller to forget what it has seen.
   */
  dump(write: (w: Writer) => void, operation: string, visit: Visit, restart: () => void): void {
    for (let attempt = 0; attempt < 4; attempt++) {
      if (attempt > 0) restart();
      const w = new Writer(512);
      write(w);
      if (!this.#dumpOnce(w, operation, visit)) return;
    }
  }

  /** True: interrupted. */
  #dumpOnce(w: Writer, operation: string, visit: Visit): boolean {
    const seq = this.take(1);
    const bytes = w.finish(seq);
    check(
      retry(() => libc.send(this.fd, bytes, bytes.length, 0)),
      operation,
    );
    let interrupted = false;
    let ended = false;
    let failure: Refused | undefined;
    while (!ended) {
      const size = this.#receive();
      if (size === 0) break;
      eachMessage(received, size, (m) => {
        if (m.seq !== seq) return;
        if (m.flags & NLM_F_DUMP_INTR) interrupted = true;
        if (m.type === NLMSG_DONE) {
          ended = true;
          const code = m.end - m.start >= 4 ? m.bytes.readInt32LE(m.start) : 0;
          if (code < 0) failure = { errno: -code };
        } else if (m.type === NLMSG_ERROR) {
          ended = true;
          failure = readError(m.bytes, m.start, m.end, m.flags);
        } else visit(m);
      });
    }
    if (failure !== undefined) throw kernelError(operation, failure.errno, failure.extAck);
    return interrupted;
  }

  /** The port's number without a request: binds the socket. */
  learnPort(): number {
    const address = memory(12);
    address.writeUInt16LE(AF_NETLINK, 0);
    if (this.#portId === 0) libc.bind(this.fd, address, 12);
    const size = memory(4);
    size.writeUInt32LE(12, 0);
    check(libc.getsockname(this.fd, address, size), "netlink port");
    this.#portId = address.readUInt32LE(4);
    return this.#portId;
  }

  /** The kernel checks the headers of dump requests and filters by them. Once is enough. */
  strict(): this {
    if (!this.#strict) libc.setsockopt(this.fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, one, 4);
    this.#strict = true;
    return this;
  }

  close(): void {
    libc.close(this.fd);
  }

  /** 0: nothing (more) to read. */
  #receive(): number {
    const size = retry(() => libc.recv(this.fd, received, RECEIVE_SIZE, MSG_DONTWAIT));
    if (size >= 0) return size;
    const code = errno();
    if (code === EAGAIN) return 0;
    if (code === ENOBUFS) {
      // Answers were lost; what is still queued can be read on. The next request gets more room.
      this.#enlarge();
      return this.#receive();
    }
    throw kernelError("netlink receive", code);
  }

  /** Room for the refusals of a large send: each takes about 1 KiB of the kernel's accounting. */
  #enlarge(): void {
    if (this.#largeBuffer) return;
    this.#largeBuffer = true;
    enlargeReceiveBuffer(this.fd, 4 * 1024 * 1024);
  }
}

/** Beyond net.core.rmem_max where the privilege is there, else up to it. */
export function enlargeReceiveBuffer(fd: number, size: number): void {
  const value = memory(128);
  value.writeUInt32LE(size, 0);
  if (libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, value, 4) < 0) libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, value, 4);
}

export function eachMessage(bytes: Buffer, size: number, visit: Visit): void {
  for (let at = 0; at + NLMSG_HEADER <= size; ) {
    const length = bytes.readUInt32LE(at);
    if (length < NLMSG_HEADER || at + length > size) return;
    visit({
      type: bytes.readUInt16LE(at + 4),
      flags: bytes.readUInt16LE(at + 6),
      seq: bytes.readUInt32LE(at + 8),
      pid: bytes.readUInt32LE(at + 12),
      bytes,
      start: at + NLMSG_HEADER,
      end: at + length,
    });
    at += (length + 3) & ~3;
  }
}

/** The payload of NLMSG_ERROR: an errno, the refused message (its header only with NETLINK_CAP_ACK), then the extended ack. */
export function readError(bytes: Buffer, start: number, end: number, flags: number): Refused | undefined {
  if (end - start < 4) return { errno: 5 };
  const code = -bytes.readInt32LE(start);
  if (code === 0) return undefined;
  if (!(flags & NLM_F_ACK_TLVS) || end - start < 4 + NLMSG_HEADER) return { errno: code };
  const echoed = flags & NLM_F_CAPPED ? NLMSG_HEADER : (bytes.readUInt32LE(start + 4) + 3) & ~3;
  let extAck: string | undefined;
  eachAttribute(bytes, start + 4 + echoed, end, (number, from, to) => {
    if (number === NLMSGERR_ATTR_MSG) extAck = text.read(bytes, from, to);
  });
  return extAck === undefined ? { errno: code } : { errno: code, extAck };
}
