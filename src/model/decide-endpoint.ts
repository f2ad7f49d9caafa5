import { type Refusal, refusal } from "../base/errors.js";
import { bigIntToIp, ipToBytes, parseIp, parsePrefix, prefixContains, prefixRange } from "../base/ip.js";
import { fail, ok, type Result } from "../base/result.js";
import type { AddressSpace } from "./address-space.js";
import { bridgeOptionsOf } from "./bridge-options.js";
import { checkEndpointRequest, isUserDefined } from "./connect-rules.js";
import type { EndpointRequest } from "./container.js";
import { electDefaultRoutes } from "./default-route.js";
import { endpointsOfSandbox, type ModelState } from "./indexes.js";
import type { Endpoint, Network, PortMapping, Sandbox } from "./network.js";
import type { Change } from "./state.js";
import { alsoTouched } from "./touched.js";

/** One network to join. */
export interface JoinRequest {
  readonly network: Network;
  readonly request: EndpointRequest;
  readonly ports: readonly PortMapping[];
  readonly exposedPorts: readonly string[];
  /** 64 random hex digits */
  readonly endpointId: string;
  /** Random; each 7 hex digits of it are a candidate for the name of the host's end, so 16 bytes give four. */
  readonly random: Uint8Array;
  /** routed driver: only addresses of these blocks are this host's to give (first address of each kept back for the host itself). */
  readonly within?: readonly string[];
  /** Name of the endpoint where it is not the container's (docker_gwbridge: "gateway_<12 hex>"). */
  readonly name?: string;
}

export interface AttachRequest {
  readonly containerId: string;
  /** Without slash */
  readonly containerName: string;
  readonly sandbox: Sandbox;
  /** In the order of eth0, eth1 … */
  readonly joins: readonly JoinRequest[];
  /** The first free number; joins count up from it. See `nextSequence`. */
  readonly sequence: number;
}

export interface EndpointDecision {
  /** The endpoints that were made, in the order asked for (attach), or removed (detach). */
  readonly endpoints: readonly Endpoint[];
  readonly sandbox: Sandbox | undefined;
  readonly changes: readonly Change[];
  /** Owners (drivers/desired.ts) whose kernel objects change. */
  readonly owners: readonly string[];
}

/** A bridge takes 1,023 ports; some are kept for the links between the segments of a network. */
export const PORTS_PER_SEGMENT = 1000;

/**
 * Joins a sandbox to networks: all of them or none. Addresses are the lowest free ones or those asked for; the default route is
 * elected anew among all endpoints of the sandbox, so changes of others may be among the result's.
 */
export function attach(state: ModelState, request: AttachRequest): Result<EndpointDecision, Refusal> {
  const made: Endpoint[] = [];
  const grown: Network[] = [];
  const ifnames = new Set([...endpointsOfSandbox(state, request.sandbox.id).values()].map((e) => e.ifname));
  const hostIfnames = new Set<string>();
  let nextIfindex = request.sandbox.nextIfindex;
  for (const [i, join] of request.joins.entries()) {
    const { network } = join;
    const checked = checkEndpointRequest(network, join.request);
    if (!checked.ok) return checked;
    if (network.configOnly)
      return fail(refusal(403, `cannot create an endpoint on the configuration-only network ${network.name}`));
    const name = join.name ?? request.containerName;
    if (network.driver !== "host" && network.driver !== "null") {
      const clash = state.index.endpointByName.get(network.id)?.has(name) || made.some((e) => e.networkId === network.id);
      if (clash) return fail(refusal(403, `endpoint with name ${name} already exists in network ${network.name}`));
    }
    const addresses = chooseAddresses(state, network, join.request, join.within);
    if (!addresses.ok) return addresses;
    const common = {
      ...addresses.value,
      id: join.endpointId,
      networkId: network.id,
      sandboxId: request.sandbox.id,
      containerId: request.containerId,
      name,
      aliases: aliasesOf(network, join.request, request.containerId, name),
      links: linksOf(join.request),
      gatewayPriority: join.request.gatewayPriority ?? 0,
      defaultRoute4: false,
      defaultRoute6: false,
      ports: join.ports,
      exposedPorts: join.exposedPorts,
      driverOpts: join.request.driverOpts ?? {},
      ...(join.request.linkLocalIps === undefined ? {} : { linkLocalIps: join.request.linkLocalIps }),
      sequence: request.sequence + i,
    };
    if (network.driver === "host" || network.driver === "null") {
      made.push({ ...common, mac: "", ifname: "", hostIfname: "" });
      continue;
    }
    const named = join.request.driverOpts?.["com.docker.network.endpoint.ifname"];
    const prefix = network.driver === "bridge" ? bridgeOptionsOf(network).containerIfacePrefix : "eth";
    let ifname = named ?? `${prefix}${nextIfindex++}`;
    while (named === undefined && ifnames.has(ifname)) ifname = `${prefix}${nextIfindex++}`;
    if (ifnames.has(ifname)) return fail(refusal(400, `interface name ${ifname} is already in use in the container`));
    ifnames.add(ifname);
    // A macvlan interface has no end on the host.
    const hostIfname = network.driver === "macvlan" ? "" : chooseHostIfname(state, hostIfnames, join.random);
    hostIfnames.add(hostIfname);
    const segment = network.driver === "bridge" ? chooseSegment(state, network) : 0;
    if (segment >= (network.segments ?? 1)) grown.push({ ...network, segments: segment + 1 });
    made.push({
      ...common,
      mac: join.request.macAddress ? join.request.macAddress.toLowerCase() : macOf(addresses.value.ipv4, join.endpointId),
      ifname,
      hostIfname,
      ...(segment === 0 ? {} : { segment }),
    });
  }
  const sandbox = { ...request.sandbox, nextIfindex };
  return ok(settle(state, sandbox, made, grown));
}

