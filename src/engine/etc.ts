import { mkdir, readFile } from "node:fs/promises";
import { refuse } from "../base/errors.js";
import {
  hostnameFile,
  hostsFile,
  hostsFileOfHost,
  parseExtraHost,
  readHostResolv,
  resolvConfFile,
  writeEtcFile,
} from "../dns/index.js";
import { type Container, endpointsOfContainer, type HostConfig, isUserDefined } from "../model/index.js";
import { containerDirectory, type EngineContext, etcPath } from "./context.js";
import { isGatewayEndpoint } from "./gateway.js";
import { bridgeAddress, defaultBridgeId, parseLink } from "./links.js";
import { isRunning } from "./resolve.js";

/** What of a container these files are made from. */
interface EtcOwner {
  readonly id: string;
  readonly config: Pick<Container["config"], "Hostname" | "Domainname">;
  readonly hostConfig: Pick<HostConfig, "NetworkMode" | "Links" | "ExtraHosts" | "Dns" | "DnsSearch" | "DnsOptions">;
}

/** The same three files for the steps of a build, which are no container of the model's. */
export async function writeBuildFiles(
  ctx: EngineContext,
  build: { readonly id: string; readonly hostname: string; readonly network: string; readonly extraHosts: readonly string[] },
): Promise<void> {
  await mkdir(containerDirectory(ctx, build.id), { recursive: true, mode: 0o710 });
  const none = { Dns: null, DnsSearch: null, DnsOptions: null, Links: null };
  await writeEtcFiles(ctx, {
    id: build.id,
    config: { Hostname: build.hostname, Domainname: "" },
    hostConfig: { ...none, NetworkMode: build.network, ExtraHosts: [...build.extraHosts] },
  });
}

/** Writes /etc/hosts, /etc/resolv.conf and /etc/hostname of a container as its networks are now. */
export async function writeEtcFiles(ctx: EngineContext, container: EtcOwner): Promise<void> {
  if (container.hostConfig.NetworkMode.startsWith("container:")) return;
  const { Hostname, Domainname } = container.config;
  writeEtcFile(etcPath(ctx, container.id, "hostname"), hostnameFile(Domainname ? `${Hostname}.${Domainname}` : Hostname));
  await writeHosts(ctx, container);
  writeResolvConf(ctx, container);
}

export async function writeHosts(ctx: EngineContext, container: EtcOwner): Promise<void> {
  const extraHosts = extraHostsOf(ctx, container);
  const path = etcPath(ctx, container.id, "hosts");
  if (container.hostConfig.NetworkMode === "host") {
    writeEtcFile(path, hostsFileOfHost(await readFile("/etc/hosts", "utf8").catch(() => ""), extraHosts));
    return;
  }
  // The gateway bridge is a way out, not a network that the user chose: Docker does not list its addresses either.
  const addresses = endpointsOfContainer(ctx.state, container.id)
    .filter((e) => !isGatewayEndpoint(ctx, e))
    .map((e) => ({
      ...(e.ipv4 === undefined ? {} : { ipv4: e.ipv4 }),
      ...(e.ipv6 === undefined ? {} : { ipv6: e.ipv6 }),
    }));
  const links = (container.hostConfig.Links ?? []).flatMap((text) => {
    const { target: name, alias } = parseLink(text);
    const id = ctx.state.index.containerByName.get(name);
    const target = id === undefined ? undefined : ctx.state.containers.get(id);
    const ip = target === undefined ? undefined : bridgeAddress(ctx, target.id);
    return target === undefined || ip === undefined ? [] : [{ ip, alias, hostname: target.config.Hostname, name }];
  });
  writeEtcFile(
    path,
    hostsFile({ hostname: container.config.Hostname, domainname: container.config.Domainname, extraHosts, links, addresses }),
  );
}

export function writeResolvConf(ctx: EngineContext, container: EtcOwner): void {
  const endpoints = endpointsOfContainer(ctx.state, container.id);
  const mode = container.hostConfig.NetworkMode;
  const named = endpoints.some((e) => isUserDefined(ctx.state.networks.get(e.networkId)!));
  writeEtcFile(
    etcPath(ctx, container.id, "resolv.conf"),
    resolvConfFile({
      host: readHostResolv(),
      mode: mode === "host" || mode === "none" ? "host" : named ? "user" : "default",
      dns: or(container.hostConfig.Dns, ctx.options.dns),
      dnsSearch: or(container.hostConfig.DnsSearch, ctx.options.dnsSearch),
      dnsOptions: or(container.hostConfig.DnsOptions, ctx.options.dnsOptions),
      ipv6: endpoints.some((e) => e.ipv6 !== undefined),
    }),
  );
}

/** Upstreams of the embedded resolver; empty: the host's. */
export const upstreamsOf = (ctx: EngineContext, container: Container): readonly string[] =>
  or(container.hostConfig.Dns, ctx.options.dns);

function or(own: readonly string[] | null, engine: readonly string[]): readonly string[] {
  return own !== null && own !== undefined && own.length > 0 ? own : engine;
}

export function extraHostsOf(ctx: EngineContext, container: Pick<EtcOwner, "hostConfig">): { name: string; ip: string }[] {
  const bridge = ctx.state.networks.get(defaultBridgeId(ctx) ?? "");
  const gateway = ctx.options.hostGatewayIp ?? bridge?.pools.find((p) => p.family === 4)?.gateway;
  return (container.hostConfig.ExtraHosts ?? []).map(
    (text) =>
      parseExtraHost(text.replace("=", ":"), gateway) ??
      refuse(400, `invalid IP address in add-host: ${JSON.stringify(text.slice(text.indexOf(":") + 1))}`),
  );
}

/** The containers linked to one that has a new address: their /etc/hosts follow. */
export async function refreshLinkedHosts(ctx: EngineContext, parents: readonly Container[]): Promise<void> {
  for (const parent of parents) if (isRunning(parent)) await writeHosts(ctx, parent);
}
