import type { Family } from "../base/ip.js";

export type DriverName = "bridge" | "host" | "null" | "overlay" | "routed" | "macvlan";

/** IPAM as the user gave it (inspect shows exactly this, plus what was allocated). */
export interface IpamConfig {
  readonly Subnet?: string;
  readonly IPRange?: string;
  readonly Gateway?: string;
  readonly AuxiliaryAddresses?: Readonly<Record<string, string>>;
}

/** An address pool in force. */
export interface Pool {
  readonly family: Family;
  /** "172.18.0.0/16" */
  readonly subnet: string;
  readonly gateway: string;
  readonly ipRange?: string;
  readonly aux: Readonly<Record<string, string>>;
  /** The user named the subnet: only then may endpoints name an address. */
  readonly userSubnet: boolean;
}

export interface Network {
  readonly id: string;
  readonly name: string;
  /** RFC 3339 with nanoseconds */
  readonly created: string;
  readonly driver: DriverName;
  readonly scope: "local" | "global";
  readonly enableIPv6: boolean;
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly ingress: boolean;
  readonly configOnly: boolean;
  readonly configFrom: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  readonly ipamDriver: string;
  readonly ipamOptions: Readonly<Record<string, string>> | null;
  readonly ipamConfig: readonly IpamConfig[];
  readonly pools: readonly Pool[];
  /** bridge driver: the device name ("docker0", "br-<12 hex>") */
  readonly bridgeName?: string;
  /** overlay, routed: the VXLAN network identifier */
  readonly vni?: number;
  /** bridge, host, null as made by the engine itself: cannot be removed */
  readonly predefined: boolean;
  /** bridge driver: number of chained bridge devices (a bridge holds 1,023 ports); absent: 1. Grows with the ports, never shrinks. */
  readonly segments?: number;
}

/**
 * Published ports in force: one per (address family, host address) and run of consecutive ports. A run is one record, as ten thousand
 * ports would be ten thousand records in memory, in the store and on the way to the kernel.
 */
export interface PortMapping {
  readonly proto: "tcp" | "udp" | "sctp";
  readonly containerPort: number;
  /** "0.0.0.0", "::", "127.0.0.1", "192.168.205.10" */
  readonly hostIp: string;
  readonly hostPort: number;
  /** Length of the run, absent: 1. Container and host ports go up together. */
  readonly count?: number;
  /** Source prefixes allowed; empty or absent: everybody. */
  readonly allow?: readonly string[];
}

/** A container's connection to a network while the container runs. Its addresses are taken as long as it exists. */
export interface Endpoint {
  readonly id: string;
  readonly networkId: string;
  readonly sandboxId: string;
  readonly containerId: string;
  /** The container's name, without slash; unique per network */
  readonly name: string;
  /** DNS names besides `name`: aliases and the short id */
  readonly aliases: readonly string[];
  /** `--link` on a user-defined network: alias → container name, private to this endpoint */
  readonly links: Readonly<Record<string, string>>;
  readonly mac: string;
  readonly ipv4?: string;
  readonly ipv6?: string;
  /** `--link-local-ip`: on the interface, besides its address; not in any pool */
  readonly linkLocalIps?: readonly string[];
  /** Inside the container: eth0, eth1 … */
  readonly ifname: string;
  /** On the host: "veth" and 7 hex digits */
  readonly hostIfname: string;
  readonly gatewayPriority: number;
  /** This endpoint carries the sandbox's default route (decided for all endpoints of a sandbox together), per family. */
  readonly defaultRoute4: boolean;
  readonly defaultRoute6: boolean;
  readonly ports: readonly PortMapping[];
  readonly exposedPorts: readonly string[];
  readonly driverOpts: Readonly<Record<string, string>>;
  /** overlay, routed: the host that has it; absent: this one */
  readonly node?: string;
  /** bridge driver: which of the network's bridge devices has the port; absent: 0 */
  readonly segment?: number;
  /** Monotonic per engine: fixes the order of interfaces and of names in answers. */
  readonly sequence: number;
}

/** A network namespace that containers live in: its own, or the host's. */
export interface Sandbox {
  readonly id: string;
  readonly containerId: string;
  /** Name of the pinned namespace, "" for the host's. */
  readonly netns: string;
  /** net.* sysctls of `--sysctl` */
  readonly sysctls: Readonly<Record<string, string>>;
  /** NET_ADMIN or privileged: what happens inside the namespace is the container's own business and is not repaired. */
  readonly selfManaged: boolean;
  /** The next free index N of ethN; only grows while the sandbox lives (Docker's behaviour). */
  readonly nextIfindex: number;
}
