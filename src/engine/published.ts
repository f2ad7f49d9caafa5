import { randomInt } from "node:crypto";
import { orRefuse } from "../base/errors.js";
import {
  bridgeOptionsOf,
  type Container,
  type Endpoint,
  type HostConfig,
  hasGateway,
  type Network,
  type PortMapping,
} from "../model/index.js";
import { containerPortText, type PortRequest, parseContainerPort, portRequests } from "../model/ports.js";
import type { EngineContext } from "./context.js";
import type { PortTarget } from "./ports/index.js";

/** Refuses malformed bindings at create, with Docker's texts. */
export function checkPortBindings(hostConfig: HostConfig): void {
  orRefuse(portRequests({ exposed: [], bindings: hostConfig.PortBindings, publishAll: false, ipv6: true }));
}

/** "80/tcp": what the container exposes, bound ports included. */
export function exposedPorts(container: Container): string[] {
  const out = new Set<string>();
  for (const keys of [container.config.ExposedPorts ?? {}, container.hostConfig.PortBindings ?? {}])
    for (const key of Object.keys(keys)) {
      if (out.has(key)) continue;
      const parsed = parseContainerPort(key);
      if (parsed.ok) out.add(containerPortText(parsed.value));
    }
  return [...out];
}

/** May ports be published on endpoints of this network? */
export const canPublish = (network: Network): boolean =>
  (network.driver === "bridge" || network.driver === "routed") && !network.internal;

/**
 * The endpoint that carries a container's published ports: the one with the default route, as Docker has it; else the first that can
 * (a network that gives no way out can still be reached from the host).
 */
export function publishingEndpoint(ctx: EngineContext, endpoints: readonly Endpoint[]): Endpoint | undefined {
  const able = endpoints.filter((e) => {
    const network = ctx.state.networks.get(e.networkId);
    return network !== undefined && canPublish(network) && (e.ipv4 !== undefined || e.ipv6 !== undefined);
  });
  return (
    able.find((e) => e.defaultRoute4) ??
    able.find((e) => e.defaultRoute6) ??
    able.find((e) => hasGateway(ctx.state.networks.get(e.networkId)!, 4)) ??
    able[0]
  );
}

/** Has the container asked for published ports at all? */
export const wantsPorts = ({ hostConfig: { PortBindings, PublishAllPorts } }: Container): boolean =>
  PublishAllPorts || Object.keys(PortBindings ?? {}).length > 0;

export function requestsOf(ctx: EngineContext, container: Container, network: Network): readonly PortRequest[] {
  return orRefuse(
    portRequests({
      exposed: container.hostConfig.PublishAllPorts ? exposedPorts(container) : [],
      bindings: container.hostConfig.PortBindings,
      publishAll: container.hostConfig.PublishAllPorts,
      defaultHostIp: network.driver === "bridge" ? (bridgeOptionsOf(network).hostBindingIpv4 ?? "") : "",
      ipv6: ctx.ipv6,
    }),
  );
}

/** Takes the host ports for one endpoint; refuses with Docker's texts, which name it. */
export async function allocatePorts(
  ctx: EngineContext,
  endpoint: Endpoint,
  requests: readonly PortRequest[],
): Promise<readonly PortMapping[]> {
  if (requests.length === 0) return [];
  return ctx.ports.allocate(endpoint.id, endpoint.name, requests, targetOf(endpoint), randomInt(1 << 20));
}

export function targetOf(endpoint: Endpoint): PortTarget {
  return {
    ...(endpoint.ipv4 === undefined ? {} : { ipv4: endpoint.ipv4 }),
    ...(endpoint.ipv6 === undefined ? {} : { ipv6: endpoint.ipv6 }),
  };
}

/** A UDP flow that was seen while nobody had the port would go on being delivered to nobody. */
export async function forgetFlows(ctx: EngineContext, endpoint: Endpoint): Promise<void> {
  const runs = new Map(endpoint.ports.filter((p) => p.proto === "udp").map((p) => [p.hostPort, p.count ?? 1]));
  await Promise.all(
    [...runs].map(([dport, count]) => ctx.kernel.flushConntrack({ proto: "udp", dport, dportLast: dport + count - 1 })),
  );
}

/** Connections of an address that its next owner must not inherit. */
export async function forgetAddress(ctx: EngineContext, endpoint: Endpoint): Promise<void> {
  await Promise.all(
    [endpoint.ipv4, endpoint.ipv6].flatMap((ip) => (ip === undefined ? [] : [ctx.kernel.flushConntrack({ ip })])),
  );
}
