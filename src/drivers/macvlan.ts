import { bridgeOptionsOf } from "../model/bridge-options.js";
import type { Endpoint, Network, Sandbox } from "../model/network.js";
import { HOST_NS, type KernelObject } from "../plan/objects.js";
import { interfaceObjects } from "./bridge.js";
import type { Driver, DriverContext } from "./contract.js";

/**
 * Containers with a MAC and an address of their own on the LAN of a host's interface. There is nothing on the host but that interface,
 * which is not ours; what fences containers from each other is the LAN's business.
 */
export const macvlanDriver: Driver = { networkObjects: () => [], endpointObjects };

function endpointObjects(network: Network, endpoint: Endpoint, sandbox: Sandbox, ctx: DriverContext): readonly KernelObject[] {
  return [
    {
      kind: "link",
      ns: sandbox.netns,
      type: "macvlan",
      name: endpoint.ifname,
      mac: endpoint.mac,
      mtu: bridgeOptionsOf(network).mtu ?? ctx.uplinkMtu,
      up: true,
      parent: network.options["parent"] ?? "",
      parentNs: HOST_NS,
      mode: modeOf(network),
    },
    ...interfaceObjects(network, endpoint, sandbox, ctx),
  ];
}

function modeOf(network: Network): "bridge" | "private" | "vepa" | "passthru" {
  const mode = network.options["macvlan_mode"];
  return mode === "private" || mode === "vepa" || mode === "passthru" ? mode : "bridge";
}
