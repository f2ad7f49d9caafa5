export { bridgeDriver, interfaceObjects, segmentName, trunkNames } from "./bridge.js";
export type { Driver, DriverContext } from "./contract.js";
export { allOwners, desiredAll, desiredOf, type Owner } from "./desired.js";
export { sandboxObjects } from "./sandbox.js";
