import { KernelError } from "../base/errors.js";
import { unreachable } from "../base/result.js";
import { HOST_NS, type NsRef } from "../plan/objects.js";
import type { ApplyResult, Batch, Op, OpFailure } from "../plan/port.js";
import { describeOp } from "./describe.js";
import { EADDRNOTAVAIL, EEXIST, ENODEV, ENOENT, EPERM, ESRCH, errnoName } from "./errno.js";
import { tally } from "./ffi.js";
import type { Ledger } from "./ledger.js";
import { LinkOps } from "./link-ops.js";
import type { LinkGroups } from "./marks.js";
import type { NamespacePool } from "./namespace-pool.js";
import type { Refused, Visit } from "./netlink/socket.js";
import { Writer } from "./netlink/writer.js";
import type { Nftables, NftOp } from "./nft/apply.js";
import { writeAddr, writeDeleteAddr } from "./rtnl/addr.js";
import { LOOPBACK_IFINDEX } from "./rtnl/constants.js";
import { getLink } from "./rtnl/link-read.js";
import { writeDeleteFdb, writeDeleteNeigh, writeFdb, writeNeigh } from "./rtnl/neigh.js";
import { dumpRoutes, writeDeleteRoute, writeRoute } from "./rtnl/route.js";
import { writeRule } from "./rtnl/rule.js";
import { writeSysctl } from "./sysctl.js";

/** One send stays below the default send buffer (net.core.wmem_max, 212,992 bytes). */
const CHUNK_LIMIT = 96 * 1024;
/** Memory outside the V8 heap is dear to make: writers that did not have to grow are used again. */
const WRITER_SIZE = 4096;
const SPARE_WRITERS = 8;
const spareWriters: Writer[] = [];
/** What a removal meets when its object is gone already. */
const GONE: readonly number[] = [ENODEV, ENOENT, ESRCH, EADDRNOTAVAIL];

export interface ApplyContext {
  readonly pool: NamespacePool;
  readonly nft: Nftables;
  readonly groups: LinkGroups;
  readonly ledger: Ledger;
  readonly warn: (message: string, fields: Record<string, unknown>) => void;
  /** Indexes of our bridges in the host's namespace, by name. A wrong one makes the kernel refuse (they are not used again), and all are forgotten. */
  readonly hostIndexes: Map<string, number>;
  /** Removals that go on after their op is done */
  readonly background: Set<Promise<void>>;
  /** How many applies are under way */
  running: number;
}

/** Where in the batches an op stands. */
export interface Place {
  readonly op: Op;
  readonly batch: number;
  readonly index: number;
}

/** What follows an answer. `refused` returns true if it has dealt with the refusal. */
export interface Answer {
  readonly refused?: (why: Refused) => boolean;
  readonly done?: () => void;
  /** Comes before the others, and also for a message that is refused in the end */
  readonly echo?: (message: Parameters<Visit>[0]) => void;
}

interface Chunk {
  readonly w: Writer;
  readonly entries: { readonly place: Place; readonly answer: Answer }[];
}

export async function apply(context: ApplyContext, batches: readonly Batch[]): Promise<ApplyResult> {
  const before = tally.calls;
  const run = new Run(context);
  context.running++;
  try {
    for (const [i, batch] of batches.entries()) await run.batch(batch, i);
    run.end();
  } finally {
    context.running--;
    if (run.failures.length > 0) context.hostIndexes.clear();
    context.pool.spares.refill();
  }
  return { failures: run.failures, syscalls: tally.calls - before };
}

/**
 * One apply. rtnetlink messages gather per namespace and leave in one send; what needs an index that only the kernel knows (of a link
 * that is still in the gathered messages) makes them leave first. So an op's messages run in the order of the ops.
 */
export class Run {
  readonly context: ApplyContext;
  readonly failures: OpFailure[] = [];
  readonly #chunks = new Map<NsRef, Chunk>();
  /** "ns|name" of links that a gathered message makes → the namespace whose message it is */
  readonly awaited = new Map<string, NsRef>();
  /** "ns|name" → index, as found by this apply */
  readonly indexes = new Map<string, number>();
  /** Namespaces that this apply has taken out of store */
  readonly #prepared = new Set<NsRef>();
  readonly #failed = new Set<Op>();
  /** Puts whose answers are not all in yet */
  #unsettled: Op[] = [];
  readonly #links: LinkOps;

  constructor(context: ApplyContext) {
    this.context = context;
    this.#links = new LinkOps(this);
  }

