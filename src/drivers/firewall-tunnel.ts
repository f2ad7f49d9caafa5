import type { Endpoint } from "../model/network.js";
import type { KernelObject, NftElement, NftValue } from "../plan/objects.js";
import { HOST_NS } from "../plan/objects.js";
import { peerAddresses } from "./cluster-view.js";
import type { DriverContext } from "./contract.js";
import { antispoofed, portSources } from "./firewall.js";
import { bridgeTable, TABLE } from "./firewall-text.js";

export const DEFAULT_VXLAN_PORT = 4789;

/** Whose packets the tunnels take: those of the cluster's hosts, alive or not (one that comes back may send before its lease is seen). */
export function firewallPeerObjects(ctx: DriverContext): KernelObject[] {
  return peerAddresses(ctx).map((address) =>
    element(address.includes(":") ? "hosts6" : "hosts4", {
      type: address.includes(":") ? "ipv6_addr" : "ipv4_addr",
      value: address,
    }),
  );
}

/** Closes the port to all others: wanted by every network that has a tunnel here, before the tunnel is there. */
export function firewallTunnelObject(ctx: DriverContext): NftElement {
  return { ...element("tunnels", { type: "inet_service", value: ctx.vxlanPort ?? DEFAULT_VXLAN_PORT }), restricts: true };
}

/** An overlay's namespace has the same rules as a bridge of the host: what comes out of a port has that endpoint's MAC and addresses. */
export function firewallOverlayObjects(ns: string, tunnel: string, options: Readonly<Record<string, string>>): KernelObject[] {
  // With br_netfilter on, each packet walks the IP hooks of the namespace too, where nothing is.
  const sysctls = ["iptables", "ip6tables", "arptables"].map(
    (name): KernelObject => ({ kind: "sysctl", ns, key: `net.bridge.bridge-nf-call-${name}`, value: "0" }),
  );
  return antispoofed({ options }) ? [...sysctls, { ...bridgeTable(tunnel), ns }] : sysctls;
}

export function firewallOverlayEndpoint(
  ns: string,
  endpoint: Endpoint,
  options: Readonly<Record<string, string>>,
): KernelObject[] {
  if (!antispoofed({ options })) return [];
  return portSources(endpoint, endpoint.name.replaceAll(/[^A-Za-z0-9_.:/ -]/g, "_").slice(0, 100)).map((o) => ({ ...o, ns }));
}

const element = (set: string, key: NftValue): NftElement => ({
  kind: "nftElement",
  ns: HOST_NS,
  family: "inet",
  table: TABLE,
  set,
  key: [key],
});