/** Elects the default route among what the sandbox has and gets. */
function settle(state: ModelState, sandbox: Sandbox, made: readonly Endpoint[], grown: readonly Network[]): EndpointDecision {
  const present = [...endpointsOfSandbox(state, sandbox.id).values()];
  const flagged = new Map(electDefaultRoutes([...present, ...made], (id) => state.networks.get(id)).map((e) => [e.id, e]));
  const endpoints = made.map((e) => flagged.get(e.id) ?? e);
  const others = present.flatMap((e) => flagged.get(e.id) ?? []);
  return {
    endpoints,
    sandbox,
    changes: [
      ...grown.map((n): Change => ({ kind: "network", id: n.id, value: n })),
      { kind: "sandbox", id: sandbox.id, value: sandbox },
      ...[...endpoints, ...others].map((e): Change => ({ kind: "endpoint", id: e.id, value: e })),
    ],
    owners: [
      ...grown.map((n) => `network:${n.id}`),
      `sandbox:${sandbox.id}`,
      ...[...endpoints, ...others].map((e) => `endpoint:${e.id}`),
      ...alsoTouched(state, endpoints, "join"),
    ],
  };
}

/** Takes one endpoint out of its network; the default route may move to another endpoint of the sandbox. */
export function detach(state: ModelState, endpoint: Endpoint): EndpointDecision {
  const rest = [...endpointsOfSandbox(state, endpoint.sandboxId).values()].filter((e) => e.id !== endpoint.id);
  const others = electDefaultRoutes(rest, (id) => state.networks.get(id));
  return {
    endpoints: [endpoint],
    sandbox: state.sandboxes.get(endpoint.sandboxId),
    changes: [
      { kind: "endpoint", id: endpoint.id, value: undefined },
      ...others.map((e): Change => ({ kind: "endpoint", id: e.id, value: e })),
    ],
    owners: [`endpoint:${endpoint.id}`, ...others.map((e) => `endpoint:${e.id}`), ...alsoTouched(state, [endpoint], "leave")],
  };
}

/** A sandbox and all that it has: what remains of a container's networking when it stops. */
export function removeSandbox(state: ModelState, sandboxId: string): EndpointDecision {
  const endpoints = [...endpointsOfSandbox(state, sandboxId).values()];
  return {
    endpoints,
    sandbox: undefined,
    changes: [
      ...endpoints.map((e): Change => ({ kind: "endpoint", id: e.id, value: undefined })),
      { kind: "sandbox", id: sandboxId, value: undefined },
    ],
    owners: [...endpoints.map((e) => `endpoint:${e.id}`), `sandbox:${sandboxId}`, ...alsoTouched(state, endpoints, "leave")],
  };
}

/** A container's endpoints under its new name. */
export function renameEndpoints(state: ModelState, containerId: string, name: string): Result<EndpointDecision, Refusal> {
  const endpoints: Endpoint[] = [];
  for (const endpoint of state.index.endpointsByContainer.get(containerId)?.values() ?? []) {
    // A gateway endpoint keeps the name that it has from its sandbox.
    if (endpoint.name === `gateway_${endpoint.sandboxId.slice(0, 12)}`) continue;
    const other = state.index.endpointByName.get(endpoint.networkId)?.get(name);
    const network = state.networks.get(endpoint.networkId);
    if (other !== undefined && other.id !== endpoint.id && network !== undefined && !["host", "null"].includes(network.driver))
      return fail(refusal(409, `endpoint with name ${name} already exists in network ${network.name}`));
    endpoints.push({ ...endpoint, name });
  }
  return ok({
    endpoints,
    sandbox: undefined,
    changes: endpoints.map((e): Change => ({ kind: "endpoint", id: e.id, value: e })),
    owners: endpoints.map((e) => `endpoint:${e.id}`),
  });
}

/** The same endpoint with other published ports. */
export function setPorts(endpoint: Endpoint, ports: readonly PortMapping[]): EndpointDecision {
  const changed = { ...endpoint, ports };
  return {
    endpoints: [changed],
    sandbox: undefined,
    changes: [{ kind: "endpoint", id: endpoint.id, value: changed }],
    owners: [`endpoint:${endpoint.id}`],
  };
}

