import { refuse } from "../base/errors.js";
import { parseIp, parsePrefix, prefixContains } from "../base/ip.js";
import type { ContainerConfig, EndpointRequest, HostConfig, ImageRuntimeConfig } from "../model/container.js";
import type { EndpointSettings } from "./contract.js";
import { signalNumber } from "./signals.js";

/** The container's configuration over the image's: what the user left out comes from the image. */
export function mergeImageConfig(config: ContainerConfig, image: ImageRuntimeConfig): ContainerConfig {
  const own = (list: readonly string[] | null | undefined): list is readonly string[] =>
    list !== null && list !== undefined && list.length > 0;
  const ownEntrypoint = own(config.Entrypoint);
  // `--entrypoint ""` arrives as [""]: no entry point at all, and the image's command goes with it.
  const clearedEntrypoint = ownEntrypoint && config.Entrypoint!.length === 1 && config.Entrypoint![0] === "";
  const entrypoint = clearedEntrypoint ? null : ownEntrypoint ? config.Entrypoint : (image.Entrypoint ?? null);
  const cmd = own(config.Cmd) ? config.Cmd : ownEntrypoint ? null : (image.Cmd ?? null);
  const merged: ContainerConfig = {
    ...config,
    Env: mergeEnv(image.Env ?? [], config.Env ?? []),
    Cmd: cmd === null ? null : [...cmd],
    Entrypoint: entrypoint === null ? null : [...entrypoint],
    WorkingDir: config.WorkingDir || image.WorkingDir || "",
    User: config.User || image.User || "",
    Labels: { ...(image.Labels ?? {}), ...(config.Labels ?? {}) },
  };
  const exposed = image.ExposedPorts ? { ...image.ExposedPorts, ...config.ExposedPorts } : (config.ExposedPorts ?? {});
  if (Object.keys(exposed).length > 0) merged.ExposedPorts = exposed;
  const volumes = { ...(image.Volumes ?? {}), ...(config.Volumes ?? {}) };
  merged.Volumes = Object.keys(volumes).length > 0 ? volumes : null;
  const stopSignal = config.StopSignal || image.StopSignal;
  if (stopSignal) merged.StopSignal = stopSignal;
  const health = mergeHealthcheck(config.Healthcheck, image.Healthcheck);
  if (health !== undefined) merged.Healthcheck = health;
  const shell = config.Shell ?? image.Shell;
  if (shell !== undefined && shell !== null) merged.Shell = [...shell];
  return merged;
}

function mergeEnv(image: readonly string[], own: readonly string[]): string[] {
  const nameOf = (v: string) => v.slice(0, v.includes("=") ? v.indexOf("=") : v.length);
  const overridden = new Set(own.map(nameOf));
  return [...own, ...image.filter((v) => !overridden.has(nameOf(v)))];
}

function mergeHealthcheck(
  own: ContainerConfig["Healthcheck"],
  image: ImageRuntimeConfig["Healthcheck"],
): ContainerConfig["Healthcheck"] | undefined {
  if (own === undefined || own === null) return image === undefined ? undefined : { ...image, Test: [...(image.Test ?? [])] };
  if (image === undefined) return own;
  const test = own.Test !== undefined && own.Test.length > 0 ? own.Test : [...(image.Test ?? [])];
  return {
    ...own,
    Test: test,
    Interval: own.Interval || image.Interval || 0,
    Timeout: own.Timeout || image.Timeout || 0,
    StartPeriod: own.StartPeriod || image.StartPeriod || 0,
    Retries: own.Retries || image.Retries || 0,
  };
}

