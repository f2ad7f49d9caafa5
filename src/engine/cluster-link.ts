import { refuse } from "../base/errors.js";
import { type Cluster, ClusterConflict, type ClusterEvents, type ClusterNode } from "../cluster/index.js";
import { isPresent, type Owner, ownersOfNetworkWhole } from "../drivers/index.js";
import { applyChanges, type Change, type Endpoint } from "../model/index.js";
import type { EngineContext } from "./context.js";
import type { NamesService } from "./names-service.js";

/** A decision that lost a race is made again on what is known by then; so often may it lose. */
const TRIES = 12;

/** From the fourth try on the next one waits, longer each time: what is in the way may be an own claim of before an outage, about to be withdrawn. */
const PATIENCE_MS = 40;

/** Runs an operation (decide, commit) again when another host was faster. */
export async function retryOnConflict<T>(operation: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await operation();
    } catch (error) {
      if (!(error instanceof ClusterConflict)) throw error;
      if (attempt === TRIES) refuse(500, `the cluster changed too fast: ${error.message} (${TRIES} tries); try again`);
      if (attempt > 3) await new Promise((resolve) => setTimeout(resolve, attempt * PATIENCE_MS));
    }
  }
}

/**
 * What other hosts do, brought into this engine: their networks and endpoints enter the model, the kernel follows, names are answered.
 * Before `start` changes only enter the model (the engine converges everything once when it starts).
 */
export class ClusterLink implements ClusterEvents {
  private ctx: EngineContext | undefined;
  private names: NamesService | undefined;
  /** What changed before the engine could follow: some of it came after the first look at the kernel. */
  private readonly ownersBefore = new Set<Owner>();
  /** Lost before the engine could do anything about it. */
  private readonly lostBefore: string[] = [];
  /** The store answers again. */
  onReturn: () => void = () => undefined;
  private detachLost: (endpointIds: readonly string[]) => void = () => undefined;
  cluster: Cluster | undefined;
  private readonly state: EngineContext["state"];

  constructor(state: EngineContext["state"]) {
    this.state = state;
  }

  /** From here on changes reach the kernel and the resolver too. */
  async start(ctx: EngineContext, names: NamesService, detachLost: (endpointIds: readonly string[]) => void): Promise<void> {
    this.ctx = ctx;
    this.names = names;
    this.detachLost = detachLost;
    for (const network of this.state.networks.values()) if (network.scope === "global") await names.putNetwork(network);
    for (const endpoint of this.state.endpoints.values()) if (endpoint.node !== undefined) await names.putEndpoint(endpoint);
    await ctx.converger
      .converge([...this.ownersBefore])
      .catch((error: unknown) => ctx.log.error("a change of another host could not be carried out", { error: String(error) }));
    this.ownersBefore.clear();
    if (this.lostBefore.length > 0) detachLost(this.lostBefore.splice(0));
  }

  onChanges(changes: readonly Change[]): void {
    const owners = new Set<Owner>();
    const turned = changes.flatMap((change) => this.nodeThatTurned(change) ?? []);
    for (const change of changes) {
      // A remote endpoint that goes is known by its record: the owner must be named before the record is gone.
      for (const owner of this.ownersOf(change)) owners.add(owner);
      applyChanges(this.state, [change]);
      for (const owner of this.ownersOf(change)) owners.add(owner);
    }
    const { ctx, names } = this;
    if (ctx === undefined || names === undefined) {
      for (const owner of owners) this.ownersBefore.add(owner);
      return;
    }
    for (const change of changes) this.follow(ctx, names, change);
    for (const nodeId of turned) this.followNode(ctx, names, nodeId);
    ctx.converger
      .converge([...owners])
      .catch((error: unknown) => ctx.log.error("a change of another host could not be carried out", { error: String(error) }));
  }

  onLost(endpointIds: readonly string[]): void {
    if (this.ctx === undefined) this.lostBefore.push(...endpointIds);
    else this.detachLost(endpointIds);
  }

