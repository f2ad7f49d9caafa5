import type { ContainerConfig, ContainerState, HostConfig } from "./container.js";

/** Docker's way to say never */
export const NEVER = "0001-01-01T00:00:00Z";

/** Docker's size of /dev/shm for a container that names none */
export const DEFAULT_SHM_BYTES = 64 * 1024 * 1024;

/** Files and directories of the kernel that Docker hides from a container that is not privileged. */
export const maskedPaths: readonly string[] = [
  "/proc/asound",
  "/proc/acpi",
  "/proc/kcore",
  "/proc/keys",
  "/proc/latency_stats",
  "/proc/timer_list",
  "/proc/timer_stats",
  "/proc/sched_debug",
  "/proc/scsi",
  "/sys/firmware",
];

/** The same, shown but not to be written. */
export const readonlyPaths: readonly string[] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/** The Config of a container that asks for nothing but a command. */
export function plainConfig(command: readonly string[]): ContainerConfig {
  return {
    Hostname: "",
    Domainname: "",
    User: "",
    AttachStdin: false,
    AttachStdout: true,
    AttachStderr: true,
    Tty: false,
    OpenStdin: false,
    StdinOnce: false,
    Env: null,
    Cmd: [...command],
    Entrypoint: null,
    Image: "",
    Volumes: null,
    WorkingDir: "",
    Labels: {},
  };
}

/** The HostConfig of a container that asks for nothing, as the engine acts on it; what the API answers has every field of Docker's. */
export function plainHostConfig(networkMode: string): HostConfig {
  return {
    Binds: null,
    NetworkMode: networkMode,
    PortBindings: null,
    RestartPolicy: { Name: "no", MaximumRetryCount: 0 },
    AutoRemove: false,
    LogConfig: { Type: "json-file", Config: {} },
    Links: null,
    PublishAllPorts: false,
    Dns: null,
    DnsOptions: null,
    DnsSearch: null,
    ExtraHosts: null,
    CapAdd: null,
    CapDrop: null,
    Privileged: false,
    ReadonlyRootfs: false,
    VolumesFrom: null,
    Memory: 0,
    MemorySwap: 0,
    MemoryReservation: 0,
    NanoCpus: 0,
    CpuShares: 0,
    CpuQuota: 0,
    CpuPeriod: 0,
    CpusetCpus: "",
    CpusetMems: "",
    PidsLimit: null,
    Ulimits: null,
    Devices: null,
    SecurityOpt: null,
    GroupAdd: null,
    IpcMode: "private",
    PidMode: "",
    UTSMode: "",
    ShmSize: DEFAULT_SHM_BYTES,
    OomScoreAdj: 0,
    CgroupParent: "",
  };
}

/** The state of a container that has not run yet. */
export function createdState(): ContainerState {
  return {
    status: "created",
    pid: 0,
    exitCode: 0,
    error: "",
    oomKilled: false,
    startedAt: NEVER,
    finishedAt: NEVER,
    restartCount: 0,
    manuallyStopped: false,
  };
}
