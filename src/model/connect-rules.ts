import { type Refusal, refusal } from "../base/errors.js";
import { macToBytes, parseIp, parsePrefix, prefixContains } from "../base/ip.js";
import { fail, ok, type Result } from "../base/result.js";
import type { EndpointRequest } from "./container.js";
import type { Network } from "./network.js";

export const SHARED_NETNS =
  "container sharing network namespace with another container or host cannot be connected to any other network";
export const HOST_NETWORK = "container cannot be disconnected from host network or connected to host network";
export const NONE_NETWORK = "container cannot be connected to multiple networks with one of the networks in private (none) mode";

/** The bridge by which containers of overlays reach the outside: made by the engine when it is needed, a network like others but for names. */
export const GATEWAY_BRIDGE = "docker_gwbridge";

/** The networks that Docker calls user-defined, those that give names: all but the three predefined ones and the gateway bridge. */
export const isUserDefined = (network: Network): boolean => !network.predefined && network.bridgeName !== GATEWAY_BRIDGE;

/** How a container's network namespace comes about, from HostConfig.NetworkMode. */
export interface ContainerNetworking {
  /** HostConfig.NetworkMode */
  readonly networkMode: string;
  /** The networks that the container is on (running) or shall be on (stopped). */
  readonly networks: readonly Network[];
}

/** May this container be connected to one more network? (Docker's rules for POST /networks/{id}/connect.) */
export function checkConnect(container: ContainerNetworking, network: Network): Result<void, Refusal> {
  const mode = container.networkMode;
  if (mode.startsWith("container:")) return fail(refusal(400, SHARED_NETNS));
  if (mode === "host" && network.driver !== "host") return fail(refusal(400, SHARED_NETNS));
  if (network.driver === "host") return fail(refusal(400, HOST_NETWORK));
  const others = container.networks.filter((n) => n.id !== network.id);
  if (
    network.driver === "null" ? others.length > 0 || mode !== "none" : others.some((n) => n.driver === "null") || mode === "none"
  )
    return fail(refusal(400, NONE_NETWORK));
  return ok(undefined);
}

/** May this container be disconnected from the network? */
export function checkDisconnect(container: ContainerNetworking, network: Network): Result<void, Refusal> {
  if (container.networkMode === "host" || network.driver === "host") return fail(refusal(400, HOST_NETWORK));
  if (container.networkMode.startsWith("container:")) return fail(refusal(400, SHARED_NETNS));
  return ok(undefined);
}

/** What the user asked of one endpoint, checked against the network, without looking at what is taken. */
export function checkEndpointRequest(network: Network, request: EndpointRequest): Result<void, Refusal> {
  for (const [field, family] of [
    ["ipv4", 4],
    ["ipv6", 6],
  ] as const) {
    const text = request[field];
    if (text === undefined || text === "") continue;
    const address = parseIp(text);
    if (address === undefined || address.includes(":") !== (family === 6))
      return fail(refusal(400, `invalid IPv${family} address: ${text}`, field));
  }
  const asksAddress = Boolean(request.ipv4) || Boolean(request.ipv6);
  if (!isUserDefined(network)) {
    if (asksAddress) return fail(refusal(400, "user specified IP address is supported on user defined networks only"));
    if (request.aliases.length > 0)
      return fail(refusal(400, "network-scoped alias is supported only for containers in user defined networks"));
  } else if (asksAddress && !hasUserSubnet(network, request))
    return fail(
      refusal(400, "user specified IP address is supported only when connecting to networks with user configured subnets"),
    );
  if (request.macAddress && macToBytes(request.macAddress) === undefined)
    return fail(refusal(400, `invalid MAC address: ${request.macAddress}`, "macAddress"));
  for (const link of request.links ?? []) {
    const parts = link.split(":");
    if (link === "" || parts.length > 2) return fail(refusal(500, `bad format for links: ${link}`));
  }
  for (const text of [request.ipv4, request.ipv6]) {
    if (!text) continue;
    const family = text.includes(":") ? 6 : 4;
    const subnets = network.pools.filter((p) => p.family === family).map((p) => parsePrefix(p.subnet)!);
    if (!subnets.some((subnet) => prefixContains(subnet, text)))
      return fail(refusal(500, `Invalid address ${text}: It does not belong to any of this network's subnets`));
  }
  return ok(undefined);
}

function hasUserSubnet(network: Network, request: EndpointRequest): boolean {
  const has = (family: 4 | 6) => network.pools.some((p) => p.family === family && p.userSubnet);
  return (!request.ipv4 || has(4)) && (!request.ipv6 || has(6));
}
