import type { Network } from "./network.js";

/** A network of one host that nothing was asked of: what a decision or a test adds its own to. */
export function plainNetwork(id: string, created: string): Omit<Network, "name" | "driver"> {
  return {
    id,
    created,
    scope: "local",
    enableIPv6: false,
    internal: false,
    attachable: false,
    ingress: false,
    configOnly: false,
    configFrom: "",
    labels: {},
    options: {},
    ipamDriver: "default",
    ipamOptions: null,
    ipamConfig: [],
    pools: [],
    predefined: false,
  };
}
