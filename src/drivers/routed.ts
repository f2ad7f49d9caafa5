import { parsePrefix } from "../base/ip.js";
import { bridgeOptionsOf } from "../model/bridge-options.js";
import type { Endpoint, Network, Sandbox } from "../model/network.js";
import { HOST_NS, type KernelObject } from "../plan/objects.js";
import { blocksOf, nodeAddress, onLink } from "./cluster-view.js";
import type { Driver, DriverContext } from "./contract.js";
import { DEFAULT_VXLAN_PORT, firewallTunnelObject } from "./firewall-tunnel.js";

/** Every container's next hop: an address that nobody has, answered by the host's end of the veth pair (Calico's arrangement). */
export const GATEWAY_V4 = "169.254.1.1";
export const GATEWAY_V6 = "fe80::1";
/** The MAC of every host end: containers may move between hosts without a stale neighbour entry. */
export const HOST_MAC = "ee:ee:ee:ee:ee:ee";
const VXLAN_OVERHEAD = 50;

export type RoutedMode = "auto" | "host-gw" | "vxlan";
export const routedMode = (network: Network): RoutedMode =>
  (network.options["mode"] ?? network.options["linkspan.routed.mode"] ?? "auto") as RoutedMode;

/**
 * No bridge: each container has a /32 (and /128) on a point-to-point veth pair, the host routes. Each host owns blocks of the network's subnet; the
 * blocks of others are reached directly (host-gw) where the other host is on a common link, through one VXLAN device per network elsewhere.
 */
export const routedDriver: Driver = { networkObjects, endpointObjects };

function networkObjects(network: Network, ctx: DriverContext): readonly KernelObject[] {
  const blocks = blocksOf(ctx, network.id);
  const own: string[] = [];
  const others: { readonly block: string; readonly node: string; readonly address: string }[] = [];
  for (const [block, node] of blocks) {
    if (node === ctx.nodeId) own.push(block);
    else {
      const address = nodeAddress(ctx, node);
      if (address !== undefined) others.push({ block, node, address });
    }
  }
  const out: KernelObject[] = [{ kind: "sysctl", ns: HOST_NS, key: "net.ipv4.ip_forward", value: "1" }];
  if (network.enableIPv6 && ctx.hostHasIPv6)
    out.push({ kind: "sysctl", ns: HOST_NS, key: "net.ipv6.conf.all.forwarding", value: "1" });
  // An address of ours that no container has goes nowhere; without this it would follow the default route and come back.
  for (const block of own) out.push({ kind: "route", ns: HOST_NS, dst: block, type: "blackhole" });
  const tunnelled = others.filter((o) => throughTunnel(network, o, ctx));
  if (tunnelled.length > 0 || (own.length > 0 && routedMode(network) === "vxlan")) out.push(...tunnelObjects(network, own, ctx));
  for (const { block, node, address } of others) {
    if (!throughTunnel(network, { block, address }, ctx)) {
      out.push({ kind: "route", ns: HOST_NS, dst: block, via: address, ...device(ctx, address) });
      continue;
    }
    const dev = tunnelName(network);
    const hop = blockAddress(block);
    const mac = tunnelMac(network, node);
    out.push(
      { kind: "route", ns: HOST_NS, dst: block, via: hop, dev, onlink: true },
      { kind: "neigh", ns: HOST_NS, dev, ip: hop, mac },
    );
  }
  const peers = new Map(tunnelled.map((o) => [o.node, o.address]));
  for (const [node, address] of peers)
    out.push({ kind: "fdb", ns: HOST_NS, dev: tunnelName(network), mac: tunnelMac(network, node), dst: address });
  return out;
}

function tunnelObjects(network: Network, own: readonly string[], ctx: DriverContext): KernelObject[] {
  const dev = tunnelName(network);
  const out: KernelObject[] = [
    firewallTunnelObject(ctx),
    {
      kind: "link",
      ns: HOST_NS,
      type: "vxlan",
      name: dev,
      mtu: (ctx.underlayMtu ?? ctx.uplinkMtu) - VXLAN_OVERHEAD,
      mac: tunnelMac(network, ctx.nodeId ?? ""),
      up: true,
      underlayNs: HOST_NS,
      vni: network.vni ?? 1,
      dstPort: ctx.vxlanPort ?? DEFAULT_VXLAN_PORT,
      ...(ctx.underlayAddress === undefined ? {} : { local: ctx.underlayAddress }),
      learning: false,
    },
  ];
  // The block's first address is the host's own on the tunnel: source of what the host itself sends to containers elsewhere.
  for (const block of own)
    out.push({
      kind: "addr",
      ns: HOST_NS,
      dev,
      address: `${blockAddress(block)}/${block.includes(":") ? 128 : 32}`,
      ...(block.includes(":") ? { nodad: true } : {}),
    });
  return out;
}

