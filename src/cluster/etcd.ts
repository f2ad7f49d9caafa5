import { Etcd3, type IKeyValue, type IOperation, type Lease, type Watcher } from "etcd3";
import { refuse } from "../base/errors.js";
import { blockOfAddress } from "../model/blocks.js";
import type { Endpoint, Network } from "../model/network.js";
import type { Change } from "../model/state.js";
import {
  type Cluster,
  ClusterConflict,
  type ClusterEvents,
  type ClusterNode,
  type ClusterOptions,
  ClusterUnavailable,
} from "./contract.js";
import { DiskCopy } from "./disk-copy.js";
import { type Keys, keysOf } from "./keys.js";
import { Mirror } from "./mirror.js";
import { readAll } from "./read-all.js";
import { endpointKeys, type Transaction, transactionOf } from "./txn.js";
import { addressesOf } from "./values.js";

/** One call to etcd may take this long. Longer than an election, shorter than a person's patience. */
const CALL_TIMEOUT_MS = 3_000;
/** A host that has not been heard of for so long is away. */
const LEASE_SECONDS = 15;
const PROBE_INTERVAL_MS = 1_000;
const PATIENCE_MS = 5_000;
const CATCH_UP_TIMEOUT_MS = 2_000;
/** etcd's default limit of operations in one transaction is 128. */
const TXN_OPERATIONS = 100;

/**
 * The shared store on etcd's v3 API. Reads are served by the mirror (kept by one watch on the whole prefix); writes are guarded transactions.
 * While etcd is away the mirror stays as it was, and a copy of it on disk lets an engine start without etcd and change nothing.
 */
export async function openEtcdCluster(
  options: ClusterOptions & { readonly cacheFile: string },
  events: ClusterEvents,
): Promise<Cluster> {
  const cluster = new EtcdCluster(options, events);
  await cluster.open();
  return cluster;
}

class EtcdCluster implements Cluster {
  readonly nodeId: string;
  private isAvailable = false;
  private closed = false;
  private readonly keys: Keys;
  private readonly mirror: Mirror;
  private readonly copy: DiskCopy;
  private readonly client: Etcd3;
  private watcher: Watcher | undefined;
  private lease: Lease | undefined;
  private probeTimer: NodeJS.Timeout | undefined;
  private syncing: Promise<void> | undefined;
  private reconciling: Promise<void> | undefined;
  private readonly patient = new Set<() => void>();
  private readonly waiters = new Set<{ readonly revision: number; readonly wake: () => void }>();
  private readonly options: ClusterOptions & { readonly cacheFile: string };
  private readonly events: ClusterEvents;

  constructor(options: ClusterOptions & { readonly cacheFile: string }, events: ClusterEvents) {
    this.options = options;
    this.events = events;
    this.nodeId = options.nodeId;
    this.keys = keysOf(options.prefix);
    this.mirror = new Mirror(this.keys, options.nodeId);
    this.copy = new DiskCopy(options.cacheFile, this.mirror, (error) =>
      options.log.warn("the copy of the cluster's state could not be written", { error: messageOf(error) }),
    );
    const scheme = options.tls ? "https" : "http";
    this.client = new Etcd3({
      hosts: options.hosts.map((h) => `${scheme}://${h}`),
      ...(options.tls?.ca
        ? {
            credentials: {
              rootCertificate: options.tls.ca,
              ...(options.tls.key && options.tls.cert ? { privateKey: options.tls.key, certChain: options.tls.cert } : {}),
            },
          }
        : {}),
      defaultCallOptions: (context) => (context.isStream ? {} : { deadline: Date.now() + CALL_TIMEOUT_MS }),
      grpcOptions: {
        "grpc.initial_reconnect_backoff_ms": 200,
        "grpc.max_reconnect_backoff_ms": 1_000,
        "grpc.keepalive_time_ms": 5_000,
        "grpc.keepalive_timeout_ms": 3_000,
      },
    });
  }

  get available(): boolean {
    return this.isAvailable;
  }

  nodes(): readonly ClusterNode[] {
    return this.mirror.nodes();
  }

  knowsNetwork(id: string): boolean {
    return this.mirror.networkOf(id) !== undefined;
  }

  network(id: string): Network | undefined {
    return this.mirror.networkOf(id);
  }

