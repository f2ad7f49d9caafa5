export * from "./contract.js";
export { openEtcdCluster } from "./etcd.js";
export { keysOf } from "./keys.js";
export { SharedStore } from "./shared-store.js";
