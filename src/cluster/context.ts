import type { Etcd3 } from "etcd3";
import type { ClusterEvents, ClusterOptions } from "./contract.js";
import type { DiskCopy } from "./disk-copy.js";
import type { Keys } from "./keys.js";
import type { Mirror } from "./mirror.js";

/** What the parts of the shared store have in common. */
export interface ClusterContext {
  readonly options: ClusterOptions;
  readonly events: ClusterEvents;
  readonly client: Etcd3;
  readonly keys: Keys;
  readonly mirror: Mirror;
  readonly copy: DiskCopy;
}
