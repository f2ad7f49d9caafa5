import type { Family } from "../base/ip.js";
import { bridgeOptionsOf } from "./bridge-options.js";
import type { Endpoint, Network } from "./network.js";

/**
 * Which endpoint of a sandbox carries the default route, per family: by gateway priority, internal networks last, then by the
 * network's name. (Docker 20.10: a container on "bridge" and "my-bridge" leaves through "bridge", whatever the order of joining.)
 * Returns the endpoints whose flags change.
 */
export function electDefaultRoutes(
  endpoints: readonly Endpoint[],
  networkOf: (id: string) => Network | undefined,
): readonly Endpoint[] {
  const winner = { 4: elect(endpoints, networkOf, 4), 6: elect(endpoints, networkOf, 6) };
  const changed: Endpoint[] = [];
  for (const endpoint of endpoints) {
    const defaultRoute4 = endpoint.id === winner[4];
    const defaultRoute6 = endpoint.id === winner[6];
    if (defaultRoute4 !== endpoint.defaultRoute4 || defaultRoute6 !== endpoint.defaultRoute6)
      changed.push({ ...endpoint, defaultRoute4, defaultRoute6 });
  }
  return changed;
}

function elect(
  endpoints: readonly Endpoint[],
  networkOf: (id: string) => Network | undefined,
  family: Family,
): string | undefined {
  let best: { readonly endpoint: Endpoint; readonly network: Network } | undefined;
  for (const endpoint of endpoints) {
    const network = networkOf(endpoint.networkId);
    if (network === undefined || (family === 4 ? endpoint.ipv4 : endpoint.ipv6) === undefined || !hasGateway(network, family))
      continue;
    const candidate = { endpoint, network };
    if (best === undefined || precedes(candidate, best)) best = candidate;
  }
  return best?.endpoint.id;
}

/** Does the network offer a way out? An overlay does not: its containers leave through docker_gwbridge. */
export function hasGateway(network: Network, family: Family): boolean {
  if (!network.pools.some((p) => p.family === family && p.gateway !== "")) return false;
  switch (network.driver) {
    case "bridge": {
      const options = bridgeOptionsOf(network);
      return (family === 4 ? options.gatewayModeIpv4 : options.gatewayModeIpv6) !== "isolated";
    }
    case "routed":
      return true;
    case "macvlan":
      return !network.internal;
    case "overlay":
    case "host":
    case "null":
      return false;
  }
}

interface Candidate {
  readonly endpoint: Endpoint;
  readonly network: Network;
}

function precedes(a: Candidate, b: Candidate): boolean {
  if (a.endpoint.gatewayPriority !== b.endpoint.gatewayPriority) return a.endpoint.gatewayPriority > b.endpoint.gatewayPriority;
  if (a.network.internal !== b.network.internal) return b.network.internal;
  if (a.network.name !== b.network.name) return a.network.name < b.network.name;
  return a.endpoint.sequence < b.endpoint.sequence;
}
