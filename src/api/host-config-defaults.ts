import type { HostConfig } from "../model/container.js";
import { DEFAULT_SHM_BYTES, maskedPaths, readonlyPaths } from "../model/container-defaults.js";

/** Every field of HostConfig in the order of Docker's answers, with the value it has when the client names none. */
export function hostConfigDefaults(engine: { readonly runtimeName: string; readonly cgroupVersion: "1" | "2" }): HostConfig {
  return {
    Binds: null,
    ContainerIDFile: "",
    LogConfig: { Type: "json-file", Config: {} },
    NetworkMode: "default",
    PortBindings: {},
    RestartPolicy: { Name: "no", MaximumRetryCount: 0 },
    AutoRemove: false,
    VolumeDriver: "",
    VolumesFrom: null,
    CapAdd: null,
    CapDrop: null,
    CgroupnsMode: engine.cgroupVersion === "2" ? "private" : "host",
    Dns: [],
    DnsOptions: [],
    DnsSearch: [],
    ExtraHosts: null,
    GroupAdd: null,
    IpcMode: "private",
    Cgroup: "",
    Links: null,
    OomScoreAdj: 0,
    PidMode: "",
    Privileged: false,
    PublishAllPorts: false,
    ReadonlyRootfs: false,
    SecurityOpt: null,
    UTSMode: "",
    UsernsMode: "",
    ShmSize: DEFAULT_SHM_BYTES,
    Runtime: engine.runtimeName,
    ConsoleSize: [0, 0],
    Isolation: "",
    CpuShares: 0,
    Memory: 0,
    NanoCpus: 0,
    CgroupParent: "",
    BlkioWeight: 0,
    BlkioWeightDevice: [],
    BlkioDeviceReadBps: [],
    BlkioDeviceWriteBps: [],
    BlkioDeviceReadIOps: [],
    BlkioDeviceWriteIOps: [],
    CpuPeriod: 0,
    CpuQuota: 0,
    CpuRealtimePeriod: 0,
    CpuRealtimeRuntime: 0,
    CpusetCpus: "",
    CpusetMems: "",
    Devices: [],
    DeviceCgroupRules: null,
    DeviceRequests: null,
    KernelMemory: 0,
    KernelMemoryTCP: 0,
    MemoryReservation: 0,
    MemorySwap: 0,
    MemorySwappiness: null,
    OomKillDisable: false,
    PidsLimit: null,
    Ulimits: [],
    CpuCount: 0,
    CpuPercent: 0,
    IOMaximumIOps: 0,
    IOMaximumBandwidth: 0,
    MaskedPaths: [...maskedPaths],
    ReadonlyPaths: [...readonlyPaths],
  };
}

/** Fields whose empty text means "the default". */
const emptyMeansDefault = new Set(["NetworkMode", "IpcMode", "CgroupnsMode", "Runtime"]);

/** A client's HostConfig with everything filled in. Null and absent mean the default, as in Go. */
export function fillHostConfig(
  given: Readonly<Record<string, unknown>>,
  engine: { readonly runtimeName: string; readonly cgroupVersion: "1" | "2" },
): HostConfig {
  const out: HostConfig = hostConfigDefaults(engine);
  for (const [key, value] of Object.entries(given)) {
    if (value === null || value === undefined) continue;
    if (value === "" && emptyMeansDefault.has(key)) continue;
    out[key] = value;
  }
  if (out.ShmSize === 0) out.ShmSize = DEFAULT_SHM_BYTES;
  if (out.RestartPolicy.Name === "") out.RestartPolicy = { ...out.RestartPolicy, Name: "no" };
  out.RestartPolicy = { Name: out.RestartPolicy.Name ?? "no", MaximumRetryCount: out.RestartPolicy.MaximumRetryCount ?? 0 };
  out.LogConfig = { Type: out.LogConfig.Type || "json-file", Config: out.LogConfig.Config ?? {} };
  if (out["MemorySwappiness"] === -1) out["MemorySwappiness"] = null;
  if (out.PidsLimit === 0) out.PidsLimit = null;
  if (out.Privileged) {
    if (given["MaskedPaths"] === null || given["MaskedPaths"] === undefined) out.MaskedPaths = null;
    if (given["ReadonlyPaths"] === null || given["ReadonlyPaths"] === undefined) out.ReadonlyPaths = null;
    // Docker: a privileged container shares the host's cgroup namespace unless told otherwise (cgroup v1 and v2 alike).
    if ((given["CgroupnsMode"] ?? "") === "") out["CgroupnsMode"] = "host";
  }
  return out;
}
