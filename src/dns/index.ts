export type { DnsEndpoint, DnsLink, DnsNetwork, DnsSandbox, DnsService, DnsStats } from "./contract.js";
export type { EtcHostsInput, HostResolv, ResolvConfInput } from "./etc-files.js";
export {
  hostnameFile,
  hostsFile,
  hostsFileOfHost,
  parseExtraHost,
  parseResolvConf,
  resolvConfFile,
} from "./etc-files.js";
export { readHostResolv, watchHostResolv } from "./host-resolv.js";
export type { LinkedContainer } from "./link-env.js";
export { linkEnvironment } from "./link-env.js";
export { startDns } from "./server.js";
export { writeEtcFile } from "./write-etc.js";
