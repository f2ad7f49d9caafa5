export { AddressSpace } from "./address-space.js";
export { applyChanges, emptyState, inverseOf } from "./apply.js";
export { blockRemovals, blocksOfNetwork, claimBlocks } from "./blocks.js";
export * from "./bridge-options.js";
export * from "./connect-rules.js";
export type * from "./container.js";
export * from "./container-defaults.js";
export * from "./decide-endpoint.js";
export * from "./decide-network.js";
export { electDefaultRoutes, hasGateway } from "./default-route.js";
export {
  endpointOf,
  endpointsOfContainer,
  endpointsOfNetwork,
  endpointsOfSandbox,
  type Indexes,
  type ModelState,
  sandboxOfContainer,
} from "./indexes.js";
export { type AddressPool, broadcastOf, decidePools, GLOBAL_ADDRESS_POOLS, LOCAL_ADDRESS_POOLS } from "./ipam.js";
export type * from "./network.js";
export { plainNetwork } from "./network-defaults.js";
export { filterNetworks, hasLabel, listNetworks, pruneSelection, resolveNetwork } from "./network-query.js";
export { type DefaultBridgeSettings, decidePredefined, type PredefinedInputs } from "./predefined.js";
export type * from "./state.js";
export { linkTargets } from "./touched.js";
