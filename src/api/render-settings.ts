import type { Container } from "../model/container.js";
import type { Endpoint, Network } from "../model/network.js";
import { eachPort } from "../model/ports.js";
import type { State } from "../model/state.js";
import { byBytes, sorted } from "./render-sorted.js";

/** The endpoints of this host's containers, by container id: made once per request, because lists ask for all of them. */
export class EndpointIndex {
  private readonly byContainer = new Map<string, Endpoint[]>();
  readonly state: State;

  constructor(state: State, containerId?: string) {
    this.state = state;
    for (const endpoint of state.endpoints.values()) {
      if (endpoint.node !== undefined) continue;
      if (containerId !== undefined && endpoint.containerId !== containerId) continue;
      const list = this.byContainer.get(endpoint.containerId);
      if (list === undefined) this.byContainer.set(endpoint.containerId, [endpoint]);
      else list.push(endpoint);
    }
  }

  of(containerId: string): readonly Endpoint[] {
    return this.byContainer.get(containerId) ?? [];
  }
}

interface NamedEndpoint {
  readonly name: string;
  readonly network: Network | undefined;
  readonly endpoint: Endpoint | undefined;
  readonly request: Container["networks"][number] | undefined;
}

/** What the container is on, or will be when it starts, by network name. */
function connections(container: Container, index: EndpointIndex): NamedEndpoint[] {
  const { networks } = index.state;
  const endpoints = [...index.of(container.id)];
  const out: NamedEndpoint[] = [];
  for (const request of container.networks) {
    const network = findNetwork(networks, request.networkId, request.network);
    const at = network === undefined ? -1 : endpoints.findIndex((e) => e.networkId === network.id);
    const endpoint = at < 0 ? undefined : endpoints.splice(at, 1)[0];
    out.push({ name: network?.name ?? (request.network === "default" ? "bridge" : request.network), network, endpoint, request });
  }
  // Attached without being asked for: docker_gwbridge beside an overlay is not shown by Docker either.
  return out.sort((a, b) => byBytes(a.name, b.name));
}

function findNetwork(networks: ReadonlyMap<string, Network>, id: string | undefined, name: string): Network | undefined {
  const byId = id === undefined ? undefined : networks.get(id);
  if (byId !== undefined) return byId;
  const wanted = name === "default" ? "bridge" : name;
  const direct = networks.get(wanted);
  if (direct !== undefined) return direct;
  for (const network of networks.values()) if (network.name === wanted) return network;
  return undefined;
}

/** Docker's NetworkSettings.Networks: one EndpointSettings per network. */
export function renderNetworks(container: Container, index: EndpointIndex): Record<string, object> {
  const out: Record<string, object> = {};
  for (const c of connections(container, index)) out[c.name] = renderEndpointSettings(container, c);
  return out;
}

function renderEndpointSettings(container: Container, { network, endpoint, request }: NamedEndpoint): object {
  const address = addressFields(network, endpoint);
  return {
    IPAMConfig: renderIpamConfig(request),
    Links: request?.links ?? null,
    Aliases: renderAliases(container, network, request),
    NetworkID: network?.id ?? request?.networkId ?? "",
    EndpointID: endpoint?.id ?? "",
    Gateway: address.Gateway,
    IPAddress: address.IPAddress,
    IPPrefixLen: address.IPPrefixLen,
    IPv6Gateway: address.IPv6Gateway,
    GlobalIPv6Address: address.GlobalIPv6Address,
    GlobalIPv6PrefixLen: address.GlobalIPv6PrefixLen,
    MacAddress: endpoint?.mac ?? "",
    DriverOpts: request?.driverOpts ?? null,
  };
}

function renderIpamConfig(request: NamedEndpoint["request"]): object | null {
  if (request === undefined) return null;
  if (request.ipv4 === undefined && request.ipv6 === undefined && request.linkLocalIps === undefined) return null;
  return {
    ...(request.ipv4 !== undefined && { IPv4Address: request.ipv4 }),
    ...(request.ipv6 !== undefined && { IPv6Address: request.ipv6 }),
    ...(request.linkLocalIps !== undefined && { LinkLocalIPs: request.linkLocalIps }),
  };
}

/** Where names resolve, the short id is an alias too (clients of API < 1.45 look for it); elsewhere there is none: null. */
function renderAliases(container: Container, network: Network | undefined, request: NamedEndpoint["request"]): string[] | null {
  const given = request?.aliases ?? [];
  if (network === undefined || network.predefined || network.driver === "host" || network.driver === "null")
    return given.length > 0 ? [...given] : null;
  const short = container.id.slice(0, 12);
  return given.includes(short) ? [...given] : [...given, short];
}

interface AddressFields {
  Gateway: string;
  IPAddress: string;
  IPPrefixLen: number;
  IPv6Gateway: string;
  GlobalIPv6Address: string;
  GlobalIPv6PrefixLen: number;
}

