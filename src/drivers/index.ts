export { bridgeDriver, interfaceObjects, segmentName, trunkNames } from "./bridge.js";
export { peerAddresses } from "./cluster-view.js";
export type { Driver, DriverContext } from "./contract.js";
export { allOwners, desiredAll, desiredOf, type Owner, ownersOfNetworkWhole } from "./desired.js";
export { isPresent, overlayNs } from "./overlay.js";
export { containerSysctls, sandboxObjects } from "./sandbox.js";