  blockOwner(record: string): string | undefined {
    const [, networkId, prefix] = /^block:([^:]+):(.+)$/.exec(record) ?? [];
    return networkId && prefix ? this.mirror.valueOf(this.keys.block(networkId, prefix)) : undefined;
  }

  async open(): Promise<void> {
    await this.readCopy();
    try {
      await this.resync();
    } catch (error) {
      this.options.log.warn("etcd does not answer; starting with what was known last", {
        error: messageOf(error),
        hosts: this.options.hosts.join(","),
      });
      this.lost(error);
    }
  }

  // ---- writing -------------------------------------------------------------------------------------------------------

  async commit(changes: readonly Change[]): Promise<void> {
    for (const change of changes) {
      if (change.kind !== "network" || change.value) continue;
      // Seen ones are refused here, unseen ones by the guard on the members key.
      for (const e of this.mirror.allEndpoints())
        if (e.networkId === change.id) throw new ClusterConflict("endpoint", this.keys.endpoint(e.networkId, e.id));
    }
    await this.reconciling?.catch(() => undefined);
    await this.rememberNetworks(changes);
    const transaction = transactionOf(changes, this.keys, this.mirror, { nodeId: this.nodeId, address: this.options.address });
    if (transaction.puts.size + transaction.deletes.size === 0) return;
    if (!this.isAvailable) {
      if (transaction.withdrawal) return this.withdrawLater();
      if (await this.comesBack()) return this.commit(changes);
      throw new ClusterUnavailable(`no answer from ${this.options.hosts.join(", ")}`);
    }
    try {
      await this.execute(transaction);
    } catch (error) {
      // What stands in the way may be an attempt of our own that was given up.
      if (error instanceof ClusterConflict)
        await this.withdrawUnknown([...this.mirror.allEndpoints()].filter((e) => e.node === this.nodeId));
      if (error instanceof ClusterConflict || !transaction.withdrawal) throw error;
      this.withdrawLater();
    }
  }

  /**
   * A network that this host gets an endpoint of is in the copy on disk before: else an engine that starts again without etcd would not know what its
   * own containers are on.
   */
  private async rememberNetworks(changes: readonly Change[]): Promise<void> {
    const missing = changes.some((c) => c.kind === "endpoint" && c.value && !this.copy.hasNetwork(c.value.networkId));
    if (missing) await this.copy.write();
  }

  /** Nothing to keep: when the store is back, reconciliation deletes whatever is ours there and not here. */
  private withdrawLater(): void {
    this.options.log.info("etcd is away: the endpoint is withdrawn when it is back");
  }

  private async execute(transaction: Transaction): Promise<void> {
    const { client } = this;
    const operations: IOperation[] = [
      ...[...transaction.puts].map(([key, value]) => client.put(key).value(value)),
      ...[...transaction.deletes].map((key) => client.delete().key(key)),
    ];
    let response: Awaited<ReturnType<ReturnType<Etcd3["if"]>["commit"]>>;
    try {
      const [first, ...rest] =
        transaction.guards.length > 0
          ? transaction.guards
          : [{ key: this.keys.schema, what: "pools" as const, exists: true as const }];
      const compare = (g: { readonly key: string; readonly revision?: number; readonly exists?: true }) =>
        [g.key, g.exists ? "Version" : "Mod", g.exists ? ">" : "==", g.exists ? 0 : (g.revision ?? 0)] as const;
      const builder = client.if(...compare(first!));
      for (const guard of rest) builder.and(...compare(guard));
      response = await builder
        .then(...operations)
        .else(...transaction.guards.map((g) => client.get(g.key)))
        .commit();
    } catch (error) {
      this.lost(error);
      throw new ClusterUnavailable(messageOf(error));
    }
    if (response.succeeded) {
      const revision = Number(response.header.revision);
      for (const [key, value] of transaction.puts) this.mirror.apply(key, value, revision, { own: true });
      for (const key of transaction.deletes) this.mirror.apply(key, undefined, revision, { own: true });
      this.copy.soon();
      return;
    }
    let conflict: ClusterConflict | undefined;
    let newest = Number(response.header.revision);
    for (const [i, guard] of transaction.guards.entries()) {
      const kv = response.responses[i]?.response_range?.kvs[0];
      const at = kv ? Number(kv.mod_revision) : 0;
      const holds = guard.exists ? kv !== undefined : at === (guard.revision ?? 0);
      if (!holds && !conflict) {
        conflict = new ClusterConflict(guard.what, guard.key);
        newest = at > 0 ? at : newest;
      }
    }
    await this.caughtUp(newest);
    throw conflict ?? new ClusterConflict("pools", this.keys.pools);
  }