  *own(): Iterable<Endpoint> {
    for (const endpoint of this.state.endpoints.values())
      if (endpoint.node === undefined && this.state.networks.get(endpoint.networkId)?.scope === "global") yield endpoint;
  }

  onAvailability(available: boolean): void {
    this.ctx?.log.info(
      available ? "the cluster store answers" : "the cluster store does not answer: decisions that need it are refused",
      {},
    );
    if (available) this.onReturn();
  }

  nodes(): readonly ClusterNode[] {
    return this.cluster?.nodes() ?? [];
  }

  private ownersOf(change: Change): readonly Owner[] {
    switch (change.kind) {
      case "network":
        return ownersOfNetworkWhole(this.state, change.id);
      case "endpoint":
        return [`endpoint:${change.id}`];
      case "meta": {
        const block = /^block:([^:]+):/.exec(change.id);
        if (block) return [`network:${block[1]}`];
        if (!change.id.startsWith("node:")) return [];
        const before = JSON.stringify(addressOf(this.state.meta.get(change.id)));
        const after = JSON.stringify(addressOf(change.value));
        // Coming and going of a lease changes nothing in the kernel; a new address changes everything that leads there.
        return before === after ? ["host"] : ["host", ...this.globalOwners()];
      }
      default:
        return [];
    }
  }

  /** The host whose coming or going a change tells; to be asked before the change is applied. */
  private nodeThatTurned(change: Change): string | undefined {
    if (change.kind !== "meta" || !change.id.startsWith("node:")) return undefined;
    return isAlive(this.state.meta.get(change.id)) === isAlive(change.value) ? undefined : change.id.slice("node:".length);
  }

  /** Names on a host that is not heard of are still answered, after those that are. */
  private followNode(ctx: EngineContext, names: NamesService, nodeId: string): void {
    const work = [...this.state.endpoints.values()].filter((e) => e.node === nodeId).map((e) => names.putEndpoint(e));
    Promise.all(work).catch((error: unknown) =>
      ctx.log.warn("names of another host could not be followed", { error: String(error) }),
    );
  }

  private globalOwners(): Owner[] {
    const ctx = this.ctx;
    const out: Owner[] = [];
    for (const network of this.state.networks.values())
      if (
        network.scope === "global" &&
        (network.driver === "routed" || (ctx && isPresent(network, { ...ctx.converger.context, state: this.state })))
      )
        out.push(...ownersOfNetworkWhole(this.state, network.id));
    return out;
  }

  private follow(ctx: EngineContext, names: NamesService, change: Change): void {
    const later = (work: Promise<unknown>) =>
      void work.catch((error: unknown) => ctx.log.warn("names of another host could not be followed", { error: String(error) }));
    if (change.kind === "network") later(change.value ? names.putNetwork(change.value) : names.removeNetwork(change.id));
    else if (change.kind === "endpoint") later(change.value ? names.putEndpoint(change.value) : names.removeEndpoint(change.id));
    if (change.kind === "network")
      ctx.events.emit("network", change.value ? "create" : "destroy", change.id, {
        name: change.value?.name ?? "",
        type: change.value?.driver ?? "",
      });
  }
}

/** Endpoints of other hosts on a network, as inspect shows them. */
export function remoteEndpoints(state: EngineContext["state"], networkId: string): readonly Endpoint[] {
  return [...(state.index.endpointsByNetwork.get(networkId)?.values() ?? [])].filter((e) => e.node !== undefined);
}

/** Is the endpoint on a host that is not heard of at present? */
export function isAway(state: EngineContext["state"], endpoint: Endpoint): boolean {
  return endpoint.node !== undefined && !isAlive(state.meta.get(`node:${endpoint.node}`));
}

const isAlive = (record: unknown): boolean => nodeOf(record)?.alive === true;
const addressOf = (record: unknown): string | undefined => nodeOf(record)?.address;

/** A node in the state (bare) or in a change (as a record). */
function nodeOf(record: unknown): Partial<ClusterNode> | undefined {
  return (record as { readonly value?: Partial<ClusterNode> } | undefined)?.value ?? (record as Partial<ClusterNode> | undefined);
}
