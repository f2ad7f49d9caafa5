import type { Family } from "../base/ip.js";
import { bigIntToIp, bitsOf, bytesToIp, ipToBytes, macToBytes, parsePrefix, prefixRange } from "../base/ip.js";
import { type BridgeOptions, bridgeOptionsOf, type GatewayMode, parseGoBool } from "../model/bridge-options.js";
import type { Endpoint, Network, PortMapping } from "../model/network.js";
import type { KernelObject, NftElement, NftValue, Sysctl } from "../plan/objects.js";
import { HOST_NS, mergeRuns } from "../plan/objects.js";
import { ALLOW_STEP, bridgeTable, inetTable, type ModeChain, TABLE, toVerdict } from "./firewall-text.js";

/** What the firewall must know besides the model. */
export interface FirewallContext {
  /** A bridge that is not ours has ports in the engine's namespace: then its br_netfilter settings are left alone. */
  readonly foreignBridges?: boolean;
  /** The engine switched ip_forward on: the host was no router, and is none for others now. */
  readonly closeForeignForwarding?: boolean;
}

/** The tables themselves, and what does not depend on a network. They exist before the first network does: closed from the start. */
export function firewallHostObjects(ctx: FirewallContext): KernelObject[] {
  const objects: KernelObject[] = [inetTable({ closeForeignForwarding: ctx.closeForeignForwarding ?? false }), bridgeTable()];
  // With br_netfilter on, each packet between two containers of one bridge walks the IP hooks too (540 → 300 kpps measured).
  if (!ctx.foreignBridges)
    for (const name of ["iptables", "ip6tables", "arptables"]) objects.push(sysctl(`net.bridge.bridge-nf-call-${name}`, "0"));
  return objects;
}

/** Elements and sysctls of one bridge or routed network; nothing for drivers that have no interface in the host's namespace. */
export function firewallNetworkObjects(network: Network, _ctx: FirewallContext): KernelObject[] {
  if (network.driver === "routed") return subnetElements(network);
  if (network.driver !== "bridge" || network.bridgeName === undefined) return [];
  const bridge = ifname(network.bridgeName);
  const options = bridgeOptionsOf(network);
  const comment = commentText(`network ${network.name}`);
  const objects: KernelObject[] = [
    element("inet", "bridges", [bridge], undefined, comment),
    element("inet", "to", [bridge], [verdict(toVerdict(...modeChains(network, options)))], comment),
  ];
  if (options.enableIcc) objects.push(element("inet", "same", [bridge, bridge], undefined, comment));
  const closed = network.internal;
  const routed = options.gatewayModeIpv4 === "routed" || options.gatewayModeIpv6 === "routed";
  if (closed) objects.push(element("inet", "from", [bridge], [verdict("goto from_internal")], comment));
  else if (!routed) objects.push(element("inet", "from", [bridge], [verdict("jump from_nat")], comment));
  const dev = network.bridgeName.replaceAll(".", "/");
  if (!closed) {
    objects.push(sysctl(`net.ipv4.conf.${dev}.route_localnet`, "1"));
    // Of the whole host: the kernel has no forwarding per interface that suffices (IPv6), or that anything else expects (IPv4).
    objects.push(sysctl("net.ipv4.ip_forward", "1"));
    if (network.enableIPv6) objects.push(sysctl("net.ipv6.conf.all.forwarding", "1"));
  }
  // Isolated ports do not hear each other's ARP; with this the host answers for them, and `links` says which pairs may go on.
  if (!options.enableIcc) objects.push(sysctl(`net.ipv4.conf.${dev}.proxy_arp_pvlan`, "1"));
  return objects;
}

/** Elements of one endpoint of a bridge or routed network, its published ports last. */
export function firewallEndpointObjects(network: Network, endpoint: Endpoint, _ctx: FirewallContext): KernelObject[] {
  const device = network.driver === "routed" ? endpoint.hostIfname : network.driver === "bridge" ? network.bridgeName : undefined;
  if (device === undefined) return [];
  const options = bridgeOptionsOf(network);
  const comment = commentText(endpoint.name);
  const objects: KernelObject[] = network.driver === "routed" ? vethObjects(network, endpoint, comment) : [];
  if (antispoofed(network)) objects.push(...(network.driver === "routed" ? vethSources : portSources)(endpoint, comment));
  for (const family of [4, 6] as const) {
    const address = family === 4 ? endpoint.ipv4 : endpoint.ipv6;
    if (address === undefined) continue;
    objects.push(element("inet", `endpoints${family}`, [ifname(device), ip(address)], undefined, comment));
    const mode = family === 4 ? options.gatewayModeIpv4 : options.gatewayModeIpv6;
    if (network.internal || mode === "isolated") continue;
    if (options.enableIpMasquerade && mode !== "routed") {
      const fixed = family === 4 ? options.hostIpv4 : options.hostIpv6;
      if (fixed === undefined) objects.push(element("inet", `masquerade${family}`, [ip(address)], undefined, comment));
      else objects.push(element("inet", `snat${family}`, [ip(address)], [ip(fixed)], comment));
    }
    for (const port of endpoint.ports) objects.push(...portElements(port, family, address, mode, comment));
  }
  return inRuns(objects);
}