/** What Docker refuses at create because two options contradict each other. */
export function checkConflicts(config: ContainerConfig, hostConfig: HostConfig): void {
  if (config.StopSignal) signalNumber(config.StopSignal);
  const mode = hostConfig.NetworkMode;
  const some = (list: readonly unknown[] | null | undefined) => (list ?? []).length > 0;
  if (mode.startsWith("container:")) {
    const bad = (what: string): never => refuse(400, `conflicting options: ${what}`);
    if (config.Hostname !== "") bad("hostname and the network mode");
    if (some(hostConfig.Links)) bad("container type network can't be used with links. This would result in undefined behavior");
    if (some(hostConfig.Dns)) bad("dns and the network mode");
    if (some(hostConfig.ExtraHosts)) bad("custom host-to-IP mapping and the network mode");
    if (config.MacAddress) bad("mac-address and the network mode");
    if (Object.keys(hostConfig.PortBindings ?? {}).length > 0 || hostConfig.PublishAllPorts)
      bad("port publishing and the container type network mode");
    if (Object.keys(config.ExposedPorts ?? {}).length > 0) bad("port exposing and the container type network mode");
  }
  if (mode === "host" && some(hostConfig.Links))
    refuse(400, "conflicting options: host type networking can't be used with links. This would result in undefined behavior");
  if (hostConfig.UTSMode === "host" && config.Hostname !== "") refuse(400, "conflicting options: hostname and the UTS mode");
  checkRestartPolicy(hostConfig);
}

export function checkRestartPolicy(hostConfig: HostConfig): void {
  const { Name: name, MaximumRetryCount: maximum } = hostConfig.RestartPolicy;
  switch (name) {
    case "":
    case "no":
    case "always":
    case "unless-stopped":
      if (maximum !== 0) refuse(400, `maximum retry count cannot be used with restart policy '${name}'`);
      break;
    case "on-failure":
      if (maximum < 0) refuse(400, "maximum retry count cannot be negative");
      break;
    default:
      refuse(400, `invalid restart policy '${name}'`);
  }
  if (hostConfig.AutoRemove && name !== "" && name !== "no")
    refuse(400, "can't create 'AutoRemove' container with restart policy");
}

/** "default" and "" mean the default bridge, in the mode and as a key of EndpointsConfig. */
export const networkOfMode = (mode: string): string => (mode === "" || mode === "default" ? "bridge" : mode);

export const isUserDefinedMode = (mode: string): boolean =>
  !["", "default", "bridge", "host", "none"].includes(mode) && !mode.startsWith("container:");

/**
 * The networks to join, in order: the mode's first (it is eth0), then the others as they were named. `same` says whether two references mean one
 * network (a client may key EndpointsConfig by id and give the mode by name).
 */
export function requestedEndpoints(
  mode: string,
  settings: Readonly<Record<string, EndpointSettings | null>>,
  macAddress: string | undefined,
  same: (a: string, b: string) => boolean,
): EndpointRequest[] {
  if (mode.startsWith("container:")) return [];
  const main = networkOfMode(mode);
  const out: EndpointRequest[] = [];
  const mainEntry = Object.entries(settings).find(([key]) => same(networkOfMode(key), main));
  out.push(endpointRequest(main, mainEntry?.[1] ?? null));
  for (const [key, value] of Object.entries(settings))
    if (key !== mainEntry?.[0]) out.push(endpointRequest(networkOfMode(key), value));
  if (macAddress && !out[0]!.macAddress) out[0]!.macAddress = macAddress;
  return out;
}

export function endpointRequest(network: string, s: EndpointSettings | null): EndpointRequest {
  const request: EndpointRequest = {
    network,
    aliases: [...new Set(s?.Aliases ?? [])],
    links: s?.Links ?? null,
    driverOpts: s?.DriverOpts ?? null,
  };
  if (s?.IPAMConfig?.IPv4Address) request.ipv4 = s.IPAMConfig.IPv4Address;
  if (s?.IPAMConfig?.IPv6Address) request.ipv6 = s.IPAMConfig.IPv6Address;
  const linkLocal = (s?.IPAMConfig?.LinkLocalIPs ?? []).map(linkLocalIp);
  if (linkLocal.length > 0) request.linkLocalIps = linkLocal;
  if (s?.MacAddress) request.macAddress = s.MacAddress;
  if (s?.GwPriority) request.gatewayPriority = s.GwPriority;
  return request;
}

function linkLocalIp(text: string): string {
  const address = parseIp(text);
  if (address === undefined || !LINK_LOCAL.some((prefix) => prefixContains(prefix, address)))
    return refuse(400, `invalid link-local IP address: ${text}`);
  return address;
}

const LINK_LOCAL = ["169.254.0.0/16", "fe80::/10"].map((text) => parsePrefix(text)!);
