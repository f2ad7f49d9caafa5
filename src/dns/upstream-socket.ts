import { createSocket, type Socket } from "node:dgram";
import { limits } from "./limits.js";
import { type Asker, randomUint16, type Upstream } from "./upstream.js";

/** A UDP socket connected to one upstream, on a random port. Retired, it closes when its last question is settled. */
export class UpstreamSocket {
  readonly #upstream: Upstream;
  readonly #socket: Socket;
  readonly #askers = new Map<number, Asker>();
  #waiting: Buffer[] | undefined = [];
  #sent = 0;
  #retired = false;
  #closed = false;

  constructor(upstream: Upstream) {
    this.#upstream = upstream;
    const v6 = upstream.address.includes(":");
    this.#socket = createSocket({ type: v6 ? "udp6" : "udp4" });
    this.#socket.on("message", (bytes) => this.#onMessage(bytes));
    // ICMP says that nobody listens there (ECONNREFUSED), or there is no route: whoever waits need not wait for the time to be over
    this.#socket.on("error", () => this.#onError());
    this.#socket.bind({ port: 0, address: v6 ? "::" : "0.0.0.0", exclusive: true }, () => {
      if (this.#closed) return;
      this.#socket.connect(upstream.port, upstream.address, () => {
        const waiting = this.#waiting ?? [];
        this.#waiting = undefined;
        if (!this.#closed) for (const query of waiting) this.#write(query);
      });
    });
  }

  get isWorn(): boolean {
    return this.#sent >= limits.upstreamSocketQueries || this.#closed;
  }

  /** Sends a copy of the query under a new id, which is returned. */
  send(query: Uint8Array, asker: Asker): number {
    let id = randomUint16();
    while (this.#askers.has(id)) id = randomUint16();
    this.#askers.set(id, asker);
    this.#sent++;
    const message = Buffer.from(query);
    message.writeUInt16BE(id, 0);
    if (this.#waiting === undefined) this.#write(message);
    else this.#waiting.push(message);
    return id;
  }

  /** The question is settled: its answer is not awaited any more. */
  release(id: number): void {
    this.#askers.delete(id);
    if (this.#retired && this.#askers.size === 0) this.#close();
  }

  retire(): void {
    this.#retired = true;
    if (this.#askers.size === 0) this.#close();
  }

  #write(message: Buffer): void {
    try {
      this.#socket.send(message, (error) => {
        if (error !== null) this.#onError();
      });
    } catch {
      // not before the caller has noted its attempt
      setImmediate(() => this.#onError());
    }
  }

  #onMessage(bytes: Uint8Array): void {
    if (bytes.length < 12) return;
    this.#askers.get((bytes[0]! << 8) | bytes[1]!)?.onAnswer(this.#upstream, bytes);
  }

  #onError(): void {
    const askers = [...this.#askers.values()];
    this.#close();
    this.#askers.clear();
    for (const asker of askers) asker.onUnreachable(this.#upstream);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#socket.close();
  }
}
