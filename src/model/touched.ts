import { bridgeOptionsOf } from "./bridge-options.js";
import type { ModelState } from "./indexes.js";
import { endpointsOfNetwork } from "./indexes.js";
import type { Endpoint, Network } from "./network.js";

/**
 * Owners (drivers/desired.ts) besides the endpoints themselves whose kernel objects change when a host's endpoints of these networks come or
 * go. To be asked with the state before the change.
 */
export function alsoTouched(state: ModelState, endpoints: readonly Endpoint[], verb: "join" | "leave"): readonly string[] {
  const out = new Set<string>();
  for (const endpoint of endpoints) {
    const network = state.networks.get(endpoint.networkId);
    if (network === undefined || endpoint.node !== undefined) continue;
    // Always, though it rarely changes: several may join at once, and the first one to come this far makes it.
    if (network.driver === "overlay") out.add(`network:${network.id}`);
    if (network.driver === "overlay" && isEdge(state, network, endpoints, verb)) {
      for (const id of endpointsOfNetwork(state, network.id).keys()) out.add(`endpoint:${id}`);
    }
    for (const linker of linkersOf(state, network, endpoint.name)) out.add(`endpoint:${linker.id}`);
  }
  for (const endpoint of endpoints) out.delete(`endpoint:${endpoint.id}`);
  return [...out];
}

/** The first endpoint of an overlay brings its namespace and all that leads to other hosts; the last one takes it away. */
function isEdge(state: ModelState, network: Network, endpoints: readonly Endpoint[], verb: "join" | "leave"): boolean {
  let here = 0;
  for (const ports of state.index.portsBySegment.get(network.id)?.values() ?? []) here += ports;
  return here === (verb === "join" ? 0 : endpoints.filter((e) => e.networkId === network.id && e.node === undefined).length);
}

/** Where endpoints may not talk to each other, a link is an exception: the endpoints that this one may reach. */
export function linkTargets(state: ModelState, network: Network, endpoint: Endpoint): readonly Endpoint[] {
  if (!isFenced(network)) return [];
  const names = state.index.endpointByName.get(network.id);
  return [...new Set(linkedNames(state, endpoint))].flatMap((name) => names?.get(name) ?? []).filter((e) => e.id !== endpoint.id);
}

/** The endpoints whose links lead to the one of this name. A scan, but of networks without icc only. */
function linkersOf(state: ModelState, network: Network, name: string): readonly Endpoint[] {
  if (!isFenced(network)) return [];
  return [...endpointsOfNetwork(state, network.id).values()].filter((e) => linkedNames(state, e).includes(name));
}

const isFenced = (network: Network): boolean => network.driver === "bridge" && !bridgeOptionsOf(network).enableIcc;

/** Of user-defined networks by the endpoint itself, of the default bridge by HostConfig.Links: "/target:/container/alias". */
function linkedNames(state: ModelState, endpoint: Endpoint): readonly string[] {
  const links = state.containers.get(endpoint.containerId)?.hostConfig?.Links ?? [];
  return [...Object.values(endpoint.links), ...links.map((link) => link.split(":")[0]!.replace(/^\//, ""))];
}
