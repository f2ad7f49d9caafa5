import { messageOf, refuse } from "../base/errors.js";
import type { Network } from "../model/network.js";
import type { Change } from "../model/state.js";
import { Availability } from "./availability.js";
import { CatchUp } from "./catch-up.js";
import { etcdClient } from "./client.js";
import type { ClusterContext } from "./context.js";
import {
  type Cluster,
  ClusterConflict,
  type ClusterEvents,
  type ClusterNode,
  type ClusterOptions,
  ClusterUnavailable,
} from "./contract.js";
import { DiskCopy } from "./disk-copy.js";
import { GivenUpNetworks } from "./given-up.js";
import { keysOf } from "./keys.js";
import { Mirror } from "./mirror.js";
import { OwnEndpoints } from "./own-endpoints.js";
import { Reader } from "./reader.js";
import { transactionOf } from "./txn.js";
import { Writer } from "./writer.js";

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
  private readonly ctx: ClusterContext;
  private readonly availability: Availability;
  private readonly writer: Writer;
  private readonly own: OwnEndpoints;
  private readonly givenUp: GivenUpNetworks;
  private readonly reader: Reader;

  constructor(options: ClusterOptions & { readonly cacheFile: string }, events: ClusterEvents) {
    const keys = keysOf(options.prefix);
    const mirror = new Mirror(keys, options.nodeId);
    const copy = new DiskCopy(options.cacheFile, mirror, (error) =>
      options.log.warn("the copy of the cluster's state could not be written", { error: messageOf(error) }),
    );
    this.ctx = { options, events, client: etcdClient(options), keys, mirror, copy };
    this.availability = new Availability(
      options.log,
      () => this.synchronise(),
      (available) => {
        // Nothing new comes from now on: what is known is kept at once, should this engine end before the store is back.
        if (!available) void copy.write();
        events.onAvailability(available);
      },
    );
    const catchUp = new CatchUp(mirror);
    this.writer = new Writer(this.ctx, this.availability, catchUp);
    this.own = new OwnEndpoints(this.ctx, this.availability, this.writer);
    this.givenUp = new GivenUpNetworks(this.ctx, this.availability, this.writer);
    this.reader = new Reader(this.ctx, this.availability, catchUp, this.own, this.givenUp);
  }

  async open(): Promise<void> {
    const { log, hosts } = this.ctx.options;
    await this.reader.readCopy();
    try {
      await this.availability.synchronise();
    } catch (error) {
      log.warn("etcd does not answer; starting with what was known last", { error: messageOf(error), hosts: hosts.join(",") });
      this.availability.lost(error);
    }
  }

  get nodeId(): string {
    return this.ctx.options.nodeId;
  }

  get available(): boolean {
    return this.availability.now;
  }

  nodes(): readonly ClusterNode[] {
    return this.ctx.mirror.nodes();
  }

  knowsNetwork(id: string): boolean {
    return this.ctx.mirror.networkOf(id) !== undefined;
  }

  network(id: string): Network | undefined {
    return this.ctx.mirror.networkOf(id);
  }

  blockOwner(record: string): string | undefined {
    const [, networkId, prefix] = /^block:([^:]+):(.+)$/.exec(record) ?? [];
    return networkId && prefix ? this.ctx.mirror.valueOf(this.ctx.keys.block(networkId, prefix)) : undefined;
  }

  async commit(changes: readonly Change[], tries = 3): Promise<void> {
    const { keys, mirror, options } = this.ctx;
    for (const change of changes) {
      if (change.kind !== "network" || change.value) continue;
      // Seen ones are refused here, unseen ones by the guard on the members key.
      for (const e of mirror.allEndpoints())
        if (e.networkId === change.id) throw new ClusterConflict("endpoint", keys.endpoint(e.networkId, e.id));
    }
    await this.own.settled();
    await this.rememberNetworks(changes);
    const transaction = transactionOf(changes, keys, mirror, options);
    if (transaction.puts.size + transaction.deletes.size === 0) return;
    if (!this.available) {
      if (transaction.withdrawal) return this.withdrawLater();
      if (await this.availability.comesBack()) return this.commit(changes, tries);
      throw this.writer.unavailable();
    }
    try {
      await this.writer.execute(transaction);
    } catch (error) {
      // Gone already, one of them at least (a removal that was given up has arrived after all): the others are still to go.
      if (error instanceof ClusterConflict && transaction.withdrawal) {
        if (tries > 1) return this.commit(changes, tries - 1);
        // The mirror does not catch up: a look at everything, and reconciliation after it, set it right.
        return this.availability.lost(error);
      }
      // What stands in the way may be an attempt of our own that was given up.
      if (error instanceof ClusterConflict) {
        await this.own.withdrawUnknown(this.own.stored());
        await this.givenUp.withdraw();
      } else if (error instanceof ClusterUnavailable) this.givenUp.remember(changes);
      if (error instanceof ClusterConflict || !transaction.withdrawal) throw error;
      this.withdrawLater();
    }
  }

  async removeEndpoint(networkId: string, endpointId: string): Promise<void> {
    const endpoint = this.ctx.mirror.endpointOf(networkId, endpointId);
    if (endpoint) await this.writer.deleteEndpoint(endpoint);
  }

  async removeNode(id: string): Promise<void> {
    const { keys, mirror } = this.ctx;
    const node = this.nodes().find((n) => n.id === id || n.advertise === id || n.hostname === id);
    if (!node) refuse(404, `No such node: ${id}`);
    if (node.alive) refuse(409, `node ${node.advertise} is alive: stop its engine first`);
    const endpoints = [...mirror.allEndpoints()].filter((e) => e.node === node.id);
    for (const endpoint of endpoints) await this.writer.deleteEndpoint(endpoint);
    const blocks = [...mirror.allKeys()].filter((key) => key.startsWith(`${keys.tree}block/`) && mirror.valueOf(key) === node.id);
    await this.writer.deleteKeys([...blocks, keys.node(node.id)]);
  }

  async close(): Promise<void> {
    this.availability.close();
    await this.ctx.copy.close();
    await this.reader.close();
    this.ctx.client.close();
  }

  /** Reads everything, tells what is new, watches from there on, and compares our own endpoints with it. */
  private async synchronise(): Promise<void> {
    const revision = await this.reader.readStore();
    await this.writeSchema();
    await this.reader.register();
    await this.reader.watchFrom(revision + 1);
    this.availability.regained();
    // Decisions that waited for the store go on after this: both would put the same endpoints, and the second one would fail.
    await this.own.reconcile();
    await this.givenUp.withdraw();
    this.ctx.copy.soon();
  }

  private async writeSchema(): Promise<void> {
    const { keys, mirror } = this.ctx;
    if (mirror.valueOf(keys.schema) !== undefined) return;
    await this.writer
      .execute({
        guards: [{ key: keys.schema, what: "pools", revision: 0 }],
        puts: new Map([[keys.schema, '{"version":1}']]),
        deletes: new Set(),
        withdrawal: false,
      })
      .catch((error: unknown) => {
        if (!(error instanceof ClusterConflict)) throw error;
      });
  }

  /**
   * A network that this host gets an endpoint of is in the copy on disk before: else an engine that starts again without etcd would not know what its
   * own containers are on.
   */
  private async rememberNetworks(changes: readonly Change[]): Promise<void> {
    const { copy } = this.ctx;
    const missing = changes.some((c) => c.kind === "endpoint" && c.value && !copy.hasNetwork(c.value.networkId));
    if (missing) await copy.write();
  }

  /** Nothing to keep: when the store is back, reconciliation deletes whatever is ours there and not here. */
  private withdrawLater(): void {
    this.ctx.options.log.info("etcd is away: the endpoint is withdrawn when it is back");
  }
}
