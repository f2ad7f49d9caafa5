import { ipFamily, parseIp } from "../base/ip.js";

/** What stands in a resolv.conf, as far as a container's is made from it. */
export interface HostResolv {
  readonly nameservers: readonly string[];
  readonly search: readonly string[];
  readonly options: readonly string[];
  /** The file as it is. Docker hands it on unchanged where nothing of it is overridden. */
  readonly text: string;
}

/** resolv.conf(5): the last `search` (or `domain`) line counts, options accumulate, comments start with # or ;. Lines that are not understood are left out. */
export function parseResolvConf(text: string): HostResolv {
  const nameservers: string[] = [];
  const options: string[] = [];
  let search: string[] = [];
  for (const line of text.split("\n")) {
    const words = line
      .replace(/[#;].*$/, "")
      .split(/\s+/)
      .filter((word) => word !== "");
    const [keyword, ...values] = words;
    if (keyword === "nameserver" && values[0] !== undefined) nameservers.push(values[0]);
    else if (keyword === "search" || keyword === "domain") search = values;
    else if (keyword === "options") options.push(...values);
  }
  return { nameservers, search, options, text };
}

/** Who answers when the host's file names only resolvers that a container cannot reach: Docker's choice. */
const fallback4 = ["8.8.8.8", "8.8.4.4"];
const fallback6 = ["2001:4860:4860::8888", "2001:4860:4860::8844"];

export interface ResolvConfInput {
  readonly host: HostResolv;
  /**
   * "default": default bridge (the host's resolvers, less those that only the host can reach);
   * "user": a user-defined network (127.0.0.11); "host": host and none mode, the host's file as it is.
   */
  readonly mode: "default" | "user" | "host";
  /** --dns, --dns-search, --dns-option; the engine's own settings already applied. */
  readonly dns: readonly string[];
  readonly dnsSearch: readonly string[];
  readonly dnsOptions: readonly string[];
  /** The container has IPv6: resolvers with such addresses are of use to it. */
  readonly ipv6: boolean;
}

/**
 * Text of /etc/resolv.conf: search, nameserver lines, options, in that order. `--dns-search .` means no search line at all.
 * On a user-defined network the upstreams are the embedded resolver's business, and `ndots:0` has container names tried
 * as they stand, before the search list.
 */
export function resolvConfFile(input: ResolvConfInput): string {
  const { host, mode } = input;
  const overridden = input.dns.length + input.dnsSearch.length + input.dnsOptions.length > 0;
  const search = (input.dnsSearch.length > 0 ? input.dnsSearch : host.search).filter((domain) => domain !== ".");
  const options = input.dnsOptions.length > 0 ? input.dnsOptions : host.options;
  if (mode === "user") {
    const withNdots = options.some((option) => option.startsWith("ndots:")) ? options : [...options, "ndots:0"];
    return build(search, ["127.0.0.11"], withNdots);
  }
  if (mode === "host" && !overridden) return host.text;
  const nameservers =
    input.dns.length > 0 ? input.dns : mode === "host" ? host.nameservers : reachable(host.nameservers, input.ipv6);
  const changed = nameservers.length !== host.nameservers.length || nameservers.some((ip, i) => ip !== host.nameservers[i]);
  if (!overridden && !changed && host.text !== "") return host.text.endsWith("\n") ? host.text : `${host.text}\n`;
  return build(search, nameservers, options);
}

function reachable(nameservers: readonly string[], ipv6: boolean): readonly string[] {
  const kept = nameservers.filter((ip) => {
    const address = parseIp(ip.replace(/%.*$/, ""));
    if (address === undefined || isLoopback(address)) return false;
    return ipv6 || ipFamily(address) === 4;
  });
  if (kept.length > 0) return kept;
  return ipv6 ? [...fallback4, ...fallback6] : fallback4;
}

/** 127.0.0.0/8 and ::1: in a container's namespace this is the container itself. */
export const isLoopback = (ip: string): boolean => ip === "::1" || ip.startsWith("127.");

function build(search: readonly string[], nameservers: readonly string[], options: readonly string[]): string {
  let text = "";
  if (search.length > 0) text += `search ${search.join(" ")}\n`;
  for (const ip of nameservers) text += `nameserver ${ip}\n`;
  if (options.length > 0) text += `options ${options.join(" ")}\n`;
  return text;
}

export interface EtcHostsInput {
  readonly hostname: string;
  readonly domainname: string;
  /** --add-host, each as parseExtraHost gives it */
  readonly extraHosts: readonly { readonly name: string; readonly ip: string }[];
  /** `--link` on the default bridge: the target's address now, alias first. */
  readonly links: readonly LinkLine[];
  /** The container's own addresses, in the order in which its networks were joined. */
  readonly addresses: readonly { readonly ipv4?: string; readonly ipv6?: string }[];
}

export interface LinkLine {
  readonly ip: string;
  readonly alias: string;
  /** The target's host name (its short id unless it was given one) */
  readonly hostname: string;
  /** The target's container name, without slash */
  readonly name: string;
}

const hostsHead = `127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
`;

/** Text of /etc/hosts: fixed lines, extra hosts, links, then one line per own address. */
export function hostsFile(input: EtcHostsInput): string {
  let text = hostsHead;
  for (const { name, ip } of input.extraHosts) text += `${ip}\t${name}\n`;
  for (const { ip, alias, hostname, name } of input.links)
    text += `${ip}\t${alias} ${hostname}${name === alias ? "" : ` ${name}`}\n`;
  const own = input.domainname === "" ? input.hostname : `${input.hostname}.${input.domainname} ${input.hostname}`;
  for (const { ipv4, ipv6 } of input.addresses) {
    if (ipv4 !== undefined && ipv4 !== "") text += `${ipv4}\t${own}\n`;
    if (ipv6 !== undefined && ipv6 !== "") text += `${ipv6}\t${own}\n`;
  }
  return text;
}

/** Host mode: the host's own file, with --add-host lines after it. */
export function hostsFileOfHost(hostText: string, extraHosts: readonly { readonly name: string; readonly ip: string }[]): string {
  let text = hostText === "" || hostText.endsWith("\n") ? hostText : `${hostText}\n`;
  for (const { name, ip } of extraHosts) text += `${ip}\t${name}\n`;
  return text;
}

/** Docker writes the host name alone, without its domain, and a line end. */
export const hostnameFile = (hostname: string): string => `${hostname}\n`;

/**
 * One `--add-host` value: "name:ip" (the address may be IPv6, with or without brackets) or "name:host-gateway".
 * undefined: malformed, or host-gateway where no gateway address is known.
 */
export function parseExtraHost(
  text: string,
  hostGateway: string | undefined,
): { readonly name: string; readonly ip: string } | undefined {
  const colon = text.indexOf(":");
  if (colon <= 0) return undefined;
  const name = text.slice(0, colon);
  const value = text.slice(colon + 1).replace(/^\[(.*)\]$/, "$1");
  const ip = value === "host-gateway" ? hostGateway : parseIp(value);
  return ip === undefined || /\s/.test(name) ? undefined : { name, ip };
}
