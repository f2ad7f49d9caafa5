import { blockOfAddress } from "../model/blocks.js";
import type { Endpoint, Network } from "../model/network.js";
import type { Change } from "../model/state.js";
import { ClusterConflict } from "./contract.js";
import type { Keys } from "./keys.js";
import { addressesOf, encodeEndpoint, encodeNetwork } from "./values.js";

/** What must hold at the moment of the transaction: the key's mod revision is `revision` (0: it does not exist), or it exists at all. */
export interface Guard {
  readonly key: string;
  readonly what: ClusterConflict["what"];
  readonly revision?: number;
  readonly exists?: true;
}

/** One etcd transaction as data. */
export interface Transaction {
  readonly guards: readonly Guard[];
  readonly puts: ReadonlyMap<string, string>;
  readonly deletes: ReadonlySet<string>;
  /** Only own endpoints go: may be done later when the store is away. */
  readonly withdrawal: boolean;
}

/** What the planner needs to know of the mirror. */
export interface MirrorView {
  revisionOf(key: string): number;
  valueOf(key: string): string | undefined;
  networkOf(id: string): Network | undefined;
  endpointOf(networkId: string, id: string): Endpoint | undefined;
  networkIdOfEndpoint(id: string): string | undefined;
}

/** Turns changes of the model into one guarded transaction. Pure. Throws ClusterConflict where the mirror shows already that it cannot be. */
export function transactionOf(
  changes: readonly Change[],
  keys: Keys,
  mirror: MirrorView,
  self: { readonly nodeId: string; readonly address: string },
): Transaction {
  const guards: Guard[] = [];
  const puts = new Map<string, string>();
  const deletes = new Set<string>();
  let withdrawal = changes.length > 0;
  for (const change of changes) {
    if (change.kind === "network") {
      withdrawal = false;
      if (change.value) putNetwork(change.value);
      else removeNetwork(change.id);
    } else if (change.kind === "endpoint") {
      if (change.value) {
        withdrawal = false;
        putEndpoint(change.value);
      } else removeEndpoint(change.id);
    } else if (change.kind === "meta" && change.id.startsWith("block:")) {
      withdrawal = false;
      const [, networkId, prefix] = /^block:([^:]+):(.+)$/.exec(change.id) ?? [];
      if (networkId && prefix) block(keys.block(networkId, prefix), change.value !== undefined);
    }
  }
  return { guards, puts, deletes, withdrawal };

  function putNetwork(n: Network): void {
    const known = mirror.networkOf(n.id);
    puts.set(keys.network(n.id), encodeNetwork(n));
    if (known && known.name === n.name) {
      guards.push({ key: keys.network(n.id), what: "network", exists: true });
      return;
    }
    guards.push({ key: keys.networkName(n.name), what: "network", revision: 0 });
    guards.push({ key: keys.pools, what: "pools", revision: mirror.revisionOf(keys.pools) });
    puts.set(keys.networkName(n.name), n.id);
    puts.set(keys.pools, JSON.stringify({ last: n.id, subnets: n.pools.map((p) => p.subnet) }));
    puts.set(keys.members(n.id), "{}");
  }

  function removeNetwork(id: string): void {
    const known = mirror.networkOf(id);
    if (!known) return;
    guards.push({ key: keys.members(id), what: "endpoint", revision: mirror.revisionOf(keys.members(id)) });
    deletes.add(keys.network(id));
    deletes.add(keys.networkName(known.name));
    deletes.add(keys.members(id));
    puts.set(keys.pools, JSON.stringify({ removed: id }));
  }

  function putEndpoint(e: Endpoint): void {
    const key = keys.endpoint(e.networkId, e.id);
    const known = mirror.endpointOf(e.networkId, e.id);
    puts.set(key, encodeEndpoint({ ...e, node: self.nodeId }, self.address));
    if (known) guards.push({ key, what: "endpoint", exists: true });
    else {
      guards.push({ key: keys.network(e.networkId), what: "network", exists: true });
      puts.set(keys.members(e.networkId), JSON.stringify({ last: e.id }));
      within(e);
    }
    claim(keys.name(e.networkId, e.name), "name", e.id, known ? keys.name(e.networkId, known.name) : undefined);
    for (const ip of addressesOf(e)) claim(keys.address(e.networkId, ip), "address", e.id, undefined);
    for (const ip of known ? addressesOf(known) : [])
      if (!addressesOf(e).includes(ip)) deletes.add(keys.address(e.networkId, ip));
  }

  /**
   * An address of a routed network is of use in this host's blocks only. The model has a block from its decision on, and another request may take an
   * address of it while the store is still asked: perhaps another host gets it.
   */
  function within(e: Endpoint): void {
    const network = mirror.networkOf(e.networkId);
    if (network?.driver !== "routed") return;
    for (const address of addressesOf(e)) {
      const prefix = blockOfAddress(network, address);
      const key = prefix === undefined ? undefined : keys.block(network.id, prefix);
      if (key === undefined || puts.has(key)) continue;
      if (mirror.valueOf(key) !== self.nodeId) throw new ClusterConflict("block", key);
      guards.push({ key, what: "block", revision: mirror.revisionOf(key) });
    }
  }

  function claim(key: string, what: "name" | "address", owner: string, before: string | undefined): void {
    if (before !== undefined && before !== key) deletes.add(before);
    if (mirror.valueOf(key) === owner) return;
    guards.push({ key, what, revision: 0 });
    puts.set(key, owner);
  }

  function removeEndpoint(id: string): void {
    const networkId = mirror.networkIdOfEndpoint(id);
    const known = networkId === undefined ? undefined : mirror.endpointOf(networkId, id);
    if (networkId === undefined || !known) return;
    guards.push(presence(keys, known));
    for (const key of endpointKeys(keys, mirror, known)) deletes.add(key);
    if (mirror.networkOf(networkId)) puts.set(keys.members(networkId), JSON.stringify({ removed: id }));
  }

  function block(key: string, wanted: boolean): void {
    if (!wanted) deletes.add(key);
    else if (mirror.valueOf(key) !== self.nodeId) {
      guards.push({ key, what: "block", revision: 0 });
      puts.set(key, self.nodeId);
    }
  }
}

/**
 * What a removal is bound to: as long as an endpoint has its record, nobody else can have its name or its addresses. A removal that was given up for
 * want of an answer may arrive much later (a cable was pulled: TCP sends it again), when they belong to another.
 */
export const presence = (keys: Keys, e: Endpoint): Guard => ({
  key: keys.endpoint(e.networkId, e.id),
  what: "endpoint",
  exists: true,
});

/** The endpoint's key and those claims that are still its own. */
export function endpointKeys(keys: Keys, mirror: MirrorView, e: Endpoint): readonly string[] {
  const claims = [keys.name(e.networkId, e.name), ...addressesOf(e).map((ip) => keys.address(e.networkId, ip))];
  return [keys.endpoint(e.networkId, e.id), ...claims.filter((key) => mirror.valueOf(key) === e.id)];
}