/** Addresses of an endpoint in Docker's words; all empty when the container does not run. */
export function addressFields(network: Network | undefined, endpoint: Endpoint | undefined): AddressFields {
  const pool4 = network?.pools.find((p) => p.family === 4);
  const pool6 = network?.pools.find((p) => p.family === 6);
  // An overlay has no gateway of its own: the way out is docker_gwbridge's. Routed endpoints have the one link-local hop.
  const showGateway = network?.driver === "bridge" || network?.driver === "macvlan";
  const gateway4 = network?.driver === "routed" ? "169.254.1.1" : showGateway ? (pool4?.gateway ?? "") : "";
  const gateway6 = showGateway ? (pool6?.gateway ?? "") : "";
  return {
    Gateway: endpoint?.ipv4 === undefined ? "" : gateway4,
    IPAddress: endpoint?.ipv4 ?? "",
    IPPrefixLen: endpoint?.ipv4 === undefined ? 0 : prefixLength(network, pool4?.subnet, 32),
    IPv6Gateway: endpoint?.ipv6 === undefined ? "" : gateway6,
    GlobalIPv6Address: endpoint?.ipv6 ?? "",
    GlobalIPv6PrefixLen: endpoint?.ipv6 === undefined ? 0 : prefixLength(network, pool6?.subnet, 128),
  };
}

export function prefixLength(network: Network | undefined, subnet: string | undefined, whole: number): number {
  if (network?.driver === "routed" || subnet === undefined) return whole;
  return Number(subnet.slice(subnet.indexOf("/") + 1));
}

/** NetworkSettings of inspect: the top-level addresses are those of the default bridge, as they were before networks existed. */
export function renderNetworkSettings(container: Container, index: EndpointIndex, sandboxKey: string): object {
  const { state } = index;
  const endpoints = index.of(container.id);
  let sandboxId = "";
  for (const sandbox of state.sandboxes.values()) if (sandbox.containerId === container.id) sandboxId = sandbox.id;
  const onBridge = endpoints.find((e) => {
    const network = state.networks.get(e.networkId);
    return network?.predefined === true && network.driver === "bridge";
  });
  const address = addressFields(onBridge && state.networks.get(onBridge.networkId), onBridge);
  return {
    Bridge: "",
    SandboxID: sandboxId,
    HairpinMode: false,
    LinkLocalIPv6Address: "",
    LinkLocalIPv6PrefixLen: 0,
    Ports: renderPortMap(endpoints, state),
    SandboxKey: sandboxId === "" ? "" : sandboxKey,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: onBridge?.id ?? "",
    Gateway: address.Gateway,
    GlobalIPv6Address: address.GlobalIPv6Address,
    GlobalIPv6PrefixLen: address.GlobalIPv6PrefixLen,
    IPAddress: address.IPAddress,
    IPPrefixLen: address.IPPrefixLen,
    IPv6Gateway: address.IPv6Gateway,
    MacAddress: onBridge?.mac ?? "",
    Networks: renderNetworks(container, index),
  };
}

/** `{"80/tcp":[{HostIp,HostPort}],"443/tcp":null}`: null for a port that is exposed and not published. */
export function renderPortMap(
  endpoints: readonly Endpoint[],
  state: State,
): Record<string, { HostIp: string; HostPort: string }[] | null> {
  const out: Record<string, { HostIp: string; HostPort: string }[] | null> = {};
  for (const endpoint of endpoints) {
    const network = state.networks.get(endpoint.networkId);
    if (network === undefined || network.driver === "host" || network.driver === "null") continue;
    if (!network.internal) for (const port of endpoint.exposedPorts) out[port.includes("/") ? port : `${port}/tcp`] ??= null;
    for (const run of endpoint.ports)
      for (const m of eachPort(run)) {
        const key = `${m.containerPort}/${m.proto}`;
        const list = out[key] ?? [];
        if (!list.some((b) => b.HostIp === m.hostIp && b.HostPort === String(m.hostPort)))
          list.push({ HostIp: m.hostIp, HostPort: String(m.hostPort) });
        out[key] = list;
      }
  }
  for (const list of Object.values(out)) list?.sort(byFamilyThenPort);
  return sorted(out);
}

function byFamilyThenPort(a: { HostIp: string; HostPort: string }, b: { HostIp: string; HostPort: string }): number {
  return (
    Number(a.HostPort) - Number(b.HostPort) ||
    Number(a.HostIp.includes(":")) - Number(b.HostIp.includes(":")) ||
    byBytes(a.HostIp, b.HostIp)
  );
}

export interface ListedPort {
  IP?: string;
  PrivatePort: number;
  PublicPort?: number;
  Type: string;
}

/** Ports of the container list. */
export function renderPortList(endpoints: readonly Endpoint[], state: State): ListedPort[] {
  const out: ListedPort[] = [];
  for (const [key, bindings] of Object.entries(renderPortMap(endpoints, state))) {
    const [port, type] = key.split("/") as [string, string];
    if (bindings === null || bindings.length === 0) out.push({ PrivatePort: Number(port), Type: type });
    for (const b of bindings ?? [])
      out.push({ IP: b.HostIp, PrivatePort: Number(port), PublicPort: Number(b.HostPort), Type: type });
  }
  return out.sort(
    (a, b) => a.PrivatePort - b.PrivatePort || byBytes(a.Type, b.Type) || (a.PublicPort ?? 0) - (b.PublicPort ?? 0),
  );
}
