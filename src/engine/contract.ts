import type { Readable } from "node:stream";
import type { AttachSession, ExecRequest, ExecStatus, LogOptions, OutputChunk } from "../containers/contract.js";
import type { BuildRequest, ImageStore, Progress } from "../images/contract.js";
import type { Container, ContainerConfig, HostConfig, Volume } from "../model/container.js";
import type { IpamConfig, Network, PortMapping } from "../model/network.js";
import type { State } from "../model/state.js";

/**
 * What the API (and nobody else) calls. References are names, ids or unique id prefixes, as Docker takes them.
 * Every method rejects with RefusalError (base/errors.ts) carrying Docker's status and text; anything else is a 500.
 */
export interface Engine {
  /** The model as it is now. Read it, never change it. */
  readonly state: State;
  readonly settings: EngineSettings;
  readonly networks: NetworkService;
  readonly containers: ContainerService;
  readonly images: ImageStore;
  readonly volumes: VolumeService;
  readonly events: EventBus;
  /** The ip/bridge/nft commands that would have built by hand what a network or container has. */
  explain(ref: string): Promise<string>;
  /** Desired against observed: empty when all is as it should be. */
  verify(): Promise<readonly string[]>;
  build(request: BuildRequest, progress: Progress): Promise<string>;
  /** The hosts of the cluster; absent without a cluster store. */
  readonly nodes?: NodeService;
  /** Stops serving: by default containers live on. `stopContainers`: Docker's behaviour at SIGTERM without live-restore. */
  close(options: { readonly stopContainers: boolean }): Promise<void>;
}

export interface NodeService {
  list(): readonly {
    readonly id: string;
    readonly hostname: string;
    /** Underlay address that the node advertises */
    readonly address: string;
    /** "192.168.205.10:2375" */
    readonly advertise: string;
    readonly alive: boolean;
    readonly endpoints: number;
    /** This engine itself */
    readonly self: boolean;
  }[];
  /** Forgets a node (id, id prefix, hostname or address) that will not return: 409 while it is alive, 404 when unknown. */
  remove(ref: string): Promise<void>;
}

export interface EngineSettings {
  readonly version: string;
  readonly id: string;
  readonly hostname: string;
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly startedAt: string;
  readonly labels: readonly string[];
  readonly clusterStore?: string;
  readonly clusterAdvertise?: string;
  readonly runtimeName: string;
  readonly cgroupVersion: "1" | "2";
}

export interface NetworkCreate {
  Name: string;
  CheckDuplicate?: boolean;
  Driver?: string;
  Internal?: boolean;
  Attachable?: boolean;
  Ingress?: boolean;
  ConfigOnly?: boolean;
  ConfigFrom?: { Network: string } | null;
  Scope?: string;
  EnableIPv4?: boolean;
  EnableIPv6?: boolean;
  IPAM?: { Driver?: string; Options?: Record<string, string> | null; Config?: IpamConfig[] | null } | null;
  Options?: Record<string, string> | null;
  Labels?: Record<string, string> | null;
}

/** docker's EndpointSettings as clients send it */
export interface EndpointSettings {
  IPAMConfig?: { IPv4Address?: string; IPv6Address?: string; LinkLocalIPs?: string[] | null } | null;
  Links?: string[] | null;
  Aliases?: string[] | null;
  MacAddress?: string;
  DriverOpts?: Record<string, string> | null;
  GwPriority?: number;
}

export type Filters = Readonly<Record<string, readonly string[]>>;

export interface NetworkService {
  create(request: NetworkCreate): Promise<{ readonly network: Network; readonly warning: string }>;
  /** 404 "network x not found"; 400 when a name is ambiguous */
  resolve(ref: string): Network;
  list(): readonly Network[];
  remove(ref: string): Promise<void>;
  connect(ref: string, container: string, settings: EndpointSettings): Promise<void>;
  disconnect(ref: string, container: string, force: boolean): Promise<void>;
  prune(filters: Filters): Promise<readonly string[]>;
  /** Endpoints of other hosts (overlay, routed), for inspect */
  remoteEndpoints(networkId: string): readonly {
    readonly endpointId: string;
    readonly name: string;
    readonly mac: string;
    readonly ipv4: string;
    readonly ipv6: string;
    readonly node: string;
  }[];
  peers(networkId: string): readonly { readonly Name: string; readonly IP: string }[];
}

export interface ContainerCreate {
  readonly name: string | undefined;
  readonly config: ContainerConfig;
  readonly hostConfig: HostConfig;
  readonly endpoints: Readonly<Record<string, EndpointSettings | null>>;
  readonly platform?: string;
}

export type WaitCondition = "not-running" | "next-exit" | "removed";

