import { AddressSpace } from "./address-space.js";
import type { Container } from "./container.js";
import type { Endpoint, Network, Sandbox } from "./network.js";
import type { State } from "./state.js";

/** Lookups that would otherwise be scans: one attach must not cost O(number of endpoints). Kept by `applyChanges`, derived from the records alone. */
export interface Indexes {
  /** network id → endpoint id → endpoint, this host's and others' */
  readonly endpointsByNetwork: ReadonlyMap<string, ReadonlyMap<string, Endpoint>>;
  readonly endpointsByContainer: ReadonlyMap<string, ReadonlyMap<string, Endpoint>>;
  readonly endpointsBySandbox: ReadonlyMap<string, ReadonlyMap<string, Endpoint>>;
  /** network id → endpoint name → endpoint */
  readonly endpointByName: ReadonlyMap<string, ReadonlyMap<string, Endpoint>>;
  /** network id → address → endpoint */
  readonly endpointByAddress: ReadonlyMap<string, ReadonlyMap<string, Endpoint>>;
  /** network id → bridge segment → number of ports in use there */
  readonly portsBySegment: ReadonlyMap<string, ReadonlyMap<number, number>>;
  /** Names of host-side interfaces in use → endpoint id */
  readonly hostIfnames: ReadonlyMap<string, string>;
  readonly networksByName: ReadonlyMap<string, ReadonlySet<string>>;
  /** bridge device name → network id */
  readonly networkByBridge: ReadonlyMap<string, string>;
  /** network id → one space per pool, in the order of `Network.pools` */
  readonly addresses: ReadonlyMap<string, readonly AddressSpace[]>;
  readonly containerByName: ReadonlyMap<string, string>;
  readonly sandboxByContainer: ReadonlyMap<string, string>;
}

/** The state with its indexes: what the decisions work on. */
export interface ModelState extends State {
  readonly index: Indexes;
}

const none: ReadonlyMap<string, Endpoint> = new Map();

/** All endpoints of a network, remote ones too. */
export function endpointsOfNetwork(state: ModelState, networkId: string): ReadonlyMap<string, Endpoint> {
  return state.index.endpointsByNetwork.get(networkId) ?? none;
}

export function endpointsOfSandbox(state: ModelState, sandboxId: string): ReadonlyMap<string, Endpoint> {
  return state.index.endpointsBySandbox.get(sandboxId) ?? none;
}

/** In the order in which they were joined (eth0 first). */
export function endpointsOfContainer(state: ModelState, containerId: string): readonly Endpoint[] {
  return [...(state.index.endpointsByContainer.get(containerId) ?? none).values()].sort((a, b) => a.sequence - b.sequence);
}

/** The endpoint of a container on a network, if it is joined now. */
export function endpointOf(state: ModelState, containerId: string, networkId: string): Endpoint | undefined {
  for (const endpoint of (state.index.endpointsByContainer.get(containerId) ?? none).values())
    if (endpoint.networkId === networkId) return endpoint;
  return undefined;
}

export function sandboxOfContainer(state: ModelState, containerId: string): Sandbox | undefined {
  const id = state.index.sandboxByContainer.get(containerId);
  return id === undefined ? undefined : state.sandboxes.get(id);
}

/** The indexes as applyChanges sees them: the same maps, writable. */
export class MutableIndexes implements Indexes {
  readonly endpointsByNetwork = new Map<string, Map<string, Endpoint>>();
  readonly endpointsByContainer = new Map<string, Map<string, Endpoint>>();
  readonly endpointsBySandbox = new Map<string, Map<string, Endpoint>>();
  readonly endpointByName = new Map<string, Map<string, Endpoint>>();
  readonly endpointByAddress = new Map<string, Map<string, Endpoint>>();
  readonly portsBySegment = new Map<string, Map<number, number>>();
  readonly hostIfnames = new Map<string, string>();
  readonly networksByName = new Map<string, Set<string>>();
  readonly networkByBridge = new Map<string, string>();
  readonly addresses = new Map<string, readonly AddressSpace[]>();
  readonly containerByName = new Map<string, string>();
  readonly sandboxByContainer = new Map<string, string>();

