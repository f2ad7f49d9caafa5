import { parsePrefix } from "../base/ip.js";
import { type BridgeOptions, bridgeOptionsOf } from "../model/bridge-options.js";
import { broadcastOf } from "../model/ipam.js";
import type { Endpoint, Network, Pool, Sandbox } from "../model/network.js";
import { type Address, HOST_NS, type KernelObject, type Link, type PortFlags } from "../plan/objects.js";
import type { Driver, DriverContext } from "./contract.js";

/** A Linux bridge per network, a veth pair per endpoint: Docker's "bridge". */
export const bridgeDriver: Driver = { networkObjects, endpointObjects };

function networkObjects(network: Network, ctx: DriverContext): readonly KernelObject[] {
  const options = bridgeOptionsOf(network);
  const mtu = mtuOf(options, ctx);
  const out: KernelObject[] = [];
  for (let segment = 0; segment < (network.segments ?? 1); segment++) out.push(...segmentLinks(network, segment, mtu, options));
  const name = segmentName(network, 0);
  out.push(...bridgeSysctls(network, name, ctx));
  for (const pool of network.pools) if (hasHostAddress(pool, options)) out.push(addressOf(HOST_NS, name, pool.gateway, pool));
  return out;
}

/** The devices of one segment. All but the first hang on the first by a veth pair: one broadcast domain with more than 1,023 ports. */
function segmentLinks(network: Network, segment: number, mtu: number, options: BridgeOptions): Link[] {
  const name = segmentName(network, segment);
  const bridge: Link = { kind: "link", ns: HOST_NS, type: "bridge", name, mtu, mac: bridgeMac(network, segment), up: true };
  if (segment === 0) return [bridge];
  const trunk = trunkNames(network, segment);
  return [
    bridge,
    {
      kind: "link",
      ns: HOST_NS,
      type: "veth",
      name: trunk.up,
      mtu,
      up: true,
      master: segmentName(network, 0),
      // Without icc, ports do not hear each other: neither may they through the trunk. The far end stays open, or nobody there
      // would reach the gateway.
      ...(options.enableIcc ? {} : { port: { isolated: true } }),
      peer: { ns: HOST_NS, name: trunk.down, up: true, mtu, master: name },
    },
  ];
}

function bridgeSysctls(network: Network, name: string, ctx: DriverContext): KernelObject[] {
  if (!ctx.hostHasIPv6) return [];
  const key = (leaf: string) => `net.ipv6.conf.${name.replaceAll(".", "/")}.${leaf}`;
  // A bridge without IPv6 has no link-local address either: it would be a way from the containers into the host that nobody asked for.
  if (!network.enableIPv6) return [{ kind: "sysctl", ns: HOST_NS, key: key("disable_ipv6"), value: "1" }];
  return [
    { kind: "sysctl", ns: HOST_NS, key: key("disable_ipv6"), value: "0" },
    // The host must not take routes from a container's router advertisements.
    { kind: "sysctl", ns: HOST_NS, key: key("accept_ra"), value: "0" },
  ];
}

function endpointObjects(network: Network, endpoint: Endpoint, sandbox: Sandbox, ctx: DriverContext): readonly KernelObject[] {
  const options = bridgeOptionsOf(network);
  const port: PortFlags | undefined = options.enableIcc ? undefined : { isolated: true };
  const veth: Link = {
    kind: "link",
    ns: HOST_NS,
    type: "veth",
    name: endpoint.hostIfname,
    mtu: mtuOf(options, ctx),
    up: true,
    master: segmentName(network, endpoint.segment ?? 0),
    ...(port === undefined ? {} : { port }),
    peer: { ns: sandbox.netns, name: endpoint.ifname, mac: endpoint.mac, up: true, mtu: mtuOf(options, ctx) },
  };
  return [veth, ...interfaceObjects(network, endpoint, sandbox, ctx)];
}