  async removeEndpoint(networkId: string, endpointId: string): Promise<void> {
    const endpoint = this.mirror.endpointOf(networkId, endpointId);
    if (!endpoint) return;
    await this.deleteKeys(endpointKeys(this.keys, this.mirror, endpoint), [endpoint]);
  }

  async removeNode(id: string): Promise<void> {
    const node = this.nodes().find((n) => n.id === id || n.advertise === id || n.hostname === id);
    if (!node) refuse(404, `No such node: ${id}`);
    if (node.alive) refuse(409, `node ${node.advertise} is alive: stop its engine first`);
    const endpoints = [...this.mirror.allEndpoints()].filter((e) => e.node === node.id);
    for (const endpoint of endpoints) await this.deleteKeys(endpointKeys(this.keys, this.mirror, endpoint), [endpoint]);
    const blocks = [...this.mirror.allKeys()].filter(
      (key) => key.startsWith(`${this.keys.tree}block/`) && this.mirror.valueOf(key) === node.id,
    );
    await this.deleteKeys([...blocks, this.keys.node(node.id)], []);
  }

  /** Deletes keys of others and reports what that means as if another host had done it. */
  private async deleteKeys(doomed: readonly string[], endpoints: readonly Endpoint[]): Promise<void> {
    if (!this.isAvailable) throw new ClusterUnavailable(`no answer from ${this.options.hosts.join(", ")}`);
    for (let i = 0; i < doomed.length; i += TXN_OPERATIONS) {
      const part = doomed.slice(i, i + TXN_OPERATIONS);
      await this.execute({ guards: [], puts: new Map(), deletes: new Set(part), withdrawal: false });
    }
    const others = endpoints.filter((e) => e.node !== this.nodeId);
    if (others.length > 0) this.events.onChanges(others.map((e) => ({ kind: "endpoint" as const, id: e.id, value: undefined })));
  }

  // ---- reading -------------------------------------------------------------------------------------------------------

  /** Reads everything, tells what is new, compares our own endpoints with it, and watches from there on. One at a time. */
  private resync(): Promise<void> {
    this.syncing ??= this.resyncOnce().finally(() => {
      this.syncing = undefined;
    });
    return this.syncing;
  }

  private async resyncOnce(): Promise<void> {
    const { revision, kvs } = await readAll(this.client, this.keys.root);
    // Another etcd than last time (restored, or made anew): its revisions say nothing about ours.
    if (revision < this.mirror.revision || revision < this.mirror.newestRevision()) this.mirror.forgetRevisions();
    const seen = new Set<string>();
    const batch: { key: string; value: string | undefined; revision: number }[] = [];
    for (const kv of kvs) {
      const key = kv.key.toString();
      seen.add(key);
      batch.push({ key, value: kv.value.toString(), revision: Number(kv.mod_revision) });
    }
    for (const key of [...this.mirror.allKeys()]) if (!seen.has(key)) batch.push({ key, value: undefined, revision });
    // Endpoints of ours that are missing there were taken away while we could not be told, by `node rm` or by force: they are put again
    // (reconcileOwn) unless somebody has their name or address by now.
    this.enter(batch, { lost: false });
    this.passed(revision);
    if (this.mirror.valueOf(this.keys.schema) === undefined) {
      await this.execute({
        guards: [{ key: this.keys.schema, what: "pools", revision: 0 }],
        puts: new Map([[this.keys.schema, '{"version":1}']]),
        deletes: new Set(),
        withdrawal: false,
      }).catch((error: unknown) => {
        if (!(error instanceof ClusterConflict)) throw error;
      });
    }
    await this.register();
    await this.watchFrom(revision + 1);
    this.setAvailable(true);
    // Decisions that waited for the store go on after this: both would put the same endpoints, and the second one would fail.
    this.reconciling = this.reconcileOwn().finally(() => {
      this.reconciling = undefined;
    });
    await this.reconciling;
    this.copy.soon();
  }

