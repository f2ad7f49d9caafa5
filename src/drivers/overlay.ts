import { bridgeOptionsOf } from "../model/bridge-options.js";
import type { Endpoint, Network, Sandbox } from "../model/network.js";
import { HOST_NS, type KernelObject } from "../plan/objects.js";
import { interfaceObjects } from "./bridge.js";
import { nodeAddress } from "./cluster-view.js";
import type { Driver, DriverContext } from "./contract.js";
import { DEFAULT_VXLAN_PORT, firewallOverlayEndpoint, firewallOverlayObjects, firewallTunnelObject } from "./firewall-tunnel.js";

/** Bytes that VXLAN puts around a frame: outer Ethernet 14, IPv4 20 (IPv6 40), UDP 8, VXLAN 8 (RFC 7348). */
const OVERHEAD_V4 = 50;
const OVERHEAD_V6 = 70;
const BRIDGE = "br0";
const VXLAN = "vxlan0";

/**
 * One namespace per overlay network on each host that has endpoints of it, with a bridge and a VXLAN device. Nothing is learned and nothing is
 * flooded across hosts: for every endpoint elsewhere there is one permanent forwarding entry (its MAC → its host) and one neighbour entry
 * (its address → its MAC) by which the VXLAN device answers ARP and ND itself. Both are functions of the store, replaced, never appended.
 */
export const overlayDriver: Driver = { networkObjects, endpointObjects };

/** The namespace's name: pinned like a container's. */
export const overlayNs = (network: Network): string => `ov-${network.id.slice(0, 12)}`;

/** Does this host have endpoints of the network? Only then is there anything of it in this kernel. */
export function isPresent(network: Network, ctx: DriverContext): boolean {
  return (ctx.state?.index.portsBySegment.get(network.id)?.size ?? 0) > 0;
}

function networkObjects(network: Network, ctx: DriverContext): readonly KernelObject[] {
  if (!isPresent(network, ctx) || network.vni === undefined) return [];
  const ns = overlayNs(network);
  const mtu = mtuOf(network, ctx);
  const out: KernelObject[] = [
    firewallTunnelObject(ctx),
    { kind: "netns", name: ns },
    { kind: "link", ns, type: "loopback", name: "lo", up: true },
    { kind: "link", ns, type: "bridge", name: BRIDGE, mtu, up: true, mcastSnooping: false },
    {
      kind: "link",
      ns,
      type: "vxlan",
      name: VXLAN,
      mtu,
      up: true,
      master: BRIDGE,
      underlayNs: HOST_NS,
      vni: network.vni,
      dstPort: ctx.vxlanPort ?? DEFAULT_VXLAN_PORT,
      ...(ctx.underlayAddress === undefined ? {} : { local: ctx.underlayAddress }),
      learning: false,
      proxy: true,
      port: { learning: false },
    },
    ...firewallOverlayObjects(ns, VXLAN, network.options),
  ];
  for (const pool of network.pools)
    if (pool.gateway !== "")
      out.push({
        kind: "addr",
        ns,
        dev: BRIDGE,
        address: `${pool.gateway}/${pool.subnet.split("/")[1]}`,
        ...(pool.family === 6 ? { nodad: true } : {}),
      });
  return out;
}

function endpointObjects(network: Network, endpoint: Endpoint, sandbox: Sandbox, ctx: DriverContext): readonly KernelObject[] {
  const ns = overlayNs(network);
  const mtu = mtuOf(network, ctx);
  return [
    {
      kind: "link",
      ns,
      type: "veth",
      name: endpoint.hostIfname,
      mtu,
      up: true,
      master: BRIDGE,
      // Only frames with the endpoint's own MAC come in: its static entry below is the one that a locked port accepts.
      // What the bridge does not know is elsewhere: it goes into the tunnel, not to all the other containers.
      port: { learning: false, locked: true, flood: false },
      peer: { ns: sandbox.netns, name: endpoint.ifname, mac: endpoint.mac, up: true, mtu },
    },
    { kind: "fdb", ns, dev: endpoint.hostIfname, mac: endpoint.mac, master: true },
    ...firewallOverlayEndpoint(ns, endpoint, network.options),
    ...interfaceObjects(network, endpoint, sandbox, ctx),
  ];
}

/** What one endpoint of another host is here: where its MAC is, and which MAC has its addresses. */
export function remoteEndpointObjects(network: Network, endpoint: Endpoint, ctx: DriverContext): readonly KernelObject[] {
  if (!isPresent(network, ctx)) return [];
  const dst = nodeAddress(ctx, endpoint.node);
  if (dst === undefined) return [];
  const ns = overlayNs(network);
  const out: KernelObject[] = [{ kind: "fdb", ns, dev: VXLAN, mac: endpoint.mac, dst }];
  for (const ip of [endpoint.ipv4, ctx.hostHasIPv6 ? endpoint.ipv6 : undefined])
    if (ip !== undefined) out.push({ kind: "neigh", ns, dev: VXLAN, ip, mac: endpoint.mac });
  return out;
}

/** The network's own MTU is that of the underlay (Docker's meaning of the option): what the container gets is less the tunnel's bytes. */
function mtuOf(network: Network, ctx: DriverContext): number {
  const underlay = bridgeOptionsOf(network).mtu ?? ctx.underlayMtu ?? ctx.uplinkMtu;
  return underlay - (ctx.underlayAddress?.includes(":") ? OVERHEAD_V6 : OVERHEAD_V4);
}
