import { z } from "zod";
import { bool, checkedByHand, int, setOfKeys, str, stringMap, strings, strslice } from "./decode.js";

const portBindings = checkedByHand(
  z.record(z.string(), z.array(z.looseObject({ HostIp: str, HostPort: str })).nullable()).nullish(),
  (list) => list === null || (Array.isArray(list) && list.every(isPlainBinding)),
);

function isPlainBinding(binding: unknown): boolean {
  if (typeof binding !== "object" || binding === null || Array.isArray(binding)) return false;
  for (const [key, value] of Object.entries(binding))
    if ((key !== "HostIp" && key !== "HostPort") || typeof value !== "string") return false;
  return true;
}

const healthcheck = z
  .looseObject({ Test: strings, Interval: int, Timeout: int, StartPeriod: int, StartInterval: int, Retries: int })
  .nullish();

const device = z.looseObject({ PathOnHost: str, PathInContainer: str, CgroupPermissions: str });
const ulimit = z.looseObject({ Name: str, Soft: int, Hard: int });
const mount = z.looseObject({
  Type: str,
  Source: str,
  Target: str,
  ReadOnly: bool,
  Consistency: str,
  BindOptions: z.looseObject({ Propagation: str, NonRecursive: bool, CreateMountpoint: bool }).nullish(),
  VolumeOptions: z
    .looseObject({ NoCopy: bool, Labels: stringMap, DriverConfig: z.looseObject({ Name: str, Options: stringMap }).nullish() })
    .nullish(),
  TmpfsOptions: z.looseObject({ SizeBytes: int, Mode: int }).nullish(),
});

/** HostConfig as clients send it; fields that the engine does not act on are kept as they come. */
export const hostConfigSchema = z.looseObject({
  Binds: strings,
  NetworkMode: str,
  PortBindings: portBindings,
  RestartPolicy: z.looseObject({ Name: str, MaximumRetryCount: int }).nullish(),
  AutoRemove: bool,
  LogConfig: z.looseObject({ Type: str, Config: stringMap }).nullish(),
  Links: strings,
  PublishAllPorts: bool,
  Dns: strings,
  DnsOptions: strings,
  DnsSearch: strings,
  ExtraHosts: strings,
  CapAdd: strslice,
  CapDrop: strslice,
  Privileged: bool,
  ReadonlyRootfs: bool,
  Sysctls: stringMap,
  Tmpfs: stringMap,
  Mounts: z.array(mount).nullish(),
  VolumesFrom: strings,
  Memory: int,
  MemorySwap: int,
  MemoryReservation: int,
  NanoCpus: int,
  CpuShares: int,
  CpuQuota: int,
  CpuPeriod: int,
  CpusetCpus: str,
  CpusetMems: str,
  PidsLimit: int,
  Ulimits: z.array(ulimit).nullish(),
  Devices: z.array(device).nullish(),
  SecurityOpt: strings,
  GroupAdd: strings,
  Init: bool,
  IpcMode: str,
  PidMode: str,
  UTSMode: str,
  UsernsMode: str,
  CgroupnsMode: str,
  ShmSize: int,
  OomScoreAdj: int,
  OomKillDisable: bool,
  CgroupParent: str,
  MaskedPaths: strings,
  ReadonlyPaths: strings,
  Runtime: str,
});

export const endpointSettingsSchema = z
  .looseObject({
    IPAMConfig: z.looseObject({ IPv4Address: str, IPv6Address: str, LinkLocalIPs: strings }).nullish(),
    Links: strings,
    Aliases: strings,
    MacAddress: str,
    DriverOpts: stringMap,
    GwPriority: int,
  })
  .nullable();

const configShape = {
  Hostname: str,
  Domainname: str,
  User: str,
  AttachStdin: bool,
  AttachStdout: bool,
  AttachStderr: bool,
  ExposedPorts: setOfKeys,
  Tty: bool,
  OpenStdin: bool,
  StdinOnce: bool,
  Env: strings,
  Cmd: strslice,
  Healthcheck: healthcheck,
  Image: str,
  Volumes: setOfKeys,
  WorkingDir: str,
  Entrypoint: strslice,
  NetworkDisabled: bool,
  MacAddress: str,
  OnBuild: strings,
  Labels: stringMap,
  StopSignal: str,
  StopTimeout: int,
  Shell: strslice,
} as const;

export const containerConfigSchema = z.looseObject(configShape);

export const containerCreateSchema = z.looseObject({
  ...configShape,
  HostConfig: hostConfigSchema.nullish(),
  NetworkingConfig: z.looseObject({ EndpointsConfig: z.record(z.string(), endpointSettingsSchema).nullish() }).nullish(),
});

export const execCreateSchema = z.looseObject({
  User: str,
  Privileged: bool,
  Tty: bool,
  AttachStdin: bool,
  AttachStdout: bool,
  AttachStderr: bool,
  Detach: bool,
  DetachKeys: str,
  Env: strings,
  WorkingDir: str,
  Cmd: strslice,
});

export const execStartSchema = z.looseObject({ Detach: bool, Tty: bool });

export type ContainerCreateBody = z.output<typeof containerCreateSchema>;
export type ContainerConfigBody = z.output<typeof containerConfigSchema>;
export type HostConfigBody = z.output<typeof hostConfigSchema>;
