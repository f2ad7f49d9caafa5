import { readFileSync } from "node:fs";
import { arch, availableParallelism, release, totalmem } from "node:os";
import type { Engine } from "../engine/contract.js";
import type { ApiOptions } from "./types.js";
import { API_VERSION, MIN_API_VERSION } from "./version.js";

/** Go's names of processor architectures, which clients compare images with. */
export function goArch(): string {
  return arch() === "x64" ? "amd64" : arch();
}
function machine(): string {
  return ({ x64: "x86_64", arm64: "aarch64" } as Record<string, string>)[arch()] ?? arch();
}

const BUILD_TIME = "2026-01-01T00:00:00.000000000+00:00";

export function renderVersion(engine: Engine): Record<string, unknown> {
  const { version } = engine.settings;
  const details = {
    ApiVersion: API_VERSION,
    Arch: goArch(),
    BuildTime: BUILD_TIME,
    Experimental: "false",
    GitCommit: "",
    GoVersion: "",
    KernelVersion: release(),
    MinAPIVersion: MIN_API_VERSION,
    Os: "linux",
  };
  return {
    Platform: { Name: "Linkspan" },
    Components: [
      { Name: "Engine", Version: version, Details: details },
      { Name: "node", Version: process.versions.node, Details: {} },
      { Name: engine.settings.runtimeName, Version: "", Details: {} },
    ],
    Version: version,
    ApiVersion: API_VERSION,
    MinAPIVersion: MIN_API_VERSION,
    GitCommit: "",
    GoVersion: "",
    Os: "linux",
    Arch: goArch(),
    KernelVersion: release(),
    BuildTime: BUILD_TIME,
  };
}

/** `GET /info`. The driver lists begin as Docker's do: clients and people look for "bridge" and "host" there. */
export async function renderInfo(engine: Engine, options: ApiOptions): Promise<Record<string, unknown>> {
  const { settings } = engine;
  const count = { running: 0, paused: 0, stopped: 0 };
  for (const c of engine.containers.list()) {
    if (c.state.status === "paused") count.paused++;
    else if (c.state.status === "running" || c.state.status === "restarting") count.running++;
    else count.stopped++;
  }
  const images = await engine.images.list({ all: true });
  return {
    ID: settings.id,
    Containers: count.running + count.paused + count.stopped,
    ContainersRunning: count.running,
    ContainersPaused: count.paused,
    ContainersStopped: count.stopped,
    Images: images.length,
    Driver: "overlay2",
    DriverStatus: [["Backing Filesystem", "extfs"]],
    Plugins: {
      Volume: ["local"],
      Network: ["bridge", "host", "macvlan", "null", "overlay", "routed"],
      Authorization: null,
      Log: ["json-file", "k8s-file", "local", "none"],
    },
    MemoryLimit: true,
    SwapLimit: true,
    KernelMemory: false,
    KernelMemoryTCP: false,
    CpuCfsPeriod: true,
    CpuCfsQuota: true,
    CPUShares: true,
    CPUSet: true,
    PidsLimit: true,
    IPv4Forwarding: true,
    BridgeNfIptables: true,
    BridgeNfIp6tables: true,
    Debug: options.debug ?? false,
    NFd: openFiles(),
    OomKillDisable: settings.cgroupVersion === "1",
    NGoroutines: 0,
    SystemTime: new Date().toISOString().replace(/Z$/, "000000Z"),
    LoggingDriver: "json-file",
    CgroupDriver: "cgroupfs",
    CgroupVersion: settings.cgroupVersion,
    NEventsListener: 0,
    KernelVersion: release(),
    OperatingSystem: osRelease("PRETTY_NAME") || "Linux",
    OSVersion: osRelease("VERSION_ID"),
    OSType: "linux",
    Architecture: machine(),
    IndexServerAddress: "https://index.docker.io/v1/",
    RegistryConfig: registryConfig(options.insecureRegistries ?? []),
    NCPU: availableParallelism(),
    MemTotal: totalmem(),
    GenericResources: null,
    DockerRootDir: settings.dataRoot,
    HttpProxy: process.env["HTTP_PROXY"] ?? "",
    HttpsProxy: process.env["HTTPS_PROXY"] ?? "",
    NoProxy: process.env["NO_PROXY"] ?? "",
    Name: settings.hostname,
    Labels: settings.labels,
    ExperimentalBuild: false,
    ServerVersion: settings.version,
    ...(settings.clusterStore && { ClusterStore: settings.clusterStore }),
    ...(settings.clusterAdvertise && { ClusterAdvertise: settings.clusterAdvertise }),
    Runtimes: { [settings.runtimeName]: { path: settings.runtimeName } },
    DefaultRuntime: settings.runtimeName,
    Swarm: {
      NodeID: "",
      NodeAddr: "",
      LocalNodeState: "inactive",
      ControlAvailable: false,
      Error: "",
      RemoteManagers: null,
    },
    LiveRestoreEnabled: options.liveRestore ?? false,
    Isolation: "",
    InitBinary: "",
    ContainerdCommit: { ID: "", Expected: "" },
    RuncCommit: { ID: "", Expected: "" },
    InitCommit: { ID: "", Expected: "" },
    SecurityOptions: ["name=seccomp,profile=default"],
    ProductLicense: "",
    Warnings: null,
  };
}

function registryConfig(insecure: readonly string[]): object {
  const cidrs = insecure.filter((r) => r.includes("/"));
  const indexes: Record<string, object> = { "docker.io": { Name: "docker.io", Mirrors: [], Secure: true, Official: true } };
  for (const name of insecure)
    if (!name.includes("/")) indexes[name] = { Name: name, Mirrors: [], Secure: false, Official: false };
  return {
    AllowNondistributableArtifactsCIDRs: null,
    AllowNondistributableArtifactsHostnames: null,
    InsecureRegistryCIDRs: [...cidrs, "127.0.0.0/8"],
    IndexConfigs: indexes,
    Mirrors: null,
  };
}

function openFiles(): number {
  return process.getActiveResourcesInfo().length;
}

function osRelease(field: string): string {
  try {
    const text = readFileSync("/etc/os-release", "utf8");
    return new RegExp(`^${field}="?([^"\n]*)"?$`, "m").exec(text)?.[1] ?? "";
  } catch {
    return "";
  }
}
