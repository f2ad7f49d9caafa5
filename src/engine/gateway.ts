import { randomBytes } from "node:crypto";
import {
  type Endpoint,
  type EndpointRequest,
  GATEWAY_BRIDGE,
  hasGateway,
  type JoinRequest,
  type Network,
  type NetworkRequest,
} from "../model/index.js";
import { newId } from "./clock.js";
import type { EngineContext } from "./context.js";

/**
 * An overlay has no way out. A container that is on one (and on nothing with a gateway) gets a second interface on docker_gwbridge, a bridge of its host's own:
 * default route, masquerading, published ports. Containers do not hear each other there.
 */
const CREATE: NetworkRequest = {
  Name: GATEWAY_BRIDGE,
  Driver: "bridge",
  Options: {
    "com.docker.network.bridge.enable_icc": "false",
    "com.docker.network.bridge.enable_ip_masquerade": "true",
    "com.docker.network.bridge.name": GATEWAY_BRIDGE,
  },
};

export const isGatewayBridge = (network: Network | undefined): boolean => network?.bridgeName === GATEWAY_BRIDGE;
export const isGatewayEndpoint = (ctx: EngineContext, endpoint: Endpoint): boolean =>
  isGatewayBridge(ctx.state.networks.get(endpoint.networkId));

/** Does a container on these networks need the gateway bridge? */
export function needsGateway(networks: readonly Network[]): boolean {
  const others = networks.filter((n) => !isGatewayBridge(n));
  return (
    others.some((n) => n.driver === "overlay" && !n.internal) &&
    !others.some((n) => !n.internal && (hasGateway(n, 4) || hasGateway(n, 6)))
  );
}

/** The bridge, made when the first container of this host needs it. `create` is the engine's way of creating networks. */
export async function gatewayNetwork(
  ctx: EngineContext,
  create: (request: NetworkRequest) => Promise<Network>,
): Promise<Network> {
  const find = () => [...ctx.state.networks.values()].find(isGatewayBridge);
  return ctx.locks.run(`network:${GATEWAY_BRIDGE}`, async () => find() ?? create(CREATE));
}

export function gatewayJoin(network: Network, sandboxId: string, exposedPorts: readonly string[]): JoinRequest {
  const request: EndpointRequest = { network: network.name, networkId: network.id, aliases: [], links: null, driverOpts: null };
  return {
    network,
    request,
    ports: [],
    exposedPorts,
    endpointId: newId(),
    random: randomBytes(16),
    name: `gateway_${sandboxId.slice(0, 12)}`,
  };
}