/** Elements of consecutive ports as runs. */
function inRuns(objects: readonly KernelObject[]): KernelObject[] {
  const isElement = (o: KernelObject): o is NftElement => o.kind === "nftElement";
  return [...objects.filter((o) => !isElement(o)), ...mergeRuns(objects.filter(isElement))];
}

/** `--link` where endpoints may not talk to each other: what `from` may reach of `to`, its exposed ports ("80/tcp"). */
export function firewallLinkObjects(from: Endpoint, to: Endpoint): KernelObject[] {
  const objects: KernelObject[] = [];
  const comment = commentText(`link ${from.name} ${to.name}`);
  for (const exposed of to.exposedPorts) {
    const [port, proto = "tcp"] = exposed.split("/");
    if (proto !== "tcp" && proto !== "udp" && proto !== "sctp") continue;
    for (const [family, source, target] of [
      [4, from.ipv4, to.ipv4],
      [6, from.ipv6, to.ipv6],
    ] as const)
      if (source !== undefined && target !== undefined)
        objects.push(
          element("inet", `links${family}`, [ip(source), ip(target), protocol(proto), service(Number(port))], undefined, comment),
        );
  }
  return inRuns(objects);
}

/** Frames with another's MAC, IP, ARP or ND are dropped, unless the network's option "linkspan.antispoof" says no. */
export function antispoofed(network: Pick<Network, "options">): boolean {
  return parseGoBool(network.options["linkspan.antispoof"] ?? "true") ?? true;
}

function modeChains(network: Network, options: BridgeOptions): [ModeChain, ModeChain] {
  const chain = (mode: GatewayMode): ModeChain =>
    network.internal || mode === "isolated" ? "closed" : mode === "nat-unprotected" ? "unprotected" : mode;
  return [chain(options.gatewayModeIpv4), chain(options.gatewayModeIpv6)];
}

export function portSources(endpoint: Endpoint, comment: string): NftElement[] {
  const port = ifname(endpoint.hostIfname);
  const mac = ether(endpoint.mac);
  const objects: NftElement[] = [
    element("bridge", "ports", [port], undefined, comment),
    element("bridge", "macs", [port, mac], undefined, comment),
  ];
  const added = endpoint.linkLocalIps ?? [];
  for (const address of [endpoint.ipv4, ...added.filter((a) => !a.includes(":"))])
    if (address !== undefined) objects.push(element("bridge", "source4", [port, mac, ip(address)], undefined, comment));
  for (const address of [endpoint.ipv6, linkLocal(endpoint.mac), ...added.filter((a) => a.includes(":"))]) {
    if (address === undefined) continue;
    objects.push(element("bridge", "source6", [port, mac, ip(address)], undefined, comment));
    objects.push(element("bridge", "target6", [port, mac, integer128(address)], undefined, comment));
  }
  return objects;
}

/** Which addresses may talk to each other across the hosts of a routed network: those of its subnets, as pairs of prefixes. */
function subnetElements(network: Network): KernelObject[] {
  const comment = commentText(`network ${network.name}`);
  return network.pools.flatMap(({ subnet, family }) => {
    const parts = steppedPrefixes([subnet], family);
    return parts.flatMap(([length, a]) =>
      parts.map(([, b]) => element("inet", `peers${family}_${length}`, [ip(a), ip(b)], undefined, comment)),
    );
  });
}

/** The host's end of a routed endpoint's veth pair is to the rules what a bridge with one port would be. */
function vethObjects(network: Network, endpoint: Endpoint, comment: string): KernelObject[] {
  const veth = ifname(endpoint.hostIfname);
  const [to, from] = network.internal
    ? ["goto to_internal_subnet", "goto from_internal_subnet"]
    : ["goto to_subnet", "jump from_nat"];
  const objects: KernelObject[] = [
    element("inet", "bridges", [veth], undefined, comment),
    element("inet", "to", [veth], [verdict(to)], comment),
    element("inet", "from", [veth], [verdict(from)], comment),
  ];
  if (!network.internal) objects.push(sysctl(`net.ipv4.conf.${endpoint.hostIfname.replaceAll(".", "/")}.route_localnet`, "1"));
  return objects;
}

