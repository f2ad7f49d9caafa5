export * from "./contract.js";
export { keysOf } from "./keys.js";
export { type ClusterSettings, parseClusterSettings } from "./settings.js";
export { SharedStore } from "./shared-store.js";
