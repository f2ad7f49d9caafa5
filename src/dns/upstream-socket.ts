import { UdpClient } from "../kernel/udp-client.js";
import { limits } from "./limits.js";
import { type Asker, randomUint16, type Upstream } from "./upstream.js";

/** One buffer for all questions: `send` copies. It is larger than any query, which came in a datagram or a TCP frame. */
const message = Buffer.alloc(65_536);

/** A UDP socket connected to one upstream, on a random port. Retired, it closes when its last question is settled. */
export class UpstreamSocket {
  readonly #upstream: Upstream;
  readonly #client: UdpClient | undefined;
  readonly #askers = new Map<number, Asker>();
  #sent = 0;
  #retired = false;
  #closed = false;

  constructor(upstream: Upstream) {
    this.#upstream = upstream;
    try {
      this.#client = new UdpClient(upstream.address, upstream.port, {
        onDatagram: (bytes) => this.#onMessage(bytes),
        // ICMP says that nobody listens there, or there is no route: whoever waits need not wait for the time to be over
        onError: () => this.#fail(),
      });
    } catch {
      // no way there at present: told to those who ask
    }
  }

  get isWorn(): boolean {
    return this.#sent >= limits.upstreamSocketQueries || this.#closed;
  }

  /** Sends the query under a new id, which is returned: at once, or together with others. */
  send(query: Uint8Array, asker: Asker, atOnce: boolean): number {
    let id = randomUint16();
    while (this.#askers.has(id)) id = randomUint16();
    this.#askers.set(id, asker);
    this.#sent++;
    message.set(query, 0);
    message[0] = id >> 8;
    message[1] = id & 255;
    if (this.#client !== undefined && atOnce) this.#client.send(message.subarray(0, query.length));
    else if (this.#client !== undefined) this.#client.put(message.subarray(0, query.length));
    // not before the caller has noted its attempt
    else setImmediate(() => this.#fail());
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

  #onMessage(bytes: Buffer): void {
    if (bytes.length < 12) return;
    this.#askers.get((bytes[0]! << 8) | bytes[1]!)?.onAnswer(this.#upstream, bytes);
  }

  #fail(): void {
    const askers = [...this.#askers.values()];
    this.#close();
    this.#askers.clear();
    for (const asker of askers) asker.onUnreachable(this.#upstream);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#client?.close();
  }
}
