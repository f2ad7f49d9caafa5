import type { KernelObject, NsRef, Sysctl } from "./objects.js";

/** One change of one object. `was` is the state it has now, where it exists and differs: the kernel layer changes it in place or replaces it. */
export type Op =
  | { readonly op: "put"; readonly object: KernelObject; readonly was?: KernelObject }
  | { readonly op: "delete"; readonly object: KernelObject };

/** Ops that need no ordering among themselves beyond their own sequence: one rtnetlink send per namespace, one nftables transaction. */
export type Batch = readonly Op[];

export interface OpFailure {
  readonly op: Op;
  /** Which batch and which op in it. */
  readonly batch: number;
  readonly index: number;
  readonly errno: number;
  readonly code: string;
  readonly extAck?: string;
  /** iproute2's words for what failed: "link add veth1a2b3c4 type veth" */
  readonly operation: string;
}

export interface ApplyResult {
  readonly failures: readonly OpFailure[];
  readonly syscalls: number;
}

/**
 * What to observe. `all`: everything that bears our mark in the host's and all our pinned namespaces. Sysctls bear no mark: those
 * listed in `sysctls` are read.
 */
export type ObserveScope =
  | { readonly scope: "all"; readonly sysctls?: readonly Sysctl[] }
  | { readonly scope: "namespaces"; readonly names: readonly NsRef[]; readonly sysctls?: readonly Sysctl[] }
  | { readonly scope: "nft" };

/** Something in the kernel changed and it was not we. `keys` are objectKeys where known; empty means: look at everything. */
export interface Drift {
  readonly reason: string;
  readonly keys: readonly string[];
}

export interface HostRoute {
  readonly dst: string;
  readonly dev: string;
  readonly via?: string;
  readonly ours: boolean;
}
export interface HostLink {
  readonly name: string;
  readonly ifindex: number;
  readonly mtu: number;
  readonly up: boolean;
  readonly type: string;
  readonly mac: string;
  readonly ours: boolean;
  /** Index of the bridge that it is a port of. */
  readonly master?: number;
  readonly addresses: readonly string[];
}

/**
 * The kernel, as the engine sees it. The one implementation is kernel/ (a worker thread); property tests use a simulated one.
 * All methods reject with KernelError only for failures that are not about one op (worker died, socket gone).
 */
export interface KernelPort {
  /** Applies batches in order. An op that fails does not stop the others; all failures are returned. */
  apply(batches: readonly Batch[]): Promise<ApplyResult>;
  observe(scope: ObserveScope): Promise<readonly KernelObject[]>;
  /** Called for changes by others to objects that bear our mark (or to our nftables tables). Returns the stop function. */
  watch(onDrift: (drift: Drift) => void): () => void;
  /** The host's routes and links, ours and others', for address pools, MTU and conflict checks. */
  hostRoutes(): Promise<readonly HostRoute[]>;
  hostLinks(): Promise<readonly HostLink[]>;
  /** Deletes conntrack entries that mention an address (any of the four tuples) or a host port. */
  flushConntrack(match: {
    readonly ip?: string;
    readonly proto?: "tcp" | "udp" | "sctp";
    readonly dport?: number;
    /** The last of a run of host ports that begins with `dport`; absent: that one only. */
    readonly dportLast?: number;
  }): Promise<void>;
  /**
   * Opens a bound socket inside a namespace and hands over its descriptor (owned by the caller).
   * stream sockets are listening when `backlog` is given. Rejects with KernelError (EADDRINUSE, EADDRNOTAVAIL, …).
   */
  openSocket(request: SocketRequest): Promise<number>;
  /** Same for many at once, in one round trip; a request with `count` yields as many. Stops at the first failure and closes what it opened. */
  openSockets(requests: readonly SocketRequest[]): Promise<readonly number[]>;
  close(): Promise<void>;
}

export interface SocketRequest {
  readonly ns: NsRef;
  readonly type: "udp" | "tcp" | "sctp";
  /** "0.0.0.0", "::", "127.0.0.11" … */
  readonly address: string;
  readonly port: number;
  /** A socket for each of this many ports from `port` on; absent: 1. */
  readonly count?: number;
  /** IPv6 "::" also takes IPv4 (IPV6_V6ONLY 0). */
  readonly dualStack?: boolean;
  readonly reuseAddress?: boolean;
  readonly backlog?: number;
}
