import type { Change, State } from "../model/state.js";
import type { Cluster } from "./contract.js";

/** The part of a store's contract that matters here (store/contract.ts): kept apart so that the two stores do not import each other. */
interface LocalStore {
  load(): Promise<{ readonly changes: readonly Change[]; readonly damaged: readonly string[] }>;
  commit(changes: readonly Change[]): Promise<void>;
  close(): Promise<void>;
}

/**
 * One store out of two: what concerns the cluster goes to etcd first (there it can be refused), then what concerns this host to the embedded store.
 * Networks of global scope and other hosts' endpoints are never kept in the embedded store: the mirror and its copy on disk have them.
 */
export class SharedStore implements LocalStore {
  private readonly local: LocalStore;
  private readonly cluster: Cluster;
  private readonly state: State;

  constructor(local: LocalStore, cluster: Cluster, state: State) {
    this.local = local;
    this.cluster = cluster;
    this.state = state;
  }

  load(): ReturnType<LocalStore["load"]> {
    return this.local.load();
  }

  async commit(changes: readonly Change[]): Promise<void> {
    const shared = changes.filter((c) => this.isShared(c));
    const local = changes.filter(
      (c) => !(c.kind === "network" && this.isShared(c)) && !(c.kind === "meta" && c.id.startsWith("block:")),
    );
    if (shared.length > 0) await this.cluster.commit(shared);
    try {
      if (local.length > 0) await this.local.commit(local);
    } catch (error) {
      // The endpoints were announced and will not exist: withdraw them. What this misses, reconciliation finds.
      const announced = shared.filter((c) => c.kind === "endpoint" && c.value !== undefined);
      await this.cluster
        .commit(announced.map((c): Change => ({ kind: "endpoint", id: c.id, value: undefined })))
        .catch(() => undefined);
      throw error;
    }
  }

  mayRefuse(changes: readonly Change[]): boolean {
    return changes.some((c) => this.isShared(c));
  }

  truth(changes: readonly Change[]): readonly Change[] {
    return changes.flatMap((change): Change[] => {
      if (change.kind === "network" && (change.value ?? this.state.networks.get(change.id))?.scope === "global")
        return [{ kind: "network", id: change.id, value: this.cluster.network(change.id) }];
      if (change.kind !== "meta" || !change.id.startsWith("block:")) return [];
      const owner = this.cluster.blockOwner(change.id);
      return [{ kind: "meta", id: change.id, value: owner === undefined ? undefined : { id: change.id, value: owner } }];
    });
  }

  close(): Promise<void> {
    return this.local.close();
  }

  private isShared(change: Change): boolean {
    switch (change.kind) {
      case "network":
        // A removed network is not in the state any more; the cluster ignores ids that it does not know.
        return change.value === undefined ? this.cluster.knowsNetwork(change.id) : change.value.scope === "global";
      case "endpoint":
        return change.value === undefined || this.state.networks.get(change.value.networkId)?.scope === "global";
      case "meta":
        return change.id.startsWith("block:");
      default:
        return false;
    }
  }
}
