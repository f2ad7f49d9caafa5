import type { Network } from "../model/network.js";

/** How a network's addresses are seen from outside; Docker's words for `com.docker.network.bridge.gateway_mode_ipv4` and `_ipv6`. */
export type GatewayMode = "nat" | "nat-unprotected" | "routed" | "isolated";

/** What a bridge network's options ask of the firewall. */
export interface FirewallOptions {
  /** Endpoints of the network may talk to each other. */
  readonly icc: boolean;
  /** What leaves for elsewhere gets an address of the host. */
  readonly masquerade: boolean;
  readonly mode4: GatewayMode;
  readonly mode6: GatewayMode;
  /** Fixed source addresses instead of the outgoing interface's own. */
  readonly hostIpv4?: string;
  readonly hostIpv6?: string;
  /** Frames with another's MAC, IP, ARP or ND are dropped. Ours, not Docker's: "linkspan.antispoof". */
  readonly antispoof: boolean;
}

/** Where `-p 80:80` binds when it names no address; absent means everywhere, in both families. */
export function defaultBindingIp(network: Network): string | undefined {
  const value = network.options["com.docker.network.bridge.host_binding_ipv4"];
  return value === undefined || value === "" || value === "0.0.0.0" ? undefined : value;
}

export function firewallOptions(network: Network): FirewallOptions {
  const option = (name: string) => network.options[name];
  const hostIpv4 = option("com.docker.network.host_ipv4");
  const hostIpv6 = option("com.docker.network.host_ipv6");
  return {
    icc: flag(option("com.docker.network.bridge.enable_icc"), true),
    masquerade: flag(option("com.docker.network.bridge.enable_ip_masquerade"), true),
    mode4: gatewayMode(option("com.docker.network.bridge.gateway_mode_ipv4")),
    mode6: gatewayMode(option("com.docker.network.bridge.gateway_mode_ipv6")),
    ...(hostIpv4 ? { hostIpv4 } : {}),
    ...(hostIpv6 ? { hostIpv6 } : {}),
    antispoof: flag(option("linkspan.antispoof"), true),
  };
}

/** Go's strconv.ParseBool, which Docker reads its options with; what it cannot read was refused when the network was made. */
export function flag(text: string | undefined, otherwise: boolean): boolean {
  if (text === undefined || text === "") return otherwise;
  return !["0", "f", "F", "false", "FALSE", "False"].includes(text);
}

function gatewayMode(text: string | undefined): GatewayMode {
  return text === "nat-unprotected" || text === "routed" || text === "isolated" ? text : "nat";
}
