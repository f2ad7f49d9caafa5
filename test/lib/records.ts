import type { Endpoint, Network } from "../../src/model/network.js";
import { plainNetwork } from "../../src/model/network-defaults.js";

/** A network as the model keeps it; a bridge of one host, without addresses, unless told otherwise. */
export function networkRecord(over: Partial<Network> & Pick<Network, "id" | "name">): Network {
  return { ...plainNetwork(over.id, "2026-01-01T00:00:00Z"), driver: "bridge", ...over };
}

/** An endpoint as the model keeps it; on a network, but without an address of it, unless told otherwise. */
export function endpointRecord(over: Partial<Endpoint> & Pick<Endpoint, "id" | "networkId" | "name">): Endpoint {
  return {
    sandboxId: `s${over.id}`,
    containerId: `c${over.id}`,
    aliases: [],
    links: {},
    mac: "02:42:0a:00:00:02",
    ifname: "eth0",
    hostIfname: "veth0000001",
    gatewayPriority: 0,
    defaultRoute4: false,
    defaultRoute6: false,
    ports: [],
    exposedPorts: [],
    driverOpts: {},
    sequence: 1,
    ...over,
  };
}
