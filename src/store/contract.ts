import type { Change } from "../model/state.js";

/** One contract, two stores: embedded (this host) and etcd (the cluster's networks and endpoints). */
export interface Store {
  /** Every record, once, at start. Records that fail their checksum or schema are left out and reported in `damaged`. */
  load(): Promise<{ readonly changes: readonly Change[]; readonly damaged: readonly string[] }>;
  /** All or nothing, durable when the promise resolves. */
  commit(changes: readonly Change[]): Promise<void>;
  /** Is it for others to agree to these changes (another host may have decided otherwise)? Then nothing may follow from them before they are committed. */
  mayRefuse?(changes: readonly Change[]): boolean;
  /**
   * After a commit that was refused and taken back in memory: the shared records that it named as the cluster has them. Taking back restores what
   * was before the attempt, and others may have changed just that meanwhile.
   */
  truth?(changes: readonly Change[]): readonly Change[];
  close(): Promise<void>;
}
