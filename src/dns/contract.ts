/**
 * The resolver at 127.0.0.11 as the engine sees it. One service per engine; it serves every sandbox from one worker thread.
 * All methods resolve when the worker has the change: a query that a container sends afterwards is answered by it.
 */
export interface DnsService {
  /**
   * Starts serving a sandbox. The descriptors are owned by the service from now on (closed by removeSandbox and close), also when this
   * rejects: `udpFd` bound to 127.0.0.11:53 inside the container's namespace, `tcpFd` bound there too and listening. A sandbox of that id that is
   * served already is replaced.
   */
  addSandbox(sandbox: DnsSandbox & { readonly udpFd: number; readonly tcpFd: number }): Promise<void>;
  /** Networks, links or upstreams of a served sandbox changed. A sandbox that is not there: nothing happens. */
  updateSandbox(sandbox: DnsSandbox): Promise<void>;
  /** Stops serving and closes the descriptors. Idempotent. */
  removeSandbox(sandboxId: string): Promise<void>;
  /** Name and subnets of a network; putEndpoint makes the network known by itself, but without subnets. */
  putNetwork(network: DnsNetwork): Promise<void>;
  /** Forgets a network and all its endpoints. Idempotent. */
  removeNetwork(networkId: string): Promise<void>;
  /** Adds or replaces an endpoint's names (also to rename it, or to mark it away). */
  putEndpoint(networkId: string, networkName: string, endpoint: DnsEndpoint): Promise<void>;
  /** Idempotent. */
  removeEndpoint(endpointId: string): Promise<void>;
  /**
   * Names that belong to this engine though no endpoint has them now (stopped containers): answered NXDOMAIN, never asked upstream.
   * Replaces what `ownerId` reserved before; an empty list releases.
   */
  reserveNames(ownerId: string, names: readonly string[]): Promise<void>;
  /** The host's own resolvers ("10.0.0.53", "127.0.0.53", "fd00::53", "10.0.0.53:5353", "[fd00::53]:5353"), for sandboxes without upstreams of their own. */
  setHostUpstreams(upstreams: readonly string[]): Promise<void>;
  stats(): Promise<DnsStats>;
  /** Stops the thread and closes all descriptors. */
  close(): Promise<void>;
}

export interface DnsSandbox {
  readonly sandboxId: string;
  /** Ids of the user-defined networks that it is attached to, the first to be asked first. Never the default bridge: that gives no names. */
  readonly networks: readonly string[];
  /** `--dns`; empty: the host's. */
  readonly upstreams: readonly string[];
  /** `--link` on user-defined networks. */
  readonly links: readonly DnsLink[];
  /** false: no query leaves the engine for this sandbox (all its networks are --internal). Default true. */
  readonly forward?: boolean;
}

/** `alias` is a name for the container `name` on that network, seen by one sandbox only. */
export interface DnsLink {
  readonly networkId: string;
  readonly alias: string;
  readonly name: string;
}

export interface DnsNetwork {
  readonly networkId: string;
  readonly name: string;
  /** Reverse lookups in here ("172.18.0.0/16", "fd00::/64") that match no endpoint are NXDOMAIN. Leave out where others live in the subnet too (macvlan). */
  readonly subnets?: readonly string[];
}

export interface DnsEndpoint {
  readonly endpointId: string;
  /** The container's name: PTR answers `name.network` */
  readonly name: string;
  /** Aliases and the short id */
  readonly aliases: readonly string[];
  readonly ipv4?: string;
  readonly ipv6?: string;
  /** Its host is not heard of at present: still answered, after those that are. */
  readonly away?: boolean;
}

export interface DnsStats {
  readonly sandboxes: number;
  readonly endpoints: number;
  readonly queries: number;
  readonly local: number;
  readonly forwarded: number;
  readonly coalesced: number;
  readonly dropped: number;
  /** Answered SERVFAIL because a limit was reached. */
  readonly refusedBusy: number;
  readonly upstreamTimeouts: number;
  readonly upstreamFailures: number;
  readonly inFlight: number;
}
