import type { ModelState } from "../model/indexes.js";
import type { Endpoint, Network, Sandbox } from "../model/network.js";
import type { KernelObject } from "../plan/objects.js";
import type { FirewallContext } from "./firewall.js";

/** What drivers need to know of the host besides the model. Read at start, and again when the uplink changes. */
export interface DriverContext extends FirewallContext {
  /** Tag of this engine instance, [a-z0-9]+: part of the names of tables, so that several engines can share a kernel. */
  readonly instance: string;
  /** MTU of the interface with the default route, in bytes. Networks follow it unless they name their own. */
  readonly uplinkMtu: number;
  /** The kernel has IPv6 (/proc/sys/net/ipv6 exists). */
  readonly hostHasIPv6: boolean;
  /** This host's identity in the cluster; absent without a cluster store. */
  readonly nodeId?: string;
  /** Where this host's tunnels end: the address of --cluster-advertise. */
  readonly underlayAddress?: string;
  /** MTU of the interface that carries the underlay address, in bytes. */
  readonly underlayMtu?: number;
  /** UDP port of VXLAN; 4789 unless set. */
  readonly vxlanPort?: number;
  /** Subnets of the host's own links ("192.168.205.0/24"): whose addresses can be next hops. */
  readonly connectedSubnets?: readonly string[];
  /** The link on whose subnet an address is, if there is one. */
  readonly deviceTowards?: (address: string) => string | undefined;
  /** Set by desiredOf: for drivers that derive objects from other endpoints (overlay: FDB and neighbours). */
  readonly state?: ModelState;
}

/**
 * One network driver: pure functions from the model to kernel objects. Deleting is absence: what a driver no longer returns goes away.
 * An object belongs to exactly one owner; shared things (bridge devices) belong to the network.
 */
export interface Driver {
  networkObjects(network: Network, ctx: DriverContext): readonly KernelObject[];
  endpointObjects(network: Network, endpoint: Endpoint, sandbox: Sandbox, ctx: DriverContext): readonly KernelObject[];
}