  async batch(batch: Batch, number: number): Promise<void> {
    // What an earlier batch has put must be in the ledger before this one takes something away.
    if (batch.some((op) => op.op === "delete")) this.end();
    const nft = new Map<NsRef, NftOp[]>();
    for (const [index, op] of batch.entries()) {
      const place = { op, batch: number, index };
      const { object } = op;
      if (op.op === "delete") this.context.ledger.remove(object);
      try {
        if (object.kind === "nftTable" || object.kind === "nftElement") {
          const list = nft.get(object.ns);
          const item = { op, place };
          if (list === undefined) nft.set(object.ns, [item]);
          else list.push(item);
        } else if (object.kind === "link") await this.#links.run(place, object);
        else if (object.kind === "netns") await this.#netns(place, object.name);
        else this.#plain(place);
      } catch (error) {
        this.caught(place, error);
      }
    }
    await this.#links.removals();
    // What only adds to a namespace may leave with what the next batch adds there: one send instead of two.
    const more = nft.size === 0 && batch.every((op) => op.op === "put");
    if (!more) this.flush();
    for (const [ns, ops] of nft) this.#nft(ns, ops);
    for (const op of batch) if (op.op === "put") this.#unsettled.push(op);
    if (!more) this.#settle();
  }

  /** Sends what is left and enters in the ledger what is there now. */
  end(): void {
    this.flush();
    this.#settle();
  }

  /** Everything has been sent: what did not fail is there. */
  #settle(): void {
    for (const op of this.#unsettled) if (!this.#failed.has(op)) this.context.ledger.put(op.object);
    this.#unsettled = [];
  }

  /** Gathers one or more messages (`write` returns how many, one if nothing). Only the last one's success counts as done. */
  send(ns: NsRef, place: Place, write: (w: Writer) => unknown, answer: Answer = {}): void {
    let chunk = this.#chunks.get(ns);
    if (chunk !== undefined && chunk.w.size > CHUNK_LIMIT) {
      this.flush();
      chunk = undefined;
    }
    if (chunk === undefined) {
      // Opens the namespace now: an op whose namespace is not there fails alone.
      this.context.pool.route(ns);
      chunk = { w: spareWriters.pop() ?? new Writer(WRITER_SIZE), entries: [] };
      this.#chunks.set(ns, chunk);
    }
    const written = write(chunk.w);
    const count = typeof written === "number" ? written : 1;
    for (let i = 0; i < count; i++)
      chunk.entries.push({
        place,
        answer: i === count - 1 ? answer : answer.refused === undefined ? {} : { refused: answer.refused },
      });
  }

