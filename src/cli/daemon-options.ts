import { Command, InvalidArgumentError } from "commander";
import { parseIp, parsePrefix } from "../base/ip.js";
import type { LogLevel } from "../base/log.js";
import { DEFAULT_HOST } from "./default-host.js";

/** What `linkspan daemon` was asked for: dockerd's flags as plain data. Absent means the engine's default. */
export interface DaemonOptions {
  /** "unix:///run/linkspan/docker.sock", "tcp://127.0.0.1:2375"; never empty */
  readonly hosts: readonly string[];
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly pidfile: string | undefined;
  readonly logLevel: LogLevel;
  /** Address and prefix of docker0 ("172.17.0.1/16") */
  readonly bip: string | undefined;
  readonly bip6: string | undefined;
  readonly fixedCidr: string | undefined;
  readonly fixedCidrV6: string | undefined;
  readonly defaultGateway: string | undefined;
  readonly ipv6: boolean;
  readonly defaultAddressPools: readonly { readonly base: string; readonly size: number }[];
  readonly icc: boolean;
  /** Default address of published ports */
  readonly ip: string;
  readonly ipMasq: boolean;
  readonly ipForward: boolean;
  /** Bytes; undefined: the uplink's */
  readonly mtu: number | undefined;
  readonly dns: readonly string[];
  readonly dnsSearch: readonly string[];
  readonly dnsOptions: readonly string[];
  /** "key=value" */
  readonly labels: readonly string[];
  /** "etcd://10.0.0.1:2379,10.0.0.2:2379/prefix" */
  readonly clusterStore: string | undefined;
  /** kv.cacertfile, kv.certfile, kv.keyfile, … */
  readonly clusterStoreOptions: Readonly<Record<string, string>>;
  /** "ADDRESS", "IFACE", either with ":port" */
  readonly clusterAdvertise: string | undefined;
  readonly insecureRegistries: readonly string[];
  readonly hostGatewayIp: string | undefined;
  readonly liveRestore: boolean;
  readonly defaultRuntime: string | undefined;
  readonly bridge: string | undefined;
}

/** The subcommand itself, for the program's help and for parsing. `action` gets the options when it is chosen. */
export function daemonCommand(action: (options: DaemonOptions) => Promise<void> | void): Command {
  const collect = (value: string, previous: readonly string[]): readonly string[] => [...previous, value];
  const command = new Command("daemon")
    .description("Run the engine")
    .option("-H, --host <host>", "Listen here: unix:///path or tcp://address:port (repeatable)", collect, [])
    .option("--data-root <dir>", "Directory of persistent state", "/var/lib/linkspan")
    .option("--exec-root <dir>", "Directory of run-time state", "/run/linkspan")
    .option("-p, --pidfile <file>", "File for the process id")
    .option("-l, --log-level <level>", "debug, info, warn or error", logLevel, "info")
    .option("-D, --debug", "The same as --log-level debug", false)
    .option("--bip <cidr>", "Address of the default bridge, as 172.17.0.1/16", cidrOf(4))
    .option("--bip6 <cidr>", "IPv6 address of the default bridge", cidrOf(6))
    .option("--fixed-cidr <cidr>", "IPv4 range for containers on the default bridge", cidrOf(4))
    .option("--fixed-cidr-v6 <cidr>", "IPv6 range for containers on the default bridge", cidrOf(6))
    .option("--default-gateway <ip>", "Gateway of containers on the default bridge", address)
    .option("--ipv6", "IPv6 on the default bridge", false)
    .option("--default-address-pool <pool>", "base=CIDR,size=LENGTH for networks without a subnet (repeatable)", addressPool, [])
    .option("--icc [bool]", "Containers of the default bridge may talk to each other", truth, true)
    .option("--ip <ip>", "Default address of published ports", address, "0.0.0.0")
    .option("--ip-masq [bool]", "Hide containers behind the host's address", truth, true)
    .option("--ip-forward [bool]", "Switch forwarding on where needed", truth, true)
    .option("--mtu <bytes>", "MTU of networks that name none", mtu)
    .option("--dns <ip>", "Upstream DNS server (repeatable)", (v: string, p: readonly string[]) => [...p, address(v)], [])
    .option("--dns-search <domain>", "DNS search domain (repeatable)", collect, [])
    .option("--dns-opt <option>", "resolv.conf option (repeatable)", collect, [])
    .option("--label <label>", "key=value label of the engine (repeatable)", collect, [])
    .option("--cluster-store <url>", "etcd://host:port[,host:port…][/prefix]")
    .option("--cluster-store-opt <option>", "kv.cacertfile=…, kv.certfile=…, kv.keyfile=… (repeatable)", keyValue, {})
    .option("--cluster-advertise <address>", "Address or interface, with or without :port, that other hosts reach")
    .option("--insecure-registry <registry>", "host:port or CIDR of registries without TLS (repeatable)", collect, [])
    .option("--host-gateway-ip <ip>", "What host-gateway in --add-host means", address)
    .option("--live-restore [bool]", "Accepted: containers survive a restart of the engine when this is set", truth, false)
    .option("--default-runtime <name>", "OCI runtime")
    .option("-b, --bridge <name>", "Existing device for the default bridge; none: no default bridge")
    .option("--userland-proxy [bool]", "Accepted; there is no such proxy", truth, false)
    .option("--iptables [bool]", "Accepted; the firewall is the engine's own nftables table", truth, true)
    .option("--ip6tables [bool]", "Accepted; as --iptables", truth, true)
    .option("--storage-driver <name>", "Accepted; overlay2 only")
    .option("--exec-opt <option>", "Accepted (repeatable)", collect, [])
    .option("--experimental [bool]", "Accepted", truth, false)
    .allowExcessArguments(false);
  command.action(async (raw: RawOptions) => action(settings(raw)));
  return command;
}

