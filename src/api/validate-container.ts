import { availableParallelism, cpus as processors } from "node:os";
import { refuse } from "../base/errors.js";
import { parseIp } from "../base/ip.js";
import type { ContainerConfig, HostConfig } from "../model/container.js";
import { parsePlainPort } from "../model/ports.js";

const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
const MIN_MEMORY_BYTES = 6 * 1024 * 1024;
const NANO = 1_000_000_000;

/** The name without its slash, or a 400. Undefined or empty: the engine invents one. */
export function validateContainerName(name: string | null): string | undefined {
  if (name === null || name === "") return undefined;
  const bare = name.startsWith("/") ? name.slice(1) : name;
  if (!namePattern.test(bare)) refuse(400, `Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
  return bare;
}

/** What can be refused by looking at the body alone. Docker's texts; all are 400. */
export function validateContainer(config: ContainerConfig, host: HostConfig): void {
  if (config.WorkingDir !== "" && !config.WorkingDir.startsWith("/"))
    refuse(400, `the working directory '${config.WorkingDir}' is invalid, it needs to be an absolute path`);
  for (const env of config.Env ?? []) if (env === "" || env.startsWith("=")) refuse(400, `invalid environment variable: ${env}`);
  for (const port of Object.keys(config.ExposedPorts ?? {})) validatePortKey(port);
  validateHealthcheck(config);
  validateHostConfig(host);
}

/** The HostConfig part alone: `POST /containers/{id}/update` and start's old body use it too. */
export function validateHostConfig(host: HostConfig): void {
  validatePortBindings(host.PortBindings);
  validateRestartPolicy(host);
  validateResources(host);
  validateNames(host);
  validateRuntime(host);
}

/** "80/tcp" → host addresses and ports (or ranges, or nothing: the engine chooses). */
export function validatePortBindings(map: HostConfig["PortBindings"]): void {
  for (const [port, bindings] of Object.entries(map ?? {})) {
    validatePortKey(port);
    for (const binding of bindings ?? []) {
      if (!isPortRange(binding.HostPort ?? "", true))
        refuse(400, `invalid port specification: ${JSON.stringify(binding.HostPort)}`);
      const ip = binding.HostIp ?? "";
      if (ip !== "" && parseIp(ip.replace(/^\[(.*)\]$/, "$1")) === undefined) refuse(400, `invalid IP address: ${ip}`);
    }
  }
}

/** "80", "80/tcp", "5000-5010/udp" */
function validatePortKey(key: string): void {
  if (parsePlainPort(key) !== undefined) return;
  const [port, proto] = key.split("/") as [string, string | undefined];
  if (!isPortRange(port, false)) refuse(400, `invalid port specification: ${JSON.stringify(port)}`);
  if (proto !== undefined && !["tcp", "udp", "sctp"].includes(proto.toLowerCase())) refuse(400, `invalid proto: ${proto}`);
}

function isPortRange(text: string, emptyAllowed: boolean): boolean {
  if (text === "") return emptyAllowed;
  const m = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(text);
  if (m === null) return false;
  const first = Number(m[1]);
  const last = Number(m[2] ?? m[1]);
  return first <= last && last <= 65535;
}

function validateRestartPolicy(host: HostConfig): void {
  const { Name: name, MaximumRetryCount: count } = host.RestartPolicy;
  if (!["", "no", "always", "unless-stopped", "on-failure"].includes(name)) refuse(400, `invalid restart policy '${name}'`);
  if (name !== "on-failure" && count !== 0) refuse(400, `maximum retry count cannot be used with restart policy '${name}'`);
  if (count < 0) refuse(400, "maximum retry count cannot be negative");
  if (host.AutoRemove && name !== "" && name !== "no") refuse(400, "can't create 'AutoRemove' container with restart policy");
}

function validateHealthcheck(config: ContainerConfig): void {
  const health = config.Healthcheck;
  if (health === undefined) return;
  for (const field of ["Interval", "Timeout", "StartPeriod"] as const) {
    const value = health[field] ?? 0;
    if (value !== 0 && value < 1_000_000) refuse(400, `${field} in Healthcheck cannot be less than 1ms`);
  }
  if ((health.Retries ?? 0) < 0) refuse(400, "Retries in Healthcheck cannot be negative");
}

function validateResources(host: HostConfig): void {
  if (host.ShmSize < 0) refuse(400, "SHM size can not be less than 0");
  if (host.OomScoreAdj < -1000 || host.OomScoreAdj > 1000)
    refuse(400, `Invalid value ${host.OomScoreAdj}, range for oom score adj is [-1000, 1000]`);
  if (host.Memory < 0 || (host.Memory > 0 && host.Memory < MIN_MEMORY_BYTES)) refuse(400, "Minimum memory limit allowed is 6MB");
  if (host.Memory > 0 && host.MemorySwap > 0 && host.MemorySwap < host.Memory)
    refuse(400, "Minimum memoryswap limit should be larger than memory limit, see usage");
  if (host.Memory === 0 && host.MemorySwap > 0)
    refuse(400, "You should always set the Memory limit when using Memoryswap limit, see usage");
  if (host.MemoryReservation < 0 || (host.MemoryReservation > 0 && host.MemoryReservation < MIN_MEMORY_BYTES))
    refuse(400, "Minimum memory reservation allowed is 6MB");
  if (host.Memory > 0 && host.MemoryReservation > host.Memory)
    refuse(400, "Minimum memory limit can not be less than memory reservation limit, see usage");
  if (host.NanoCpus !== 0) {
    if (host.CpuPeriod > 0) refuse(400, "Conflicting options: Nano CPUs and CPU Period cannot both be set");
    if (host.CpuQuota > 0) refuse(400, "Conflicting options: Nano CPUs and CPU Quota cannot both be set");
    const cpus = availableParallelism();
    if (host.NanoCpus < 0 || host.NanoCpus > cpus * NANO)
      refuse(400, `range of CPUs is from 0.01 to ${cpus}.00, as there are only ${cpus} CPUs available`);
  }
  if (host.CpuShares < 0) refuse(400, `invalid CPU shares (${host.CpuShares}): value must be a positive integer`);
  if (host.CpuPeriod !== 0 && (host.CpuPeriod < 1000 || host.CpuPeriod > 1_000_000))
    refuse(400, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)");
  if (host.CpuQuota > 0 && host.CpuQuota < 1000) refuse(400, "CPU cfs quota can not be less than 1ms (i.e. 1000)");
  validateCpuset(host.CpusetCpus);
}

/** "0-2,4": of the processors that are there. */
function validateCpuset(text: string): void {
  if (text === "") return;
  if (!/^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$/.test(text)) refuse(400, `Invalid value ${text} for cpuset cpus`);
  const last = processors().length - 1;
  if (text.split(/[,-]/).some((n) => Number(n) > last))
    refuse(400, `Requested CPUs are not available - requested ${text}, available: ${last === 0 ? "0" : `0-${last}`}`);
}

const securityOptions = ["label", "apparmor", "seccomp", "no-new-privileges", "systempaths", "writable-cgroups"];
/** Names by which clients ask for the runtime that there is. */
const runtimes = ["", "crun", "runc", "io.containerd.runc.v2"];

/** What would be left undone in silence otherwise: Docker 20.10's texts. */
function validateRuntime(host: HostConfig): void {
  if (!runtimes.includes(host.Runtime ?? "")) refuse(400, `Unknown runtime specified ${host.Runtime}`);
  for (const option of host.SecurityOpt ?? []) {
    if (option === "no-new-privileges" || option === "disable") continue;
    if (!/[=:]/.test(option)) refuse(400, `invalid --security-opt 1: ${JSON.stringify(option)}`);
    if (!securityOptions.includes(option.split(/[=:]/)[0]!)) refuse(400, `invalid --security-opt 2: ${JSON.stringify(option)}`);
  }
}

const logDrivers = ["json-file", "k8s-file", "local", "journald", "passthrough", "none"];

function validateNames(host: HostConfig): void {
  if (!logDrivers.includes(host.LogConfig.Type))
    refuse(400, `logger: no log driver named '${host.LogConfig.Type}' is registered`);
  for (const entry of host.ExtraHosts ?? []) {
    const colon = entry.search(/[:=]/);
    if (colon <= 0) refuse(400, `bad format for add-host: ${JSON.stringify(entry)}`);
    const ip = entry.slice(colon + 1).replace(/^\[(.*)\]$/, "$1");
    if (ip !== "host-gateway" && parseIp(ip) === undefined) refuse(400, `invalid IP address in add-host: ${JSON.stringify(ip)}`);
  }
  for (const ip of host.Dns ?? []) if (parseIp(ip) === undefined) refuse(400, `invalid IP address: ${ip}`);
  for (const bind of host.Binds ?? []) validateBind(bind);
}

/** "source:destination[:options]" or "destination" */
function validateBind(bind: string): void {
  const parts = bind.split(":");
  if (parts.length > 3 || parts.some((p) => p === "")) refuse(400, `invalid volume specification: '${bind}'`);
  const destination = parts.length === 1 ? parts[0]! : parts[1]!;
  if (!destination.startsWith("/"))
    refuse(
      400,
      `invalid volume specification: '${bind}': invalid mount config for type "volume": invalid mount path: '${destination}' mount path must be absolute`,
    );
  if (/^\/+\.?$/.test(destination))
    refuse(
      400,
      `invalid volume specification: '${bind}': invalid mount config for type "volume": invalid specification: destination can't be '/'`,
    );
}