  /** Sends what has gathered for one namespace, and what follows from it there, so that a link that it makes exists. */
  #flushFor(key: string): void {
    for (let round = 0; round < 16; round++) {
      const ns = this.awaited.get(key);
      const chunk = ns === undefined ? undefined : this.#chunks.get(ns);
      if (ns === undefined || chunk === undefined) return;
      this.#chunks.delete(ns);
      this.#sendChunk(ns, chunk);
    }
  }

  /** Sends what has gathered, and what that brings about. */
  flush(): void {
    for (let round = 0; this.#chunks.size > 0 && round < 16; round++)
      for (const [ns, chunk] of [...this.#chunks]) {
        this.#chunks.delete(ns);
        this.#sendChunk(ns, chunk);
      }
  }

  fail(place: Place, why: Refused): void {
    if (this.#failed.has(place.op)) return;
    this.#failed.add(place.op);
    this.failures.push({
      ...place,
      errno: why.errno,
      code: errnoName(why.errno),
      ...(why.extAck === undefined ? {} : { extAck: why.extAck }),
      operation: describeOp(place.op),
    });
  }

  /** Has this apply taken the namespace out of store: lo is up, the usual sysctls are set? */
  isPrepared(ns: NsRef): boolean {
    return this.#prepared.has(ns);
  }

  hasFailed(op: Op): boolean {
    return this.#failed.has(op);
  }

  /**
   * The index of a link. Foreign links are refused unless `foreign`: an object of ours does not go onto what is not ours.
   * Throws KernelError ENODEV or EPERM.
   */
  indexOf(ns: NsRef, name: string, options: { readonly foreign: boolean }): number {
    if (name === "lo") return LOOPBACK_IFINDEX;
    const key = `${ns}|${name}`;
    const known = this.indexes.get(key);
    if (known !== undefined) return known;
    this.#flushFor(key);
    const { pool, groups, hostIndexes } = this.context;
    const told = this.indexes.get(key) ?? (ns === HOST_NS ? hostIndexes.get(name) : undefined);
    if (told !== undefined) return told;
    const link = getLink(pool.route(ns), { name });
    if (link === undefined) throw new KernelError(`link show ${name}`, ENODEV, "ENODEV");
    const ours = link.group === groups.own || link.group === groups.peer;
    if (!ours && !options.foreign) throw new KernelError(`link ${name} is not ours`, EPERM, "EPERM");
    if (ours) this.indexes.set(key, link.index);
    if (ours && ns === HOST_NS && link.kind === "bridge") hostIndexes.set(name, link.index);
    return link.index;
  }

  /** The link goes away, or is made anew. */
  forgetIndex(ns: NsRef, name: string): void {
    this.indexes.delete(`${ns}|${name}`);
    if (ns === HOST_NS) this.context.hostIndexes.delete(name);
  }

  #sendChunk(ns: NsRef, chunk: Chunk): void {
    let refused: ReadonlyMap<number, Refused>;
    try {
      refused = this.context.pool
        .route(ns)
        .request(chunk.w, undefined, (index, message) => chunk.entries[index]?.answer.echo?.(message));
    } catch (error) {
      for (const { place } of chunk.entries) this.caught(place, error);
      return;
    }
    if (chunk.w.size <= WRITER_SIZE && spareWriters.length < SPARE_WRITERS) spareWriters.push(chunk.w.clear());
    for (const [i, { place, answer }] of chunk.entries.entries()) {
      const why = refused.get(i);
      try {
        if (why === undefined) {
          if (!this.#failed.has(place.op)) answer.done?.();
        } else if (place.op.op === "delete" && GONE.includes(why.errno)) continue;
        else if (!answer.refused?.(why)) this.fail(place, why);
      } catch (error) {
        this.caught(place, error);
      }
    }
  }

  async #netns(place: Place, name: NsRef): Promise<void> {
    if (place.op.op === "put") {
      if (this.context.pool.make(name) === "prepared") this.#prepared.add(name);
      return;
    }
    await this.#links.removals();
    this.flush();
    for (const key of [...this.indexes.keys()]) if (key.startsWith(`${name}|`)) this.indexes.delete(key);
    this.context.nft.forget(name);
    this.context.pool.remove(name);
  }

  /** Objects that are one or two messages, or one file. */
  #plain(place: Place): void {
    const { op } = place;
    const { object: o } = op;
    const put = op.op === "put";
    switch (o.kind) {
      case "addr": {
        const index = this.indexOf(o.ns, o.dev, { foreign: false });
        if (!put) {
          this.send(o.ns, place, (w) => writeDeleteAddr(w, o, index));
          return;
        }
        // Broadcast, scope and flags cannot be changed; that it is gone meanwhile does not matter.
        if (op.was !== undefined)
          this.send(o.ns, place, (w) => writeDeleteAddr(w, o, index), { refused: (why) => GONE.includes(why.errno) });
        this.send(o.ns, place, (w) => writeAddr(w, o, index, { replace: true }));
        return;
      }
      case "route":
        this.#route(place, put);
        return;
      case "neigh": {
        const index = this.indexOf(o.ns, o.dev, { foreign: o.proxy ?? false });
        this.send(o.ns, place, (w) => (put ? writeNeigh(w, o, index) : writeDeleteNeigh(w, o, index)));
        return;
      }
      case "fdb": {
        const index = this.indexOf(o.ns, o.dev, { foreign: false });
        this.send(o.ns, place, (w) => (put ? writeFdb(w, o, index) : writeDeleteFdb(w, o, index)));
        return;
      }
      case "rule":
        this.send(o.ns, place, (w) => writeRule(w, o, { remove: !put }), {
          refused: (why) => put && why.errno === EEXIST,
        });
        return;
      case "sysctl":
        if (!put || (this.isPrepared(o.ns) && this.context.pool.spares.has(o.key, o.value))) return;
        // The file of an interface appears with the interface.
        this.flush();
        this.context.pool.inside(o.ns, () => writeSysctl(o.ns === HOST_NS ? "host" : "pinned", o.key, o.value));
        return;
      case "netns":
      case "link":
      case "nftTable":
      case "nftElement":
        return;
      default:
        unreachable(o);
    }
  }

  #route(place: Place, put: boolean): void {
    const { op } = place;
    const { object: o } = op;
    if (o.kind !== "route") return;
    const index = o.dev === undefined ? undefined : this.indexOf(o.ns, o.dev, { foreign: true });
    if (!put) {
      this.send(o.ns, place, (w) => writeDeleteRoute(w, o, index));
      return;
    }
    this.send(o.ns, place, (w) => writeRoute(w, o, index, { replace: op.op === "put" && op.was !== undefined }), {
      refused: (why) => {
        if (why.errno !== EEXIST) return false;
        // Ours is replaced by itself; another's route to the same prefix stays, and the op fails.
        const socket = this.context.pool.route(o.ns).strict();
        const ours = dumpRoutes(socket, o.ns, () => "", { oursOnly: true });
        const same = (r: { readonly dst: string; readonly metric?: number; readonly table?: number }): boolean =>
          r.dst === o.dst && (r.metric ?? 0) === (o.metric ?? 0) && (r.table ?? 254) === (o.table ?? 254);
        if (!ours.some((seen) => same(seen.object))) return false;
        this.send(o.ns, place, (w) => writeRoute(w, o, index, { replace: true }));
        return true;
      },
    });
  }

  #nft(ns: NsRef, ops: readonly NftOp[]): void {
    try {
      this.context.nft.apply(ns, ops, (place, why) => this.fail(place, why));
    } catch (error) {
      for (const { place } of ops) this.caught(place, error);
    }
  }

  /** A removal in a namespace or on a link that is not there has nothing to do. */
  caught(place: Place, error: unknown): void {
    if (!(error instanceof KernelError)) throw error;
    if (place.op.op === "delete" && GONE.includes(error.errno)) return;
    if (place.op.op === "delete" && error.errno === EPERM && error.operation.endsWith("is not ours")) return;
    const why = error.extAck ?? (error.operation === describeOp(place.op) ? undefined : error.operation);
    this.fail(place, why === undefined ? { errno: error.errno } : { errno: error.errno, extAck: why });
  }
}
