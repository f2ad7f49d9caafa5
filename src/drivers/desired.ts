import { unreachable } from "../base/result.js";
import type { ModelState } from "../model/indexes.js";
import type { Network } from "../model/network.js";
import { linkTargets } from "../model/touched.js";
import type { KernelObject } from "../plan/objects.js";
import { bridgeDriver } from "./bridge.js";
import type { Driver, DriverContext } from "./contract.js";
import { firewallEndpointObjects, firewallHostObjects, firewallLinkObjects, firewallNetworkObjects } from "./firewall.js";
import { firewallPeerObjects } from "./firewall-tunnel.js";
import { hostDriver } from "./host.js";
import { macvlanDriver } from "./macvlan.js";
import { nullDriver } from "./null.js";
import { overlayDriver, remoteEndpointObjects } from "./overlay.js";
import { routedDriver } from "./routed.js";
import { sandboxObjects } from "./sandbox.js";

/** "host", "network:<id>", "sandbox:<id>" or "endpoint:<id>": every kernel object that we make has one. */
export type Owner = string;

/**
 * What an owner should have in the kernel. Nothing, if the model does not have the owner (any more): so a scope is planned by the
 * owners that a decision names, before and after it. Costs no more than that owner's own objects.
 */
export function desiredOf(owner: Owner, state: ModelState, ctx: DriverContext): readonly KernelObject[] {
  const colon = owner.indexOf(":");
  const id = owner.slice(colon + 1);
  switch (colon < 0 ? owner : owner.slice(0, colon)) {
    case "host":
      return [...firewallHostObjects(ctx), ...firewallPeerObjects(withState(ctx, state))];
    case "network": {
      const network = state.networks.get(id);
      if (network === undefined) return [];
      const own = driverOf(network).networkObjects(network, withState(ctx, state));
      return [...own, ...firewallNetworkObjects(network, ctx)];
    }
    case "sandbox": {
      const sandbox = state.sandboxes.get(id);
      return sandbox === undefined ? [] : sandboxObjects(sandbox, ctx);
    }
    case "endpoint":
      return endpointObjects(id, state, ctx);
    default:
      return [];
  }
}

/** All owners that the model has, "host" first. */
export function allOwners(state: ModelState): readonly Owner[] {
  return [
    "host",
    ...Array.from(state.networks.keys(), (id) => `network:${id}`),
    ...Array.from(state.sandboxes.keys(), (id) => `sandbox:${id}`),
    ...Array.from(state.endpoints.keys(), (id) => `endpoint:${id}`),
  ];
}

/** Everything that should be in the kernel. */
export function desiredAll(state: ModelState, ctx: DriverContext): readonly KernelObject[] {
  return allOwners(state).flatMap((owner) => desiredOf(owner, state, ctx));
}

function endpointObjects(id: string, state: ModelState, ctx: DriverContext): readonly KernelObject[] {
  const endpoint = state.endpoints.get(id);
  const network = endpoint === undefined ? undefined : state.networks.get(endpoint.networkId);
  if (endpoint !== undefined && network?.driver === "overlay" && endpoint.node !== undefined)
    return remoteEndpointObjects(network, endpoint, withState(ctx, state));
  const sandbox = endpoint === undefined ? undefined : state.sandboxes.get(endpoint.sandboxId);
  // An endpoint of another host has no sandbox here: an overlay draws forwarding entries from it, others nothing.
  if (endpoint === undefined || network === undefined || sandbox === undefined || endpoint.node !== undefined) return [];
  const own = driverOf(network).endpointObjects(network, endpoint, sandbox, withState(ctx, state));
  const links = linkTargets(state, network, endpoint).flatMap((target) => firewallLinkObjects(endpoint, target));
  return [...own, ...firewallEndpointObjects(network, endpoint, ctx), ...links];
}

function driverOf(network: Network): Driver {
  switch (network.driver) {
    case "bridge":
      return bridgeDriver;
    case "host":
      return hostDriver;
    case "null":
      return nullDriver;
    case "overlay":
      return overlayDriver;
    case "routed":
      return routedDriver;
    case "macvlan":
      return macvlanDriver;
    default:
      return unreachable(network.driver);
  }
}

const withState = (ctx: DriverContext, state: ModelState): DriverContext => (ctx.state === state ? ctx : { ...ctx, state });

/**
 * Owners besides those that a decision names whose objects change with it: when a host gets its first endpoint of an overlay or loses its last one,
 * all the network's remote endpoints appear or go with it; when a host of the cluster changes its address, everything that leads there does.
 */
export function ownersOfNetworkWhole(state: ModelState, networkId: string): readonly Owner[] {
  return [
    `network:${networkId}`,
    ...Array.from(state.index.endpointsByNetwork.get(networkId)?.keys() ?? [], (id) => `endpoint:${id}`),
  ];
}
