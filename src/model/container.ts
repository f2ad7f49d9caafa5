/** The parts of Docker's Config, HostConfig and NetworkingConfig that the engine acts on. Unknown fields are kept as they came. */
export interface ContainerConfig {
  Hostname: string;
  Domainname: string;
  User: string;
  AttachStdin: boolean;
  AttachStdout: boolean;
  AttachStderr: boolean;
  ExposedPorts?: Record<string, object>;
  Tty: boolean;
  OpenStdin: boolean;
  StdinOnce: boolean;
  Env: string[] | null;
  Cmd: string[] | null;
  Entrypoint: string[] | null;
  Healthcheck?: {
    Test?: string[];
    Interval?: number;
    Timeout?: number;
    StartPeriod?: number;
    StartInterval?: number;
    Retries?: number;
  };
  Image: string;
  Volumes: Record<string, object> | null;
  WorkingDir: string;
  Labels: Record<string, string>;
  StopSignal?: string;
  StopTimeout?: number;
  Shell?: string[];
  OnBuild?: string[] | null;
  MacAddress?: string;
  NetworkDisabled?: boolean;
  [key: string]: unknown;
}

export interface PortBinding {
  HostIp: string;
  HostPort: string;
}

export interface MountRequest {
  Type: "bind" | "volume" | "tmpfs";
  Source?: string;
  Target: string;
  ReadOnly?: boolean;
  BindOptions?: { Propagation?: string; NonRecursive?: boolean; CreateMountpoint?: boolean };
  VolumeOptions?: {
    NoCopy?: boolean;
    Labels?: Record<string, string>;
    DriverConfig?: { Name?: string; Options?: Record<string, string> };
  };
  TmpfsOptions?: { SizeBytes?: number; Mode?: number };
}

export interface HostConfig {
  Binds: string[] | null;
  NetworkMode: string;
  PortBindings: Record<string, PortBinding[] | null> | null;
  RestartPolicy: { Name: string; MaximumRetryCount: number };
  AutoRemove: boolean;
  LogConfig: { Type: string; Config: Record<string, string> };
  Links: string[] | null;
  PublishAllPorts: boolean;
  Dns: string[] | null;
  DnsOptions: string[] | null;
  DnsSearch: string[] | null;
  ExtraHosts: string[] | null;
  CapAdd: string[] | null;
  CapDrop: string[] | null;
  Privileged: boolean;
  ReadonlyRootfs: boolean;
  Sysctls?: Record<string, string> | null;
  Tmpfs?: Record<string, string> | null;
  Mounts?: MountRequest[] | null;
  VolumesFrom: string[] | null;
  Memory: number;
  MemorySwap: number;
  MemoryReservation: number;
  NanoCpus: number;
  CpuShares: number;
  CpuQuota: number;
  CpuPeriod: number;
  CpusetCpus: string;
  CpusetMems: string;
  PidsLimit: number | null;
  Ulimits: { Name: string; Soft: number; Hard: number }[] | null;
  Devices: { PathOnHost: string; PathInContainer: string; CgroupPermissions: string }[] | null;
  SecurityOpt: string[] | null;
  GroupAdd: string[] | null;
  Init?: boolean | null;
  IpcMode: string;
  PidMode: string;
  UTSMode: string;
  ShmSize: number;
  OomScoreAdj: number;
  CgroupParent: string;
  MaskedPaths?: string[] | null;
  ReadonlyPaths?: string[] | null;
  Runtime?: string;
  [key: string]: unknown;
}

/** What the user asked for on one network (docker's EndpointSettings), kept while the container is stopped. */
export interface EndpointRequest {
  /** As the user wrote it: name or id */
  network: string;
  networkId?: string;
  aliases: string[];
  links: string[] | null;
  ipv4?: string;
  ipv6?: string;
  /** `--link-local-ip`: further addresses of 169.254.0.0/16 or fe80::/10 */
  linkLocalIps?: string[];
  macAddress?: string;
  driverOpts: Record<string, string> | null;
  gatewayPriority?: number;
}

export type ContainerStatus = "created" | "running" | "paused" | "restarting" | "removing" | "exited" | "dead";

export interface ContainerState {
  status: ContainerStatus;
  pid: number;
  exitCode: number;
  error: string;
  oomKilled: boolean;
  /** RFC 3339 with nanoseconds; "0001-01-01T00:00:00Z" for never */
  startedAt: string;
  finishedAt: string;
  restartCount: number;
  /** Stopped by a person: restart policy unless-stopped does not apply */
  manuallyStopped: boolean;
  health?: { Status: string; FailingStreak: number; Log: { Start: string; End: string; ExitCode: number; Output: string }[] };
}

export interface Container {
  readonly id: string;
  /** Without slash */
  name: string;
  readonly created: string;
  /** "sha256:…" */
  readonly imageId: string;
  /** Entrypoint and Cmd resolved */
  readonly path: string;
  readonly args: readonly string[];
  config: ContainerConfig;
  hostConfig: HostConfig;
  /** In the order in which they are to be joined: the first is eth0 */
  networks: EndpointRequest[];
  /** `rm --link` removes them from here: alias → container id */
  mounts: ContainerMount[];
  state: ContainerState;
}

export interface ContainerMount {
  Type: "bind" | "volume" | "tmpfs";
  Name?: string;
  Source: string;
  Destination: string;
  Driver?: string;
  Mode: string;
  RW: boolean;
  Propagation: string;
}

export interface Volume {
  readonly name: string;
  readonly driver: string;
  readonly mountpoint: string;
  readonly created: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  readonly anonymous: boolean;
}

/** An image's config in OCI's words, as far as a container is made from it. */
export interface ImageRuntimeConfig {
  readonly Env?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly WorkingDir?: string;
  readonly User?: string;
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly ExposedPorts?: Readonly<Record<string, object>>;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
  readonly Healthcheck?: {
    readonly Test?: readonly string[];
    readonly Interval?: number;
    readonly Timeout?: number;
    readonly StartPeriod?: number;
    readonly Retries?: number;
  };
  readonly OnBuild?: readonly string[];
  readonly Shell?: readonly string[];
}