/** A sequence number after all those in use. O(endpoints): ask once at start and count on from there. */
export function nextSequence(state: ModelState): number {
  let next = 0;
  for (const endpoint of state.endpoints.values()) next = Math.max(next, endpoint.sequence + 1);
  return next;
}

function chooseAddresses(
  state: ModelState,
  network: Network,
  request: EndpointRequest,
  within: readonly string[] | undefined,
): Result<{ readonly ipv4?: string; readonly ipv6?: string }, Refusal> {
  const out: { ipv4?: string; ipv6?: string } = {};
  for (const family of [4, 6] as const) {
    const spaces = (state.index.addresses.get(network.id) ?? []).filter((s) => s.pool.family === family);
    if (spaces.length === 0) continue;
    const field = family === 4 ? "ipv4" : "ipv6";
    const asked = request[field] ? parseIp(request[field]) : undefined;
    if (asked !== undefined) {
      const space = spaces.find((s) => s.contains(asked));
      if (space === undefined || space.isTaken(asked)) return fail(refusal(403, "Address already in use", field));
      if (within !== undefined && !inBlocks(asked, within))
        return fail(refusal(403, `address ${asked} belongs to another host's block of network ${network.name}`, field));
      out[field] = asked;
      continue;
    }
    let free: string | undefined;
    for (const space of spaces) {
      free = within === undefined ? space.firstFree() : firstFreeWithin(space, within);
      if (free !== undefined) break;
    }
    if (free === undefined)
      return fail(
        refusal(500, `no available IPv${family} addresses on this network's address pools: ${network.name} (${network.id})`),
      );
    out[field] = free;
  }
  return ok(out);
}

function inBlocks(address: string, blocks: readonly string[]): boolean {
  return blocks.some((block) => {
    const prefix = parsePrefix(block)!;
    return prefixContains(prefix, address) && prefix.address !== address;
  });
}

/** Blocks are small (64 addresses): looked through one by one. */
export function firstFreeWithin(space: AddressSpace, blocks: readonly string[]): string | undefined {
  for (const block of blocks) {
    const prefix = parsePrefix(block);
    if (prefix === undefined || prefix.family !== space.pool.family) continue;
    const { first, last } = prefixRange(prefix);
    for (let n = first + 1n; n <= last; n++) {
      const address = bigIntToIp(n, prefix.family);
      if (!space.isTaken(address)) return address;
    }
  }
  return undefined;
}

/** The user's aliases and the short id; the default bridge and its like have no names. */
function aliasesOf(network: Network, request: EndpointRequest, containerId: string, name: string): readonly string[] {
  if (!isUserDefined(network)) return [];
  return [...new Set([...request.aliases, containerId.slice(0, 12)])].filter(
    (alias) => alias !== "" && (alias !== name || request.aliases.includes(alias)),
  );
}

/** "name:alias" or "name" → alias → name */
function linksOf(request: EndpointRequest): Readonly<Record<string, string>> {
  const out: Record<string, string> = {};
  for (const link of request.links ?? []) {
    const [name, alias] = link.split(":");
    if (name) out[alias || name] = name;
  }
  return out;
}

/** Docker's: 02:42 and the IPv4 address. Without one, 02:42 and four bytes of the endpoint's (random) id. */
function macOf(ipv4: string | undefined, endpointId: string): string {
  const tail = ipv4 === undefined ? undefined : ipToBytes(ipv4);
  const hex = tail === undefined ? endpointId.slice(0, 8) : Array.from(tail, (b) => b.toString(16).padStart(2, "0")).join("");
  return `02:42:${hex.match(/../g)!.join(":")}`;
}

/** "veth" and 7 hex digits, as Docker names the host's end; a name in use is passed over. */
function chooseHostIfname(state: ModelState, alsoUsed: ReadonlySet<string>, random: Uint8Array): string {
  const hex = Array.from(random, (b) => b.toString(16).padStart(2, "0")).join("");
  const free = (name: string) => !state.index.hostIfnames.has(name) && !alsoUsed.has(name);
  for (let i = 0; i + 7 <= hex.length; i += 7) if (free(`veth${hex.slice(i, i + 7)}`)) return `veth${hex.slice(i, i + 7)}`;
  let n = Number.parseInt(hex.slice(0, 7).padEnd(7, "0"), 16);
  for (;;) {
    n = (n + 1) & 0xfffffff;
    const name = `veth${n.toString(16).padStart(7, "0")}`;
    if (free(name)) return name;
  }
}

/** The first of the network's bridges with room for one more port, or the one after the last. */
function chooseSegment(state: ModelState, network: Network): number {
  const ports = state.index.portsBySegment.get(network.id);
  let segment = 0;
  while ((ports?.get(segment) ?? 0) >= PORTS_PER_SEGMENT) segment++;
  return segment;
}