  private async register(): Promise<void> {
    const record = {
      id: this.nodeId,
      advertise: this.options.advertise,
      address: this.options.address,
      hostname: this.options.hostname,
      ...(this.options.publicKey ? { publicKey: this.options.publicKey } : {}),
    };
    const text = JSON.stringify(record);
    if (this.mirror.valueOf(this.keys.node(this.nodeId)) !== text) {
      const response = await this.client.put(this.keys.node(this.nodeId)).value(text).exec();
      this.enter([{ key: this.keys.node(this.nodeId), value: text, revision: Number(response.header.revision) }]);
    }
    this.lease?.removeAllListeners();
    const old = this.lease;
    const lease = this.client.lease(LEASE_SECONDS);
    this.lease = lease;
    lease.on("lost", (error) => {
      if (this.lease === lease && !this.closed) this.lost(error);
    });
    const live = JSON.stringify({ id: this.nodeId, advertise: this.options.advertise, since: this.options.now() });
    const response = await lease.put(this.keys.live(this.options.advertise)).value(live).exec();
    this.enter([{ key: this.keys.live(this.options.advertise), value: live, revision: Number(response.header.revision) }]);
    old?.revoke().catch(() => {
      // it ended with the outage that brought us here
    });
  }

  private async watchFrom(revision: number): Promise<void> {
    const before = this.watcher;
    this.watcher = undefined;
    before?.removeAllListeners();
    before?.on("error", () => {});
    await before?.cancel().catch(() => {});
    const watcher = this.client.watch().prefix(`${this.keys.root}/`).startRevision(String(revision)).watcher();
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
      this.passed(at);
      this.copy.soon();
    });
    // "disconnected" heals by itself (the watch resumes); "error" (compacted, cancelled) needs a new look at everything.
    watcher.on("disconnected", (error) => this.watcher === watcher && this.lost(error));
    watcher.on("error", (error) => this.watcher === watcher && this.lost(error));
  }

  private enter(
    batch: readonly { readonly key: string; readonly value: string | undefined; readonly revision: number }[],
    tell: { readonly lost: boolean } = { lost: true },
  ): void {
    const changes: Change[] = [];
    const lost: string[] = [];
    const appeared: Endpoint[] = [];
    for (const item of batch) {
      const result = this.mirror.apply(item.key, item.value, item.revision, { own: false });
      changes.push(...result.changes);
      lost.push(...result.lost);
      if (result.own) appeared.push(result.own);
    }
    if (appeared.length > 0) void this.withdrawUnknown(appeared);
    // Networks before endpoints before the removal of networks: the engine may apply them one by one.
    const rank = (c: Change) => (c.kind === "meta" ? 0 : c.kind === "network" ? (c.value ? 1 : 4) : c.value ? 3 : 2);
    if (changes.length > 0) this.events.onChanges(changes.sort((a, b) => rank(a) - rank(b)));
    const really = lost.filter((id) => [...this.events.own()].some((e) => e.id === id));
    if (tell.lost && really.length > 0) this.events.onLost(really);
  }

  /**
   * A transaction whose answer did not come in time was refused here, and etcd may have carried it out all the same: then the watch tells of an
   * endpoint of ours that we do not have.
   */
  private async withdrawUnknown(candidates: readonly Endpoint[]): Promise<void> {
    if (!this.isAvailable) return; // reconcileOwn comes
    const own = new Set(Array.from(this.events.own(), (e) => e.id));
    try {
      for (const endpoint of candidates) {
        if (own.has(endpoint.id)) continue;
        this.options.log.info("an endpoint whose creation was given up is withdrawn", { endpoint: endpoint.id });
        await this.deleteKeys(endpointKeys(this.keys, this.mirror, endpoint), []);
      }
    } catch (error) {
      this.lost(error);
    }
  }

  /** What the store says of our endpoints, made true: withdrawn what is gone here, put what is missing there. */
  private async reconcileOwn(): Promise<void> {
    const own = new Map([...this.events.own()].map((e) => [e.id, e]));
    const stale = [...this.mirror.allEndpoints()].filter((e) => e.node === this.nodeId && !own.has(e.id));
    for (const endpoint of stale) await this.deleteKeys(endpointKeys(this.keys, this.mirror, endpoint), []);
    const lost: string[] = [];
    for (const endpoint of own.values()) {
      const blocks = this.missingBlocks(endpoint);
      const there = this.mirror.endpointOf(endpoint.networkId, endpoint.id);
      if (blocks.length === 0 && there && JSON.stringify(there) === JSON.stringify({ ...endpoint, node: this.nodeId })) continue;
      try {
        await this.execute(
          transactionOf([...blocks, { kind: "endpoint", id: endpoint.id, value: endpoint }], this.keys, this.mirror, {
            nodeId: this.nodeId,
            address: this.options.address,
          }),
        );
        if (blocks.length > 0) this.events.onChanges(blocks);
      } catch (error) {
        if (!(error instanceof ClusterConflict)) throw error;
        // It may be our own: a decision that was under way when the store came back has put it meanwhile (the mirror has caught up by now).
        if (this.mirror.endpointOf(endpoint.networkId, endpoint.id) === undefined) lost.push(endpoint.id);
      }
    }
    if (lost.length > 0) this.events.onLost(lost);
  }

  /** Blocks of a routed network that an endpoint's addresses are in and that are not ours (any more): after `linkspan node rm` of this host. */
  private missingBlocks(endpoint: Endpoint): Change[] {
    const network = this.mirror.networkOf(endpoint.networkId);
    if (network?.driver !== "routed") return [];
    return addressesOf(endpoint).flatMap((address): Change[] => {
      const block = blockOfAddress(network, address);
      if (block === undefined || this.mirror.valueOf(this.keys.block(network.id, block)) === this.nodeId) return [];
      const id = `block:${network.id}:${block}`;
      return [{ kind: "meta", id, value: { id, value: this.nodeId } }];
    });
  }

  // ---- being away and coming back --------------------------------------------------------------------------------------

  private lost(error: unknown): void {
    if (this.closed) return;
    if (this.isAvailable) this.options.log.warn("etcd is away", { error: messageOf(error) });
    this.setAvailable(false);
    this.probeTimer ??= setTimeout(() => this.probe(), PROBE_INTERVAL_MS);
  }

  private probe(): void {
    clearTimeout(this.probeTimer);
    this.probeTimer = undefined;
    if (this.syncing !== undefined) return;
    this.resync().then(
      () => this.options.log.info("etcd is back"),
      (e: unknown) => this.lost(e),
    );
  }

  /** A decision waits a little for a store that may be just coming back: an election, a restart. */
  private comesBack(): Promise<boolean> {
    this.probe();
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.patient.delete(end);
        resolve(this.isAvailable);
      };
      const timer = setTimeout(end, PATIENCE_MS);
      this.patient.add(end);
    });
  }

  private setAvailable(available: boolean): void {
    if (this.isAvailable === available) return;
    this.isAvailable = available;
    if (available) for (const end of [...this.patient]) end();
    // Nothing new comes from now on: what is known is kept at once, should this engine end before the store is back.
    else void this.copy.write();
    this.events.onAvailability(available);
  }

  private passed(revision: number): void {
    this.mirror.passed(revision);
    for (const waiter of this.waiters) if (waiter.revision <= this.mirror.revision) waiter.wake();
  }

  /** Resolves when the watch has delivered everything up to a revision, or after a while at the latest. */
  private caughtUp(revision: number): Promise<void> {
    if (this.mirror.revision >= revision) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.waiters.delete(waiter);
        resolve();
      };
      const waiter = { revision, wake };
      const timer = setTimeout(wake, CATCH_UP_TIMEOUT_MS);
      this.waiters.add(waiter);
    });
  }

  private async readCopy(): Promise<void> {
    const kept = await this.copy.read();
    // Leases are not believed from disk: who is alive is for the store to say.
    this.enter(
      kept.filter(([key]) => !key.startsWith(this.keys.nodes)).map(([key, value, revision]) => ({ key, value, revision })),
    );
  }

  async close(): Promise<void> {
    this.closed = true;
    for (const end of [...this.patient]) end();
    if (this.probeTimer) clearTimeout(this.probeTimer);
    await this.copy.close();
    const within = (p: Promise<unknown> | undefined) =>
      Promise.race([p?.catch(() => {}), new Promise((r) => setTimeout(r, 1_000).unref())]);
    this.watcher?.removeAllListeners();
    this.watcher?.on("error", () => {});
    await within(this.watcher?.cancel());
    await within(this.lease?.revoke());
    this.client.close();
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
