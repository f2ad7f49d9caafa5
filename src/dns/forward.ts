import { limits } from "./limits.js";
import { answerCode, answersQuestion, isTruncated, type Query, rcode, truncated, udpLimit } from "./message.js";
import { type Asker, type Attempt, parseUpstream, randomUint16, Upstream } from "./upstream.js";
import { askTcp } from "./upstream-tcp.js";

/** What is counted here; see DnsStats. */
export interface ForwardCounters {
  forwarded: number;
  coalesced: number;
  refusedBusy: number;
  upstreamTimeouts: number;
  upstreamFailures: number;
}

/** A sandbox as the forwarder knows it. */
export interface Client {
  upstreams: readonly Upstream[] | undefined;
  inFlight: number;
}

export interface ForwardRequest {
  readonly client: Client;
  /** The whole query message; copied. */
  readonly bytes: Uint8Array;
  readonly query: Query;
  readonly tcp: boolean;
  /** Called once, maybe before `forward` returns: with the answer under the client's id (valid during the call only), or undefined for SERVFAIL; `message` is the query, with whatever id. */
  readonly reply: (answer: Uint8Array | undefined, message: Uint8Array) => void;
}

/**
 * Asks upstreams on behalf of sandboxes. Equal questions on their way to the same upstreams are asked once, which also ends loops: a question that
 * comes back to us by way of an upstream joins itself, and is not sent again.
 */
export class Forwarder {
  readonly counters: ForwardCounters = {
    forwarded: 0,
    coalesced: 0,
    refusedBusy: 0,
    upstreamTimeouts: 0,
    upstreamFailures: 0,
  };
  readonly #upstreams = new Map<string, Upstream>();
  readonly #pending = new Map<string, Exchange>();
  #host: readonly Upstream[] = [];
  #waiting = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerDelayMs = 0;

  /** So little is under way that waiting for company makes things slower, not faster. */
  get isQuiet(): boolean {
    return this.#waiting <= limits.quietInFlight;
  }

  get inFlight(): number {
    return this.#waiting;
  }

  /** Texts that are no addresses are left out. */
  upstreams(texts: readonly string[]): readonly Upstream[] {
    const list: Upstream[] = [];
    for (const text of texts.slice(0, limits.maxUpstreams)) {
      const parsed = parseUpstream(text);
      if (parsed === undefined) continue;
      let upstream = this.#upstreams.get(text);
      if (upstream === undefined) {
        upstream = new Upstream(parsed.address, parsed.port);
        this.#upstreams.set(text, upstream);
      }
      if (!list.includes(upstream)) list.push(upstream);
    }
    return list;
  }

  setHostUpstreams(texts: readonly string[]): void {
    this.#host = this.upstreams(texts);
  }

  forward(request: ForwardRequest): void {
    const { client, query, bytes } = request;
    const upstreams = client.upstreams ?? this.#host;
    if (upstreams.length === 0) {
      request.reply(undefined, bytes);
      return;
    }
    if (this.#waiting >= limits.inFlight || client.inFlight >= limits.inFlightPerSandbox) {
      this.counters.refusedBusy++;
      request.reply(undefined, bytes);
      return;
    }
    const message = Buffer.from(bytes);
    if (query.edns !== undefined && query.edns.payload > limits.udpPayload)
      message.writeUInt16BE(limits.udpPayload, query.edns.sizeAt);
    let key = request.tcp ? "t" : "u";
    for (const upstream of upstreams) key += `${upstream.address} ${upstream.port},`;
    key += message.toString("latin1", 2);
    let exchange = this.#pending.get(key);
    if (exchange === undefined) {
      exchange = new Exchange({ forwarder: this, key, message, request, upstreams });
      this.#pending.set(key, exchange);
      this.counters.forwarded++;
      this.#join(exchange, request);
      exchange.start(Date.now());
      this.#schedule(limits.tickMs);
    } else if (exchange.waiters.length < limits.waitersPerQuery) {
      this.counters.coalesced++;
      this.#join(exchange, request);
    } else request.reply(undefined, bytes);
  }

