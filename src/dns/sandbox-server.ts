import { createServer, type Server, type Socket } from "node:net";
import { UdpPort } from "../kernel/udp.js";
import { flushDatagrams, putDatagram, sendDatagram } from "../kernel/udp-outbox.js";
import type { Client, Forwarder } from "./forward.js";
import { limits } from "./limits.js";
import { rcode } from "./message.js";
import type { NameTables, View } from "./names.js";
import { respond, writeCode } from "./respond.js";

export interface ServeCounters {
  queries: number;
  local: number;
  dropped: number;
}

/** One buffer for all answers of the thread: each is sent, which copies it, before the next is written. */
const out = Buffer.alloc(65_536 + 512);

/** The two sockets of one sandbox, and what it may see. Owns the descriptors. */
export class SandboxServer {
  view: View;
  forward: boolean;
  readonly client: Client;
  readonly #tables: NameTables;
  readonly #forwarder: Forwarder;
  readonly #counters: ServeCounters;
  readonly #udp: UdpPort;
  readonly #tcp: Server;
  #closed = false;
  readonly #connections = new Set<Socket>();

  constructor(parts: {
    readonly udpFd: number;
    readonly tcpFd: number;
    readonly view: View;
    readonly client: Client;
    readonly forward: boolean;
    readonly tables: NameTables;
    readonly forwarder: Forwarder;
    readonly counters: ServeCounters;
  }) {
    this.view = parts.view;
    this.client = parts.client;
    this.forward = parts.forward;
    this.#tables = parts.tables;
    this.#forwarder = parts.forwarder;
    this.#counters = parts.counters;
    this.#udp = new UdpPort(parts.udpFd);
    this.#tcp = createServer({ noDelay: true }, (socket) => this.#serveConnection(socket));
    this.#tcp.maxConnections = limits.tcpConnectionsPerSandbox;
  }

  /** Rejects if the TCP socket cannot be listened on. */
  async start(tcpFd: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#tcp.once("error", reject);
      this.#tcp.listen({ fd: tcpFd }, () => {
        this.#tcp.off("error", reject);
        this.#tcp.on("error", () => {});
        resolve();
      });
    });
    this.#udp.onDatagrams((bytes, peer) => {
      const length = this.#answer(bytes, false, (answer) => {
        if (this.#closed) return;
        if (this.#forwarder.isQuiet) sendDatagram(this.#udp.fd, answer, peer);
        else putDatagram(this.#udp.fd, answer, peer);
      });
      if (length > 0) this.#udp.send(out.subarray(0, length), peer);
    });
  }

  close(): void {
    this.#closed = true;
    flushDatagrams();
    this.#udp.close();
    this.#tcp.close();
    for (const socket of this.#connections) socket.destroy();
  }

  /** Length of the answer in `out`; 0: there is none; -1: it comes through `later`, once, or has come already. */
  #answer(bytes: Uint8Array, tcp: boolean, later: (answer: Uint8Array) => void): number {
    this.#counters.queries++;
    const result = respond(out, bytes, { tables: this.#tables, view: this.view, tcp, forward: this.forward });
    if (typeof result === "number") {
      if (result > 0) this.#counters.local++;
      else this.#counters.dropped++;
      return result;
    }
    this.#forwarder.forward({
      client: this.client,
      bytes,
      query: result,
      tcp,
      reply: (answer, message) => later(answer ?? out.subarray(0, writeCode(out, message, result, rcode.servFail))),
    });
    return -1;
  }

  #serveConnection(socket: Socket): void {
    this.#connections.add(socket);
    socket.setTimeout(limits.tcpIdleMs, () => socket.destroy());
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#connections.delete(socket));
    let rest: Buffer | undefined;
    let waiting = 0;
    const frames: Buffer[] = [];
    const flush = () => {
      if (frames.length === 0 || socket.destroyed) return;
      socket.write(frames.length === 1 ? frames[0]! : Buffer.concat(frames));
      frames.length = 0;
      // a client that asks and does not read is not worth the memory
      if (socket.writableLength > limits.tcpWriteBuffer) socket.destroy();
    };
    socket.on("data", (chunk) => {
      const input = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
      let at = 0;
      let sync = true;
      while (at + 2 <= input.length) {
        const end = at + 2 + input.readUInt16BE(at);
        if (end > input.length) break;
        if (waiting >= limits.tcpPipelined) return socket.destroy();
        const length = this.#answer(input.subarray(at + 2, end), true, (answer) => {
          waiting--;
          frames.push(frame(answer));
          if (!sync) flush();
        });
        if (length > 0) frames.push(frame(out.subarray(0, length)));
        else if (length < 0) waiting++;
        at = end;
      }
      sync = false;
      rest = at < input.length ? Buffer.from(input.subarray(at)) : undefined;
      flush();
    });
  }
}

function frame(answer: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(answer.length + 2);
  bytes.writeUInt16BE(answer.length, 0);
  bytes.set(answer, 2);
  return bytes;
}