function endpointObjects(network: Network, endpoint: Endpoint, sandbox: Sandbox, ctx: DriverContext): readonly KernelObject[] {
  const ns = sandbox.netns;
  const dev = endpoint.ifname;
  const host = endpoint.hostIfname;
  const mtu = mtuOf(network, ctx);
  const out: KernelObject[] = [
    {
      kind: "link",
      ns: HOST_NS,
      type: "veth",
      name: host,
      mac: HOST_MAC,
      mtu,
      up: true,
      peer: { ns, name: dev, mac: endpoint.mac, up: true, mtu },
    },
  ];
  if (endpoint.ipv4 !== undefined) {
    out.push(
      { kind: "sysctl", ns: HOST_NS, key: `net.ipv4.conf.${host}.proxy_arp`, value: "1" },
      { kind: "sysctl", ns: HOST_NS, key: `net.ipv4.conf.${host}.rp_filter`, value: "1" },
      { kind: "addr", ns, dev, address: `${endpoint.ipv4}/32` },
      { kind: "neigh", ns, dev, ip: GATEWAY_V4, mac: HOST_MAC },
      { kind: "route", ns: HOST_NS, dst: `${endpoint.ipv4}/32`, dev: host },
    );
    // There can be one route to the next hop; interfaces besides the one with the default route do without.
    if (endpoint.defaultRoute4)
      out.push(
        { kind: "route", ns, dst: `${GATEWAY_V4}/32`, dev },
        { kind: "route", ns, dst: "0.0.0.0/0", via: GATEWAY_V4, dev },
      );
    else
      out.push(
        ...network.pools
          .filter((p) => p.family === 4)
          .map((p): KernelObject => ({ kind: "route", ns, dst: p.subnet, via: GATEWAY_V4, dev, onlink: true })),
      );
  }
  if (endpoint.ipv6 !== undefined && ctx.hostHasIPv6) {
    for (const name of ["lo", dev]) out.push({ kind: "sysctl", ns, key: `net.ipv6.conf.${name}.disable_ipv6`, value: "0" });
    out.push(
      { kind: "sysctl", ns: HOST_NS, key: `net.ipv6.conf.${host}.disable_ipv6`, value: "0" },
      { kind: "sysctl", ns: HOST_NS, key: `net.ipv6.conf.${host}.accept_ra`, value: "0" },
      { kind: "addr", ns: HOST_NS, dev: host, address: `${GATEWAY_V6}/64`, nodad: true },
      { kind: "addr", ns, dev, address: `${endpoint.ipv6}/128`, nodad: true },
      { kind: "neigh", ns, dev, ip: GATEWAY_V6, mac: HOST_MAC },
      { kind: "route", ns: HOST_NS, dst: `${endpoint.ipv6}/128`, dev: host },
    );
    if (endpoint.defaultRoute6) out.push({ kind: "route", ns, dst: "::/0", via: GATEWAY_V6, dev });
    else
      out.push(
        ...network.pools
          .filter((p) => p.family === 6)
          .map((p): KernelObject => ({ kind: "route", ns, dst: p.subnet, via: GATEWAY_V6, dev })),
      );
  }
  return out;
}

function throughTunnel(
  network: Network,
  peer: { readonly block: string; readonly address: string },
  ctx: DriverContext,
): boolean {
  const { block, address } = peer;
  // A next hop is of its destination's family: IPv6 over an underlay of IPv4 goes through the tunnel whatever the mode, and the other way round.
  if (block.includes(":") !== address.includes(":")) return true;
  switch (routedMode(network)) {
    case "host-gw":
      return false;
    case "vxlan":
      return true;
    case "auto":
      return !onLink(ctx, address);
  }
}

const device = (ctx: DriverContext, address: string): { readonly dev?: string } => {
  const dev = ctx.deviceTowards?.(address);
  return dev === undefined ? {} : { dev };
};

const tunnelName = (network: Network): string => `lsv-${network.id.slice(0, 10)}`;

/** Stable, and different for every pair of network and host: the first bytes of both (random) ids. */
function tunnelMac(network: Network, nodeId: string): string {
  const bytes = `${network.id.slice(0, 4)}${nodeId.padEnd(6, "0").slice(0, 6)}`.match(/../g)!;
  return ["02", ...bytes].join(":");
}

function blockAddress(block: string): string {
  return parsePrefix(block)!.address;
}

/** Where the network may need the tunnel, containers get its smaller MTU from the start: the way of a peer can change. */
function mtuOf(network: Network, ctx: DriverContext): number {
  const underlay = bridgeOptionsOf(network).mtu ?? ctx.underlayMtu ?? ctx.uplinkMtu;
  return routedMode(network) === "host-gw" ? underlay : underlay - VXLAN_OVERHEAD;
}