  #join(exchange: Exchange, request: ForwardRequest): void {
    this.#waiting++;
    request.client.inFlight++;
    exchange.waiters.push(request);
  }

  /** The end of an exchange, by its answer or without one. */
  settle(exchange: Exchange, answer: Uint8Array | undefined): void {
    this.#pending.delete(exchange.key);
    let small: Uint8Array | undefined;
    for (const request of exchange.waiters) {
      this.#waiting--;
      request.client.inFlight--;
      let out = answer;
      if (answer !== undefined && !request.tcp && answer.length > udpLimit(request.query)) {
        small ??= truncated(answer, Math.min(answer.length, request.query.questionEnd));
        out = small;
      }
      if (out !== undefined) {
        out[0] = request.query.id >> 8;
        out[1] = request.query.id & 255;
      }
      request.reply(out, exchange.message);
    }
  }

  /** The next look at what is under way; an earlier one that is set already is not put off. */
  #schedule(delayMs: number): void {
    if (this.#timer !== undefined && this.#timerDelayMs <= delayMs) return;
    clearTimeout(this.#timer);
    this.#timerDelayMs = delayMs;
    this.#timer = setTimeout(() => this.#tick(Date.now()), delayMs);
  }

  #tick(now: number): void {
    this.#timer = undefined;
    for (const exchange of this.#pending.values()) exchange.tick(now);
    let open = false;
    for (const upstream of this.#upstreams.values()) if (upstream.sweep(now)) open = true;
    if (this.#pending.size > 0) this.#schedule(limits.tickMs);
    else if (open) this.#schedule(limits.upstreamSocketIdleMs);
    // those in use are held by their clients; these are only the ways to find them by name
    else if (this.#upstreams.size > limits.upstreamsRemembered) this.#upstreams.clear();
  }

  close(): void {
    clearTimeout(this.#timer);
    for (const exchange of [...this.#pending.values()]) exchange.finish(undefined);
    for (const upstream of this.#upstreams.values()) upstream.close();
  }
}

/** One question, on its way to one upstream after the other; whichever answers first ends it. */
class Exchange implements Asker {
  readonly key: string;
  readonly waiters: ForwardRequest[] = [];
  readonly #forwarder: Forwarder;
  readonly message: Buffer;
  readonly #questionEnd: number;
  readonly #tcp: boolean;
  readonly #upstreams: readonly Upstream[];
  #attempts: { readonly upstream: Upstream; readonly attempt: Attempt; open: boolean }[] = [];
  #order: Upstream[] = [];
  #asked = 0;
  #nextAt = 0;
  #deadline = 0;
  /** Over TCP now: no more UDP attempts until that ends. */
  #viaTcp = false;
  #worst: Buffer | undefined;
  #settled = false;

  constructor(parts: {
    readonly forwarder: Forwarder;
    readonly key: string;
    readonly message: Buffer;
    readonly request: ForwardRequest;
    readonly upstreams: readonly Upstream[];
  }) {
    this.key = parts.key;
    this.#forwarder = parts.forwarder;
    this.message = parts.message;
    this.#questionEnd = parts.request.query.questionEnd;
    this.#tcp = parts.request.tcp;
    this.#upstreams = parts.upstreams;
  }

  start(now: number): void {
    this.#deadline = now + limits.queryDeadlineMs;
    // in the order given, those that failed lately behind the others
    const failed = this.#upstreams.filter((u) => u.isFailed(now));
    this.#order = failed.length === 0 ? [...this.#upstreams] : [...this.#upstreams.filter((u) => !failed.includes(u)), ...failed];
    this.#askNext(now);
  }

  #askNext(now: number): void {
    const upstream = this.#order[this.#asked % this.#order.length]!;
    this.#asked++;
    this.#nextAt = now + limits.attemptMs;
    this.#attempts.push({
      upstream,
      attempt: upstream.ask(this.message, this, { now, atOnce: this.#forwarder.isQuiet }),
      open: true,
    });
  }

  tick(now: number): void {
    if (this.#settled) return;
    if (now >= this.#deadline) {
      this.#markSilent(now);
      this.finish(this.#worst);
    } else if (!this.#viaTcp && now >= this.#nextAt && this.#asked < limits.attempts) {
      this.#markSilent(now);
      this.#askNext(now);
    }
  }

  #markSilent(now: number): void {
    const last = this.#attempts.at(-1);
    if (last === undefined || !last.open) return;
    this.#forwarder.counters.upstreamTimeouts++;
    last.upstream.failed(now);
  }

  onAnswer(upstream: Upstream, answer: Uint8Array): boolean {
    if (this.#settled || !answersQuestion(answer, this.message, this.#questionEnd)) return false;
    upstream.answered();
    if (this.#tcp && isTruncated(answer)) {
      this.#retryTcp(upstream, answer);
      return true;
    }
    this.#take(upstream, answer);
    return true;
  }

  #take(upstream: Upstream, answer: Uint8Array): void {
    const code = answerCode(answer);
    if (code === rcode.noError || code === rcode.nxDomain) this.finish(answer);
    else {
      // it could not or would not say: another one may
      this.#worst = Buffer.from(answer);
      this.#failed(upstream);
    }
  }

  onUnreachable(upstream: Upstream): void {
    if (this.#settled) return;
    upstream.failed(Date.now());
    this.#failed(upstream);
  }

  #failed(upstream: Upstream): void {
    this.#forwarder.counters.upstreamFailures++;
    for (const one of this.#attempts) if (one.upstream === upstream) one.open = false;
    if (this.#asked < this.#order.length) this.#askNext(Date.now());
    else if (this.#attempts.every((one) => !one.open) && !this.#viaTcp) this.finish(this.#worst);
  }

  #retryTcp(upstream: Upstream, answer: Uint8Array): void {
    if (this.#viaTcp) return;
    this.#viaTcp = true;
    this.#worst ??= Buffer.from(answer);
    const query = Buffer.from(this.message);
    query.writeUInt16BE(randomUint16(), 0);
    askTcp(upstream, query, this.#deadline - Date.now(), (full) => {
      this.#viaTcp = false;
      if (this.#settled) return;
      if (full !== undefined && answersQuestion(full, this.message, this.#questionEnd)) this.#take(upstream, full);
      else this.#failed(upstream);
    });
  }

  finish(answer: Uint8Array | undefined): void {
    if (this.#settled) return;
    this.#settled = true;
    for (const { attempt } of this.#attempts) attempt.socket.release(attempt.id);
    this.#forwarder.settle(this, answer);
  }
}
