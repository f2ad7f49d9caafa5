/**
 * The key layout, for people who look with `etcdctl get --prefix /docker`. Values are JSON. `/docker` is the settable prefix.
 *
 *   /docker/nodes/<ip:port>                               a live host (leased)
 *   /docker/network/v1.0/schema                           {"version":1}
 *   /docker/network/v1.0/node/<node id>                   a known host, alive or not
 *   /docker/network/v1.0/network/<network id>             a network
 *   /docker/network/v1.0/network_name/<name>              its id: claims the name
 *   /docker/network/v1.0/pools                            changed by every network create and remove: makes subnets and VNIs unique
 *   /docker/network/v1.0/endpoint/<network id>/<id>       an endpoint
 *   /docker/network/v1.0/members/<network id>             changed by every attach and detach: a network is removed only if nobody came meanwhile
 *   /docker/network/v1.0/name/<network id>/<name>         its id: claims the container's name in the network
 *   /docker/network/v1.0/address/<network id>/<address>   its id: claims the address
 *   /docker/network/v1.0/block/<network id>/<address>_<length>   id of the node that owns this block of a routed network
 */
export interface Keys {
  readonly root: string;
  readonly nodes: string;
  readonly tree: string;
  readonly schema: string;
  readonly pools: string;
  live(advertise: string): string;
  node(id: string): string;
  network(id: string): string;
  networkName(name: string): string;
  endpoint(networkId: string, id: string): string;
  members(networkId: string): string;
  name(networkId: string, name: string): string;
  address(networkId: string, address: string): string;
  block(networkId: string, prefix: string): string;
}

export function keysOf(prefix: string): Keys {
  const root = `/${prefix}`;
  const tree = `${root}/network/v1.0`;
  return {
    root,
    nodes: `${root}/nodes/`,
    tree: `${tree}/`,
    schema: `${tree}/schema`,
    pools: `${tree}/pools`,
    live: (advertise) => `${root}/nodes/${advertise}`,
    node: (id) => `${tree}/node/${id}`,
    network: (id) => `${tree}/network/${id}`,
    networkName: (name) => `${tree}/network_name/${name}`,
    endpoint: (networkId, id) => `${tree}/endpoint/${networkId}/${id}`,
    members: (networkId) => `${tree}/members/${networkId}`,
    name: (networkId, name) => `${tree}/name/${networkId}/${name}`,
    address: (networkId, address) => `${tree}/address/${networkId}/${address}`,
    block: (networkId, prefix) => `${tree}/block/${networkId}/${prefix.replace("/", "_")}`,
  };
}

export type ParsedKey =
  | { readonly kind: "live"; readonly advertise: string }
  | { readonly kind: "node"; readonly id: string }
  | { readonly kind: "network"; readonly id: string }
  | { readonly kind: "endpoint"; readonly networkId: string; readonly id: string }
  | { readonly kind: "block"; readonly networkId: string; readonly prefix: string }
  | { readonly kind: "claim" };

/** What a key stands for; undefined for keys that are not ours. */
export function parseKey(keys: Keys, key: string): ParsedKey | undefined {
  if (key.startsWith(keys.nodes)) return { kind: "live", advertise: key.slice(keys.nodes.length) };
  if (!key.startsWith(keys.tree)) return undefined;
  const [kind, a, b] = key.slice(keys.tree.length).split("/");
  switch (kind) {
    case "node":
      return a ? { kind, id: a } : undefined;
    case "network":
      return a ? { kind, id: a } : undefined;
    case "endpoint":
      return a && b ? { kind, networkId: a, id: b } : undefined;
    case "block":
      return a && b ? { kind, networkId: a, prefix: b.replace("_", "/") } : undefined;
    case "pools":
    case "members":
    case "network_name":
    case "name":
    case "address":
      return { kind: "claim" };
    default:
      return undefined;
  }
}
