import { RefusalError, refusal } from "../base/errors.js";
import type { Endpoint, Network } from "../model/network.js";
import type { Change } from "../model/state.js";

/** A host of the cluster, as the shared store knows it. Identity is `id` (kept on the host's disk), not its address: that may change. */
export interface ClusterNode {
  readonly id: string;
  /** "192.168.205.10:2375": the key below /docker/nodes */
  readonly advertise: string;
  /** Underlay address: where its VXLAN and WireGuard packets go */
  readonly address: string;
  readonly hostname: string;
  /** Its lease is alive. A dead node's endpoints stay reserved; names go on answering. */
  readonly alive: boolean;
  /** WireGuard public key, where the host can encrypt */
  readonly publicKey?: string;
}

/** Somebody else took it first, between our look and our transaction: look again and decide again. */
export class ClusterConflict extends Error {
  readonly what: "address" | "name" | "network" | "pools" | "block" | "endpoint";
  readonly key: string;
  constructor(what: ClusterConflict["what"], key: string) {
    super(`taken by another host meanwhile: ${key}`);
    this.name = "ClusterConflict";
    this.what = what;
    this.key = key;
  }
}

/** A decision that needs the cluster cannot be made now. Nothing was changed. */
export class ClusterUnavailable extends RefusalError {
  constructor(reason: string) {
    super(refusal(500, `etcd cluster is unavailable or misconfigured: ${reason}`));
    this.name = "ClusterUnavailable";
  }
}

export interface ClusterEvents {
  /**
   * What others changed: networks of global scope, endpoints of other nodes (put and gone), and as `meta` records: "node:<id>" (ClusterNode)
   * and "block:<network>:<prefix>" (node id). Called in order; everything known is sent once at start.
   */
  onChanges(changes: readonly Change[]): void;
  /** Endpoints of ours that are no longer ours: removed by another host by force, or their address was given away during an outage. */
  onLost(endpointIds: readonly string[]): void;
  /** The endpoints that this host really has on networks of global scope (`node` absent): what reconciliation compares the store with. */
  own(): Iterable<Endpoint>;
  onAvailability(available: boolean): void;
}

/** The shared store of many hosts. Transactions, watches and leases only: no locks, no elections. */
export interface Cluster {
  readonly nodeId: string;
  readonly available: boolean;
  nodes(): readonly ClusterNode[];
  knowsNetwork(id: string): boolean;
  /** As the store has it, whatever this host has decided and not yet committed. */
  network(id: string): Network | undefined;
  /** Id of the node that owns a block: "block:<network>:<prefix>" */
  blockOwner(record: string): string | undefined;
  /**
   * All or nothing: networks of global scope, own endpoints, blocks (meta "block:…"). Names and addresses are claimed in the same transaction.
   * Rejects with ClusterConflict or ClusterUnavailable; then nothing has changed. Removal of own endpoints never rejects because the
   * store is away: it is done when the store is back.
   */
  commit(changes: readonly Change[]): Promise<void>;
  /** `linkspan node rm`: forgets a dead node, its endpoints and blocks. */
  removeNode(id: string): Promise<void>;
  /** Removes another host's endpoint (`network disconnect -f` of a container that lives elsewhere). */
  removeEndpoint(networkId: string, endpointId: string): Promise<void>;
  close(): Promise<void>;
}

export interface ClusterOptions {
  /** Client addresses without path: "192.168.205.10:2379" */
  readonly hosts: readonly string[];
  /** First part of all keys, without slashes at the ends: "docker" */
  readonly prefix: string;
  readonly advertise: string;
  readonly address: string;
  readonly hostname: string;
  readonly nodeId: string;
  readonly publicKey?: string;
  readonly tls?: { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer };
  readonly now: () => string;
  readonly log: {
    info(message: string, fields?: Record<string, unknown>): void;
    warn(message: string, fields?: Record<string, unknown>): void;
  };
}
