import type { Engine } from "../engine/contract.js";
import type { Container, ContainerConfig, ContainerState, HostConfig } from "../model/container.js";
import { hostConfigDefaults } from "./host-config-defaults.js";
import { EndpointIndex, renderNetworkSettings } from "./render-settings.js";
import { sorted, sortedOrNull } from "./render-sorted.js";

/** `GET /containers/{id}/json`: the keys and their order are Docker 20.10's. */
export function renderContainer(
  engine: Engine,
  container: Container,
  size?: { readonly rw: number; readonly rootFs: number },
): Record<string, unknown> {
  const paths = engine.containers.paths(container.id);
  const execIds = engine.containers.execIds(container.id);
  return {
    Id: container.id,
    Created: container.created,
    Path: container.path,
    Args: container.args,
    State: renderState(container.state),
    Image: container.imageId,
    ResolvConfPath: paths.ResolvConfPath,
    HostnamePath: paths.HostnamePath,
    HostsPath: paths.HostsPath,
    LogPath: paths.LogPath,
    Name: `/${container.name}`,
    RestartCount: container.state.restartCount,
    Driver: "overlay2",
    Platform: "linux",
    MountLabel: "",
    ProcessLabel: "",
    AppArmorProfile: "",
    ExecIDs: execIds.length === 0 ? null : execIds,
    HostConfig: renderHostConfig(container.hostConfig, engine),
    GraphDriver: { Data: sorted(paths.graph), Name: "overlay2" },
    ...(size !== undefined && { SizeRw: size.rw, SizeRootFs: size.rootFs }),
    Mounts: container.mounts.map(renderMount),
    Config: renderConfig(container.config),
    NetworkSettings: renderNetworkSettings(container, new EndpointIndex(engine.state, container.id), paths.SandboxKey),
  };
}

export function renderMount(m: Container["mounts"][number]): object {
  return {
    Type: m.Type,
    ...(m.Name !== undefined && { Name: m.Name }),
    Source: m.Source,
    Destination: m.Destination,
    ...(m.Driver !== undefined && { Driver: m.Driver }),
    Mode: m.Mode,
    RW: m.RW,
    Propagation: m.Propagation,
  };
}

export function renderState(state: ContainerState): object {
  const running = state.status === "running" || state.status === "paused" || state.status === "restarting";
  return {
    Status: state.status,
    Running: running,
    Paused: state.status === "paused",
    Restarting: state.status === "restarting",
    OOMKilled: state.oomKilled,
    Dead: state.status === "dead",
    Pid: state.pid,
    ExitCode: state.exitCode,
    Error: state.error,
    StartedAt: state.startedAt,
    FinishedAt: state.finishedAt,
    ...(state.health !== undefined && { Health: state.health }),
  };
}

function emptyToNull<T>(list: readonly T[] | null | undefined): readonly T[] | null {
  return list === null || list === undefined || list.length === 0 ? null : list;
}

export function renderConfig(c: ContainerConfig): object {
  return {
    Hostname: c.Hostname,
    Domainname: c.Domainname,
    User: c.User,
    AttachStdin: c.AttachStdin,
    AttachStdout: c.AttachStdout,
    AttachStderr: c.AttachStderr,
    ...(c.ExposedPorts && Object.keys(c.ExposedPorts).length > 0 && { ExposedPorts: sorted(c.ExposedPorts) }),
    Tty: c.Tty,
    OpenStdin: c.OpenStdin,
    StdinOnce: c.StdinOnce,
    Env: emptyToNull(c.Env),
    Cmd: emptyToNull(c.Cmd),
    ...(c.Healthcheck && { Healthcheck: c.Healthcheck }),
    Image: c.Image,
    Volumes: c.Volumes && Object.keys(c.Volumes).length > 0 ? sorted(c.Volumes) : null,
    WorkingDir: c.WorkingDir,
    Entrypoint: emptyToNull(c.Entrypoint),
    ...(c.NetworkDisabled && { NetworkDisabled: true }),
    ...(c.MacAddress && { MacAddress: c.MacAddress }),
    OnBuild: emptyToNull(c.OnBuild),
    Labels: sorted(c.Labels),
    ...(c.StopSignal && { StopSignal: c.StopSignal }),
    ...(c.StopTimeout !== undefined && c.StopTimeout !== null && { StopTimeout: c.StopTimeout }),
    ...(c.Shell && c.Shell.length > 0 && { Shell: c.Shell }),
  };
}

/** Shown only when set, as in Docker. */
const optionalHostConfig = ["Annotations", "StorageOpt", "Sysctls", "Tmpfs", "Mounts", "Init"] as const;

function renderHostConfig(stored: HostConfig, engine: Engine): Record<string, unknown> {
  const defaults = hostConfigDefaults(engine.settings) as Record<string, unknown>;
  const out: Record<string, unknown> = {};
  for (const key of Object.keys(defaults)) out[key] = key in stored ? stored[key] : defaults[key];
  out["PortBindings"] = sortedOrNull(stored.PortBindings);
  for (const key of optionalHostConfig) {
    const value = stored[key];
    if (value === null || value === undefined) continue;
    if (typeof value === "object" && Object.keys(value).length === 0) continue;
    out[key] = value;
  }
  return out;
}
