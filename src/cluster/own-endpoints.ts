import { blockOfAddress } from "../model/blocks.js";
import type { Endpoint } from "../model/network.js";
import type { Change } from "../model/state.js";
import type { Availability } from "./availability.js";
import type { ClusterContext } from "./context.js";
import { ClusterConflict } from "./contract.js";
import { transactionOf } from "./txn.js";
import { addressesOf } from "./values.js";
import type { Writer } from "./writer.js";

/** Keeps what the store says of this host's endpoints true. */
export class OwnEndpoints {
  private reconciling: Promise<void> | undefined;
  private readonly ctx: ClusterContext;
  private readonly availability: Availability;
  private readonly writer: Writer;
  constructor(ctx: ClusterContext, availability: Availability, writer: Writer) {
    this.ctx = ctx;
    this.availability = availability;
    this.writer = writer;
  }

  /** In the store, as the mirror has it. */
  stored(): Endpoint[] {
    return [...this.ctx.mirror.allEndpoints()].filter((e) => e.node === this.ctx.options.nodeId);
  }

  /** A reconciliation that is under way is over, however it went. */
  async settled(): Promise<void> {
    await this.reconciling?.catch(() => undefined);
  }

  /** Withdraws what is gone here, puts what is missing there. */
  async reconcile(): Promise<void> {
    this.reconciling = this.reconcileOnce().finally(() => {
      this.reconciling = undefined;
    });
    await this.reconciling;
  }

  /**
   * A transaction whose answer did not come in time was refused here, and etcd may have carried it out all the same: then the watch tells of an
   * endpoint of ours that we do not have.
   */
  async withdrawUnknown(candidates: readonly Endpoint[]): Promise<void> {
    if (!this.availability.now) return; // a reconciliation comes
    const { events, options } = this.ctx;
    const own = new Set(Array.from(events.own(), (e) => e.id));
    try {
      for (const endpoint of candidates) {
        if (own.has(endpoint.id)) continue;
        options.log.info("an endpoint whose creation was given up is withdrawn", { endpoint: endpoint.id });
        await this.writer.deleteEndpoint(endpoint);
      }
    } catch (error) {
      this.availability.lost(error);
    }
  }

  private async reconcileOnce(): Promise<void> {
    const { events, keys, mirror, options } = this.ctx;
    const { nodeId, address } = options;
    const own = new Map([...events.own()].map((e) => [e.id, e]));
    const stale = this.stored().filter((e) => !own.has(e.id));
    for (const endpoint of stale) await this.writer.deleteEndpoint(endpoint);
    const lost: string[] = [];
    for (const endpoint of own.values()) {
      const blocks = this.missingBlocks(endpoint);
      const there = mirror.endpointOf(endpoint.networkId, endpoint.id);
      const asItIs = there !== undefined && JSON.stringify(there) === JSON.stringify({ ...endpoint, node: nodeId });
      if (blocks.length === 0 && asItIs && this.hasClaims(endpoint)) continue;
      const changes: Change[] = [...blocks, { kind: "endpoint", id: endpoint.id, value: endpoint }];
      try {
        await this.writer.execute(transactionOf(changes, keys, mirror, { nodeId, address }));
        if (blocks.length > 0) events.onChanges(blocks);
      } catch (error) {
        if (!(error instanceof ClusterConflict)) throw error;
        // It may be our own: a decision that was under way when the store came back has put it meanwhile (the mirror has caught up by now).
        if (mirror.endpointOf(endpoint.networkId, endpoint.id) === undefined) lost.push(endpoint.id);
      }
    }
    if (lost.length > 0) events.onLost(lost);
  }

  /** Are its name and its addresses its own in the store? */
  private hasClaims(e: Endpoint): boolean {
    const { keys, mirror } = this.ctx;
    const claims = [keys.name(e.networkId, e.name), ...addressesOf(e).map((ip) => keys.address(e.networkId, ip))];
    return claims.every((key) => mirror.valueOf(key) === e.id);
  }

  /** Blocks of a routed network that an endpoint's addresses are in and that are not ours (any more): after `linkspan node rm` of this host. */
  private missingBlocks(endpoint: Endpoint): Change[] {
    const { keys, mirror, options } = this.ctx;
    const network = mirror.networkOf(endpoint.networkId);
    if (network?.driver !== "routed") return [];
    return addressesOf(endpoint).flatMap((address): Change[] => {
      const block = blockOfAddress(network, address);
      if (block === undefined || mirror.valueOf(keys.block(network.id, block)) === options.nodeId) return [];
      const id = `block:${network.id}:${block}`;
      return [{ kind: "meta", id, value: { id, value: options.nodeId } }];
    });
  }
}