function vethSources(endpoint: Endpoint, comment: string): KernelObject[] {
  const veth = ifname(endpoint.hostIfname);
  const objects: KernelObject[] = [element("inet", "veths", [veth], undefined, comment)];
  if (endpoint.ipv4 !== undefined) objects.push(element("inet", "sources4", [veth, ip(endpoint.ipv4)], undefined, comment));
  for (const address of [endpoint.ipv6, linkLocal(endpoint.mac)])
    if (address !== undefined) objects.push(element("inet", "sources6", [veth, ip(address)], undefined, comment));
  return objects;
}

function portElements(port: PortMapping, family: Family, address: string, mode: GatewayMode, comment: string): KernelObject[] {
  const bound: Family = port.hostIp.includes(":") ? 6 : 4;
  if (bound !== family) return [];
  const proto = protocol(port.proto);
  // Without address translation a port is published as itself, and the host's number says nothing (Docker's rule).
  if (mode === "routed")
    return [run(port, element("inet", `open${family}`, [ip(address), proto, service(port.containerPort)], undefined, comment))];
  // Relayed by the engine, see chain output.
  if (port.hostIp === "::1") return [];
  const everywhere = port.hostIp === "0.0.0.0" || port.hostIp === "::";
  const target = [ip(address), service(port.containerPort)];
  const objects: KernelObject[] = [
    run(
      port,
      everywhere
        ? element("inet", `ports${family}`, [proto, service(port.hostPort)], target, comment)
        : element("inet", `addresses${family}`, [ip(port.hostIp), proto, service(port.hostPort)], target, comment),
    ),
  ];
  if (port.allow === undefined || port.allow.length === 0) return objects;
  const key = [ip(port.hostIp), proto, service(port.hostPort)];
  objects.push(element("inet", `restricted${family}`, key, undefined, comment));
  for (const [length, source] of steppedPrefixes(port.allow, family))
    objects.push(element("inet", `allow${family}_${length}`, [ip(source), ...key], undefined, comment));
  return objects;
}

const run = ({ count }: PortMapping, first: NftElement): NftElement => (count === undefined ? first : { ...first, count });

/** Prefixes and single addresses of one family as (length, first address), each length a multiple of ALLOW_STEP. */
function steppedPrefixes(allow: readonly string[], family: Family): [number, string][] {
  const bits = bitsOf(family);
  const out = new Map<string, [number, string]>();
  for (const text of allow) {
    const prefix = parsePrefix(text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`);
    if (prefix === undefined || prefix.family !== family) continue;
    const length = Math.ceil(prefix.length / ALLOW_STEP) * ALLOW_STEP;
    const { first, last } = prefixRange(prefix);
    for (let n = first; n <= last; n += 1n << BigInt(bits - length)) out.set(`${n}/${length}`, [length, bigIntToIp(n, family)]);
  }
  return [...out.values()];
}

/** The address that the kernel derives from a MAC (RFC 4291, appendix A: modified EUI-64). */
export function linkLocal(mac: string): string | undefined {
  const m = macToBytes(mac);
  if (m === undefined) return undefined;
  return bytesToIp(Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0]! ^ 2, m[1]!, m[2]!, 0xff, 0xfe, m[3]!, m[4]!, m[5]!));
}

function element(
  family: "inet" | "bridge",
  set: string,
  key: readonly NftValue[],
  data: readonly NftValue[] | undefined,
  comment: string,
): NftElement {
  const base = { kind: "nftElement", ns: HOST_NS, family, table: TABLE, set, key, comment } as const;
  return data === undefined ? base : { ...base, data };
}

const sysctl = (key: string, value: string): Sysctl => ({ kind: "sysctl", ns: HOST_NS, key, value });
const ifname = (value: string): NftValue => ({ type: "ifname", value });
const ether = (value: string): NftValue => ({ type: "ether_addr", value });
const ip = (value: string): NftValue => ({ type: value.includes(":") ? "ipv6_addr" : "ipv4_addr", value });
const protocol = (value: PortMapping["proto"]): NftValue => ({ type: "inet_proto", value });
const service = (value: number): NftValue => ({ type: "inet_service", value });
const verdict = (value: string): NftValue => ({ type: "verdict", value });

function integer128(address: string): NftValue {
  const hex = Array.from(ipToBytes(address)!, (b) => b.toString(16).padStart(2, "0")).join("");
  return { type: "integer128", value: `0x${hex}` };
}

const commentText = (text: string): string => text.replaceAll(/[^A-Za-z0-9_.:/ -]/g, "_").slice(0, 100);