/** Arguments behind `daemon` → options. Throws commander's CommanderError on a bad flag (exitCode, message). */
export function parseDaemonOptions(args: readonly string[]): DaemonOptions {
  let out: DaemonOptions | undefined;
  const command = daemonCommand((options) => {
    out = options;
  });
  command.exitOverride().configureOutput({ writeErr: () => undefined, writeOut: () => undefined });
  command.parse([...args], { from: "user" });
  return out!;
}

interface RawOptions {
  host: string[];
  dataRoot: string;
  execRoot: string;
  pidfile?: string;
  logLevel: LogLevel;
  debug: boolean;
  bip?: string;
  bip6?: string;
  fixedCidr?: string;
  fixedCidrV6?: string;
  defaultGateway?: string;
  ipv6: boolean;
  defaultAddressPool: { base: string; size: number }[];
  icc: boolean;
  ip: string;
  ipMasq: boolean;
  ipForward: boolean;
  mtu?: number;
  dns: string[];
  dnsSearch: string[];
  dnsOpt: string[];
  label: string[];
  clusterStore?: string;
  clusterStoreOpt: Record<string, string>;
  clusterAdvertise?: string;
  insecureRegistry: string[];
  hostGatewayIp?: string;
  liveRestore: boolean;
  defaultRuntime?: string;
  bridge?: string;
}

function settings(raw: RawOptions): DaemonOptions {
  return {
    hosts: raw.host.length === 0 ? [DEFAULT_HOST] : raw.host,
    dataRoot: raw.dataRoot,
    execRoot: raw.execRoot,
    pidfile: raw.pidfile,
    logLevel: raw.debug ? "debug" : raw.logLevel,
    bip: raw.bip,
    bip6: raw.bip6,
    fixedCidr: raw.fixedCidr,
    fixedCidrV6: raw.fixedCidrV6,
    defaultGateway: raw.defaultGateway,
    ipv6: raw.ipv6,
    defaultAddressPools: raw.defaultAddressPool,
    icc: raw.icc,
    ip: raw.ip,
    ipMasq: raw.ipMasq,
    ipForward: raw.ipForward,
    mtu: raw.mtu === 0 ? undefined : raw.mtu,
    dns: raw.dns,
    dnsSearch: raw.dnsSearch,
    dnsOptions: raw.dnsOpt,
    labels: raw.label,
    clusterStore: raw.clusterStore,
    clusterStoreOptions: raw.clusterStoreOpt,
    clusterAdvertise: raw.clusterAdvertise,
    insecureRegistries: raw.insecureRegistry,
    hostGatewayIp: raw.hostGatewayIp,
    liveRestore: raw.liveRestore,
    defaultRuntime: raw.defaultRuntime,
    bridge: raw.bridge,
  };
}

function truth(value: string): boolean {
  if (["1", "t", "true"].includes(value.toLowerCase())) return true;
  if (["0", "f", "false"].includes(value.toLowerCase())) return false;
  throw new InvalidArgumentError("use true or false.");
}

function logLevel(value: string): LogLevel {
  const level = value === "fatal" ? "error" : value === "warning" ? "warn" : value;
  if (level !== "debug" && level !== "info" && level !== "warn" && level !== "error")
    throw new InvalidArgumentError("use debug, info, warn or error.");
  return level;
}

function address(value: string): string {
  const ip = parseIp(value);
  if (ip === undefined) throw new InvalidArgumentError(`${value} is not an ip address.`);
  return ip;
}

function cidrOf(family: 4 | 6): (value: string) => string {
  return (value) => {
    const prefix = parsePrefix(value);
    if (prefix === undefined || prefix.family !== family) throw new InvalidArgumentError(`invalid CIDR address: ${value}`);
    return value;
  };
}

/** "base=10.10.0.0/16,size=24" */
function addressPool(
  value: string,
  previous: readonly { base: string; size: number }[],
): readonly { base: string; size: number }[] {
  const fields = Object.fromEntries(value.split(",").map((f) => [f.slice(0, f.indexOf("=")), f.slice(f.indexOf("=") + 1)]));
  const base = parsePrefix(fields["base"] ?? "");
  const size = Number(fields["size"]);
  if (base === undefined || !Number.isInteger(size) || size < base.length || size > (base.family === 4 ? 32 : 128))
    throw new InvalidArgumentError("use base=CIDR,size=LENGTH.");
  return [...previous, { base: fields["base"]!, size }];
}

function mtu(value: string): number {
  const n = Number(value);
  if (!Number.isInteger(n) || n < 0 || n > 65535) throw new InvalidArgumentError("use a number of bytes.");
  return n;
}

function keyValue(value: string, previous: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  const eq = value.indexOf("=");
  if (eq <= 0) throw new InvalidArgumentError("use key=value.");
  return { ...previous, [value.slice(0, eq)]: value.slice(eq + 1) };
}