/** What a container's interface carries besides the link itself: IPv6 switched on, addresses, default routes. */
export function interfaceObjects(
  network: Network,
  endpoint: Endpoint,
  sandbox: Sandbox,
  ctx: DriverContext,
): readonly KernelObject[] {
  const ns = sandbox.netns;
  const dev = endpoint.ifname;
  const out: KernelObject[] = [];
  const ipv6 = ctx.hostHasIPv6 ? endpoint.ipv6 : undefined;
  if (ipv6 !== undefined)
    for (const name of ["lo", dev.replaceAll(".", "/")])
      out.push({ kind: "sysctl", ns, key: `net.ipv6.conf.${name}.disable_ipv6`, value: "0" });
  out.push(...endpointSysctls(endpoint, ns));
  for (const [address, isDefault] of [
    [endpoint.ipv4, endpoint.defaultRoute4],
    [ipv6, endpoint.defaultRoute6],
  ] as const) {
    const pool = address === undefined ? undefined : poolOf(network, address);
    if (address === undefined || pool === undefined) continue;
    out.push(addressOf(ns, dev, address, pool));
    if (isDefault) out.push({ kind: "route", ns, dst: pool.family === 4 ? "0.0.0.0/0" : "::/0", via: pool.gateway, dev });
  }
  for (const address of endpoint.linkLocalIps ?? [])
    if (!address.includes(":")) out.push({ kind: "addr", ns, dev, address: `${address}/16`, broadcast: "169.254.255.255" });
    else if (ipv6 !== undefined) out.push({ kind: "addr", ns, dev, address: `${address}/64` });
  return out;
}

/** `--driver-opt com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1,…`; other keys were refused at the edge. */
function endpointSysctls(endpoint: Endpoint, ns: string): KernelObject[] {
  const text = endpoint.driverOpts["com.docker.network.endpoint.sysctls"];
  if (text === undefined) return [];
  return text.split(",").flatMap((item): KernelObject[] => {
    const eq = item.indexOf("=");
    // In `--network name=…,driver-opt=…` the docker CLI makes all of it lower case.
    const key = item
      .slice(0, eq)
      .trim()
      .replace(/(?<=\.)IFNAME(?=\.)/i, endpoint.ifname.replaceAll(".", "/"));
    return eq > 0 && /^net\.[A-Za-z0-9_./-]+$/.test(key) ? [{ kind: "sysctl", ns, key, value: item.slice(eq + 1).trim() }] : [];
  });
}

export function poolOf(network: Network, address: string): Pool | undefined {
  const family = address.includes(":") ? 6 : 4;
  return network.pools.find((p) => p.family === family);
}

function addressOf(ns: string, dev: string, address: string, pool: Pool): Address {
  const broadcast = broadcastOf(pool.subnet);
  return {
    kind: "addr",
    ns,
    dev,
    address: `${address}/${parsePrefix(pool.subnet)!.length}`,
    ...(broadcast === undefined ? {} : { broadcast }),
    // Addresses come from the pool, so nobody else has them; without this they would be unusable for a second.
    ...(pool.family === 6 ? { nodad: true } : {}),
  };
}

function hasHostAddress(pool: Pool, options: BridgeOptions): boolean {
  if (pool.gateway === "") return false;
  if (pool.family === 4) return !options.inhibitIpv4 && options.gatewayModeIpv4 !== "isolated";
  return options.gatewayModeIpv6 !== "isolated";
}

const mtuOf = (options: BridgeOptions, ctx: DriverContext): number => options.mtu ?? ctx.uplinkMtu;

/** The device of a segment: the network's own name for the first, "b1-<12 hex>" … for those that were added. */
export function segmentName(network: Network, segment: number): string {
  if (segment === 0) return network.bridgeName ?? `br-${network.id.slice(0, 12)}`;
  return `b${segment.toString(36)}-${network.id.slice(0, 11)}`;
}

/** The veth pair between the first segment ("u…") and another ("d…"). */
export function trunkNames(network: Network, segment: number): { readonly up: string; readonly down: string } {
  const tail = `${segment.toString(36)}-${network.id.slice(0, 11)}`;
  return { up: `u${tail}`, down: `d${tail}` };
}

/** Stable across restarts: containers keep it in their neighbour caches. Ids are random, so their first bytes do as a hash. */
function bridgeMac(network: Network, segment: number): string {
  const bytes = network.id.slice(0, 6).match(/../g)!;
  const last = (Number.parseInt(network.id.slice(6, 8), 16) + segment) & 255;
  return ["02", "42", ...bytes, last.toString(16).padStart(2, "0")].join(":");
}