export interface ContainerService {
  create(request: ContainerCreate): Promise<{ readonly id: string; readonly warnings: readonly string[] }>;
  /** 404 "No such container: x" */
  resolve(ref: string): Container;
  list(): readonly Container[];
  /** false: it already ran (304) */
  start(ref: string): Promise<boolean>;
  stop(ref: string, options: { readonly timeoutSeconds?: number; readonly signal?: string }): Promise<boolean>;
  restart(ref: string, options: { readonly timeoutSeconds?: number; readonly signal?: string }): Promise<void>;
  kill(ref: string, signal: string): Promise<void>;
  pause(ref: string): Promise<void>;
  unpause(ref: string): Promise<void>;
  remove(ref: string, options: { readonly force: boolean; readonly volumes: boolean; readonly link: boolean }): Promise<void>;
  rename(ref: string, name: string): Promise<void>;
  update(ref: string, changes: Partial<HostConfig>): Promise<readonly string[]>;
  /** Registered when the call returns; resolves at the exit. */
  wait(
    ref: string,
    condition: WaitCondition,
  ): { readonly result: Promise<{ readonly StatusCode: number; readonly Error?: { readonly Message: string } }> };
  attach(ref: string, options: { readonly stdin: boolean }): Promise<AttachSession>;
  resize(ref: string, height: number, width: number): Promise<void>;
  logs(ref: string, options: LogOptions): AsyncIterable<OutputChunk>;
  logPath(id: string): string;
  top(
    ref: string,
    psArgs: string,
  ): Promise<{ readonly Titles: readonly string[]; readonly Processes: readonly (readonly string[])[] }>;
  stats(ref: string): Promise<Record<string, unknown>>;
  changes(ref: string): Promise<readonly { readonly Path: string; readonly Kind: 0 | 1 | 2 }[]>;
  export(ref: string): Promise<Readable>;
  archiveGet(ref: string, path: string): Promise<{ readonly stat: string; readonly tar: Readable }>;
  archiveStat(ref: string, path: string): Promise<string>;
  archivePut(ref: string, path: string, tar: Readable, options: { readonly noOverwriteDirNonDir: boolean }): Promise<void>;
  commit(
    ref: string,
    options: {
      readonly repo: string;
      readonly tag: string;
      readonly comment: string;
      readonly author: string;
      readonly changes: readonly string[];
      readonly pause: boolean;
      readonly config?: Partial<ContainerConfig>;
    },
  ): Promise<string>;
  prune(filters: Filters): Promise<{ readonly deleted: readonly string[]; readonly spaceReclaimed: number }>;
  /** Bytes of the writable layer and of the whole root file system */
  size(ref: string): Promise<{ readonly rw: number; readonly rootFs: number }>;
  execCreate(ref: string, request: ExecRequest): Promise<string>;
  execStart(execId: string, options: { readonly detach: boolean; readonly tty: boolean }): Promise<AttachSession | undefined>;
  execResize(execId: string, height: number, width: number): Promise<void>;
  execInspect(execId: string): ExecStatus;
  execIds(containerId: string): readonly string[];
  /** Beyond Docker: replace the published ports of a container, running or not. */
  publish(
    ref: string,
    ports: Readonly<Record<string, { HostIp: string; HostPort: string; Allow?: string[] }[]>>,
  ): Promise<readonly PortMapping[]>;
  /** Paths that inspect shows */
  paths(id: string): {
    readonly ResolvConfPath: string;
    readonly HostnamePath: string;
    readonly HostsPath: string;
    readonly LogPath: string;
    readonly SandboxKey: string;
    readonly graph: Readonly<Record<string, string>>;
  };
}

export interface VolumeService {
  create(request: {
    Name?: string;
    Driver?: string;
    DriverOpts?: Record<string, string> | null;
    Labels?: Record<string, string> | null;
  }): Promise<Volume>;
  get(name: string): Volume;
  list(): readonly Volume[];
  remove(name: string, force: boolean): Promise<void>;
  prune(filters: Filters): Promise<{ readonly deleted: readonly string[]; readonly spaceReclaimed: number }>;
  size(name: string): Promise<number>;
  refCount(name: string): number;
}

export interface EngineEvent {
  readonly Type: "container" | "image" | "network" | "volume" | "daemon";
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
  readonly scope: "local" | "swarm";
  readonly time: number;
  /** nanoseconds, as text because it exceeds 2^53 (the API prints it as a number) */
  readonly timeNano: string;
}

export interface EventBus {
  emit(type: EngineEvent["Type"], action: string, id: string, attributes: Readonly<Record<string, string>>): void;
  /** The last 256 events or so, oldest first */
  recent(): readonly EngineEvent[];
  subscribe(listener: (event: EngineEvent) => void): () => void;
}
