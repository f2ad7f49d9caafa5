import type { IKeyValue, Lease, Watcher } from "etcd3";
import type { Endpoint } from "../model/network.js";
import type { Change } from "../model/state.js";
import type { Availability } from "./availability.js";
import type { CatchUp } from "./catch-up.js";
import type { ClusterContext } from "./context.js";
import type { GivenUpNetworks } from "./given-up.js";
import type { OwnEndpoints } from "./own-endpoints.js";
import { readAll } from "./read-all.js";

/** A host that has not been heard of for so long is away. */
const LEASE_SECONDS = 15;

interface Item {
  readonly key: string;
  readonly value: string | undefined;
  readonly revision: number;
}

/** Keeps the mirror like the store, by one look at everything and one watch from there on, and tells the engine what is new. */
export class Reader {
  private watcher: Watcher | undefined;
  private lease: Lease | undefined;
  private readonly ctx: ClusterContext;
  private readonly availability: Availability;
  private readonly catchUp: CatchUp;
  private readonly own: OwnEndpoints;
  private readonly givenUp: GivenUpNetworks;
  constructor(ctx: ClusterContext, availability: Availability, catchUp: CatchUp, own: OwnEndpoints, givenUp: GivenUpNetworks) {
    this.ctx = ctx;
    this.availability = availability;
    this.catchUp = catchUp;
    this.own = own;
    this.givenUp = givenUp;
  }

  /** What was known last, for an engine that starts without etcd. */
  async readCopy(): Promise<void> {
    const kept = await this.ctx.copy.read();
    // Leases are not believed from disk: who is alive is for the store to say.
    this.enter(
      kept.filter(([key]) => !key.startsWith(this.ctx.keys.nodes)).map(([key, value, revision]) => ({ key, value, revision })),
    );
  }

  /** Reads everything; the revision of it. */
  async readStore(): Promise<number> {
    const { client, keys, mirror } = this.ctx;
    const { revision, kvs } = await readAll(client, keys.root);
    // Another etcd than last time (restored, or made anew): its revisions say nothing about ours.
    if (revision < mirror.revision || revision < mirror.newestRevision()) mirror.forgetRevisions();
    const seen = new Set<string>();
    const batch: Item[] = [];
    for (const kv of kvs) {
      const key = kv.key.toString();
      seen.add(key);
      batch.push({ key, value: kv.value.toString(), revision: Number(kv.mod_revision) });
    }
    for (const key of [...mirror.allKeys()]) if (!seen.has(key)) batch.push({ key, value: undefined, revision });
    // Endpoints of ours that are missing there were taken away while we could not be told, by `node rm` or by force: they are put again
    // (OwnEndpoints.reconcile) unless somebody has their name or address by now.
    this.enter(batch, { lost: false });
    this.catchUp.passed(revision);
    return revision;
  }

  /** Says that this host is there: its record, and a key that lives as long as its lease. */
  async register(): Promise<void> {
    const { client, keys, mirror, options } = this.ctx;
    const record = {
      id: options.nodeId,
      advertise: options.advertise,
      address: options.address,
      hostname: options.hostname,
      ...(options.publicKey ? { publicKey: options.publicKey } : {}),
    };
    const text = JSON.stringify(record);
    if (mirror.valueOf(keys.node(options.nodeId)) !== text) {
      const response = await client.put(keys.node(options.nodeId)).value(text).exec();
      this.enter([{ key: keys.node(options.nodeId), value: text, revision: Number(response.header.revision) }]);
    }
    this.lease?.removeAllListeners();
    const old = this.lease;
    const lease = client.lease(LEASE_SECONDS);
    this.lease = lease;
    lease.on("lost", (error) => {
      if (this.lease === lease) this.availability.lost(error);
    });
    const live = JSON.stringify({ id: options.nodeId, advertise: options.advertise, since: options.now() });
    const response = await lease.put(keys.live(options.advertise)).value(live).exec();
    this.enter([{ key: keys.live(options.advertise), value: live, revision: Number(response.header.revision) }]);
    old?.revoke().catch(() => {
      // it ended with the outage that brought us here
    });
  }

  async watchFrom(revision: number): Promise<void> {
    const before = this.watcher;
    this.watcher = undefined;
    before?.removeAllListeners();
    before?.on("error", () => {});
    await before?.cancel().catch(() => {});
    const { client, copy, keys } = this.ctx;
    const watcher = client.watch().prefix(`${keys.root}/`).startRevision(String(revision)).watcher();
    this.watcher = watcher;
    watcher.on("data", (response) => {
      if (this.watcher !== watcher) return;
      const at = Number(response.header.revision);
      this.enter(
        response.events.map((e) => ({
          key: e.kv.key.toString(),
          value: String(e.type) === "Delete" || String(e.type) === "DELETE" ? undefined : e.kv.value.toString(),
          revision: Number((e.kv as IKeyValue).mod_revision),
        })),
      );
      this.catchUp.passed(at);
      copy.soon();
    });
    // "disconnected" heals by itself (the watch resumes); "error" (compacted, cancelled) needs a new look at everything.
    watcher.on("disconnected", (error) => this.watcher === watcher && this.availability.lost(error));
    watcher.on("error", (error) => this.watcher === watcher && this.availability.lost(error));
  }

  /** Waits a second for etcd at the most: it may be away. */
  async close(): Promise<void> {
    const within = (p: Promise<unknown> | undefined) =>
      Promise.race([p?.catch(() => {}), new Promise((r) => setTimeout(r, 1_000).unref())]);
    this.watcher?.removeAllListeners();
    this.watcher?.on("error", () => {});
    await within(this.watcher?.cancel());
    await within(this.lease?.revoke());
  }

  private enter(batch: readonly Item[], tell: { readonly lost: boolean } = { lost: true }): void {
    const { events, mirror } = this.ctx;
    const changes: Change[] = [];
    const lost: string[] = [];
    const appeared: Endpoint[] = [];
    for (const item of batch) {
      const result = mirror.apply(item.key, item.value, item.revision, { own: false });
      changes.push(...result.changes);
      lost.push(...result.lost);
      if (result.own) appeared.push(result.own);
    }
    if (appeared.length > 0) void this.own.withdrawUnknown(appeared);
    // Networks before endpoints before the removal of networks: the engine may apply them one by one.
    const rank = (c: Change) => (c.kind === "meta" ? 0 : c.kind === "network" ? (c.value ? 1 : 4) : c.value ? 3 : 2);
    if (changes.length > 0) events.onChanges(changes.sort((a, b) => rank(a) - rank(b)));
    if (changes.some((c) => c.kind === "network" && c.value !== undefined)) void this.givenUp.withdraw();
    const really = lost.filter((id) => [...events.own()].some((e) => e.id === id));
    if (tell.lost && really.length > 0) events.onLost(really);
  }
}