  network(before: Network | undefined, after: Network | undefined): void {
    if (before !== undefined) {
      const same = this.networksByName.get(before.name);
      same?.delete(before.id);
      if (same?.size === 0) this.networksByName.delete(before.name);
      if (before.bridgeName !== undefined && this.networkByBridge.get(before.bridgeName) === before.id)
        this.networkByBridge.delete(before.bridgeName);
    }
    if (after === undefined) {
      if (before !== undefined) this.addresses.delete(before.id);
      return;
    }
    const same = this.networksByName.get(after.name);
    if (same === undefined) this.networksByName.set(after.name, new Set([after.id]));
    else same.add(after.id);
    if (after.bridgeName !== undefined) this.networkByBridge.set(after.bridgeName, after.id);
    if (before === undefined || JSON.stringify(before.pools) !== JSON.stringify(after.pools)) this.rebuildSpaces(after);
  }

  endpoint(before: Endpoint | undefined, after: Endpoint | undefined): void {
    if (before !== undefined) this.dropEndpoint(before);
    if (after !== undefined) this.addEndpoint(after);
  }

  sandbox(before: Sandbox | undefined, after: Sandbox | undefined): void {
    if (before !== undefined && this.sandboxByContainer.get(before.containerId) === before.id)
      this.sandboxByContainer.delete(before.containerId);
    if (after !== undefined) this.sandboxByContainer.set(after.containerId, after.id);
  }

  container(nameBefore: string | undefined, after: Container | undefined, id: string): void {
    if (nameBefore !== undefined && this.containerByName.get(nameBefore) === id) this.containerByName.delete(nameBefore);
    if (after !== undefined) this.containerByName.set(after.name, id);
  }

  private addEndpoint(e: Endpoint): void {
    nested(this.endpointsByNetwork, e.networkId).set(e.id, e);
    nested(this.endpointsByContainer, e.containerId).set(e.id, e);
    nested(this.endpointsBySandbox, e.sandboxId).set(e.id, e);
    nested(this.endpointByName, e.networkId).set(e.name, e);
    if (e.hostIfname !== "" && e.node === undefined) {
      this.hostIfnames.set(e.hostIfname, e.id);
      const ports = nested(this.portsBySegment, e.networkId);
      ports.set(e.segment ?? 0, (ports.get(e.segment ?? 0) ?? 0) + 1);
    }
    for (const address of [e.ipv4, e.ipv6]) {
      if (address === undefined) continue;
      nested(this.endpointByAddress, e.networkId).set(address, e);
      for (const space of this.addresses.get(e.networkId) ?? []) space.take(address);
    }
  }

  private dropEndpoint(e: Endpoint): void {
    unnest(this.endpointsByNetwork, e.networkId, e.id);
    unnest(this.endpointsByContainer, e.containerId, e.id);
    unnest(this.endpointsBySandbox, e.sandboxId, e.id);
    if (this.endpointByName.get(e.networkId)?.get(e.name)?.id === e.id) unnest(this.endpointByName, e.networkId, e.name);
    if (e.hostIfname !== "" && e.node === undefined) {
      if (this.hostIfnames.get(e.hostIfname) === e.id) this.hostIfnames.delete(e.hostIfname);
      const ports = this.portsBySegment.get(e.networkId);
      const left = (ports?.get(e.segment ?? 0) ?? 1) - 1;
      if (left > 0) ports?.set(e.segment ?? 0, left);
      else unnest(this.portsBySegment, e.networkId, e.segment ?? 0);
    }
    for (const address of [e.ipv4, e.ipv6]) {
      if (address === undefined || this.endpointByAddress.get(e.networkId)?.get(address)?.id !== e.id) continue;
      unnest(this.endpointByAddress, e.networkId, address);
      for (const space of this.addresses.get(e.networkId) ?? []) space.release(address);
    }
  }

  /** Endpoints may be loaded before their network: their addresses are taken when it comes. */
  private rebuildSpaces(network: Network): void {
    const spaces = network.pools.map((pool) => new AddressSpace(pool));
    this.addresses.set(network.id, spaces);
    for (const address of this.endpointByAddress.get(network.id)?.keys() ?? []) for (const space of spaces) space.take(address);
  }
}

function nested<A, B, V>(map: Map<A, Map<B, V>>, key: A): Map<B, V> {
  let inner = map.get(key);
  if (inner === undefined) {
    inner = new Map();
    map.set(key, inner);
  }
  return inner;
}

function unnest<A, B, V>(map: Map<A, Map<B, V>>, key: A, innerKey: B): void {
  const inner = map.get(key);
  inner?.delete(innerKey);
  if (inner?.size === 0) map.delete(key);
}
