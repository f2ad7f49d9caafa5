import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Endpoint, Network, PortMapping } from "../../src/model/network.js";
import type { KernelObject } from "../../src/plan/objects.js";
import { endpointRecord, networkRecord } from "../lib/records.js";
import { output } from "../lib/run.js";
import { addNamespace, joinNamespaces, removeSpace } from "../lib/space.js";
import { renderNft, renderSysctls } from "./render.js";

export const HOST4 = "192.168.205.10";
export const HOST4_SECOND = "192.168.205.11";
export const HOST6 = "fd00:205::10";
export const HOST6_SECOND = "fd00:205::11";
export const OUT4 = "192.168.205.99";
export const OUT6 = "fd00:205::99";

export interface Box {
  readonly name: string;
  readonly ns: string;
  readonly endpoint: Endpoint;
}

/** Namespaces of a host, an outside machine on its LAN, and containers on bridges; all named lst<tag>…, removed by close(). */
export class Lab {
  readonly dir = mkdtempSync(join(tmpdir(), "lst-fw-"));
  readonly tag: string;
  readonly #namespaces: string[] = [];
  readonly #children: ChildProcess[] = [];
  #sequence = 0;

  constructor(tag: string) {
    this.tag = `lst${tag}${process.pid % 10000}`;
  }

  get host(): string {
    return `${this.tag}h`;
  }
  get outside(): string {
    return `${this.tag}o`;
  }

  addNamespace(ns: string): string {
    addNamespace(ns);
    this.#namespaces.push(ns);
    output("ip", "netns", "exec", ns, "sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.all.accept_dad=0");
    return ns;
  }

  /** The host and the outside machine, joined by a veth pair: eth0 at both ends. */
  addHost(): void {
    this.addNamespace(this.host);
    this.addNamespace(this.outside);
    joinNamespaces(
      { ns: this.host, addresses: [`${HOST4}/24`, `${HOST4_SECOND}/24`, `${HOST6}/64`, `${HOST6_SECOND}/64`] },
      { ns: this.outside, addresses: [`${OUT4}/24`, `${OUT6}/64`] },
    );
  }

  addBridge(network: Network): void {
    const bridge = network.bridgeName!;
    output("ip", "-n", this.host, "link", "add", bridge, "type", "bridge");
    for (const pool of network.pools) {
      const address = `${pool.gateway}/${pool.subnet.split("/")[1]}`;
      output("ip", "-n", this.host, "addr", "add", address, "dev", bridge, ...(pool.family === 6 ? ["nodad"] : []));
    }
    output("ip", "-n", this.host, "link", "set", bridge, "up");
  }

  /** A container's namespace with eth0 on the network's bridge. `last` is the last part of its addresses. */
  addContainer(
    network: Network,
    name: string,
    last: number,
    options: {
      readonly ports?: readonly PortMapping[];
      readonly isolated?: boolean;
      readonly exposedPorts?: readonly string[];
    } = {},
  ): Box {
    const ns = this.addNamespace(`${this.tag}c${++this.#sequence}`);
    const veth = `veth${this.#sequence.toString(16).padStart(7, "0")}`;
    const pool = (family: 4 | 6) => network.pools.find((p) => p.family === family);
    const [pool4, pool6] = [pool(4), pool(6)];
    const ipv4 = pool4?.gateway.replace(/\d+$/, String(last));
    const ipv6 = pool6?.gateway.replace(/[0-9a-f]+$/, last.toString(16));
    const mac = `02:42:00:00:${this.#sequence.toString(16).padStart(2, "0")}:${last.toString(16).padStart(2, "0")}`;
    output("ip", "-n", this.host, "link", "add", veth, "type", "veth", "peer", "name", "eth0", "address", mac, "netns", ns);
    output("ip", "-n", this.host, "link", "set", veth, "master", network.bridgeName!, "up");
    if (options.isolated) output("bridge", "-n", this.host, "link", "set", "dev", veth, "isolated", "on");
    if (pool4 && ipv4) output("ip", "-n", ns, "addr", "add", `${ipv4}/${pool4.subnet.split("/")[1]}`, "dev", "eth0");
    if (ipv6) output("ip", "-n", ns, "addr", "add", `${ipv6}/64`, "dev", "eth0", "nodad");
    output("ip", "-n", ns, "link", "set", "eth0", "up");
    if (pool4) output("ip", "-n", ns, "route", "add", "default", "via", pool4.gateway);
    if (pool6) output("ip", "-n", ns, "-6", "route", "add", "default", "via", pool6.gateway);
    const endpoint = this.#endpoint(network, name, ns, {
      mac,
      hostIfname: veth,
      ...(ipv4 ? { ipv4 } : {}),
      ...(ipv6 ? { ipv6 } : {}),
      ports: options.ports ?? [],
      exposedPorts: options.exposedPorts ?? [],
    });
    return { name, ns, endpoint };
  }

  /** A container of a routed network: /32 and /128 on a veth pair, the host's end answers for 169.254.1.1 and fe80::1. */
  addRouted(network: Network, name: string, last: number, ports: readonly PortMapping[] = []): Box {
    const ns = this.addNamespace(`${this.tag}c${++this.#sequence}`);
    const veth = `veth${this.#sequence.toString(16).padStart(7, "0")}`;
    const [ipv4, ipv6] = network.pools.map((p) => p.gateway.replace(/[0-9a-f]+$/, String(last))) as [string, string];
    const mac = `02:42:00:01:00:${last.toString(16).padStart(2, "0")}`;
    output("ip", "-n", this.host, "link", "add", veth, "type", "veth", "peer", "name", "eth0", "address", mac, "netns", ns);
    output("ip", "-n", this.host, "link", "set", veth, "address", "ee:ee:ee:ee:ee:ee", "up");
    output("ip", "-n", ns, "link", "set", "eth0", "up");
    this.exec(this.host, "sysctl", "-qw", `net.ipv4.conf.${veth}.proxy_arp=1`);
    output("ip", "-n", this.host, "addr", "add", "fe80::1/64", "dev", veth, "nodad");
    for (const [family, own, gateway] of [
      ["-4", `${ipv4}/32`, "169.254.1.1"],
      ["-6", `${ipv6}/128`, "fe80::1"],
    ] as const) {
      output("ip", "-n", ns, family, "addr", "add", own, "dev", "eth0", ...(family === "-6" ? ["nodad"] : []));
      output("ip", "-n", ns, "neigh", "add", gateway, "lladdr", "ee:ee:ee:ee:ee:ee", "dev", "eth0", "nud", "permanent");
      output("ip", "-n", ns, family, "route", "add", "default", "via", gateway, "dev", "eth0", "onlink");
      output("ip", "-n", this.host, family, "route", "add", own, "dev", veth);
    }
    return { name, ns, endpoint: this.#endpoint(network, name, ns, { mac, hostIfname: veth, ipv4, ipv6, ports }) };
  }

  #endpoint(network: Network, name: string, ns: string, over: Partial<Endpoint>): Endpoint {
    return endpointRecord({
      id: this.#sequence.toString(16).padStart(64, "0"),
      networkId: network.id,
      sandboxId: ns,
      containerId: ns,
      name,
      defaultRoute4: true,
      defaultRoute6: true,
      sequence: this.#sequence,
      ...over,
    });
  }

  load(objects: readonly KernelObject[]): void {
    this.nft(renderNft(objects));
    const settings = [...new Set(renderSysctls(objects))];
    if (settings.length > 0) output("ip", "netns", "exec", this.host, "sysctl", "-qw", ...settings);
  }

  nft(text: string): void {
    const file = join(this.dir, "rules.nft");
    writeFileSync(file, text);
    output("ip", "netns", "exec", this.host, "nft", "-f", file);
  }

  exec(ns: string, ...command: string[]): string {
    return output("ip", "netns", "exec", ns, ...command);
  }

  /** Exit status 0? Output is thrown away. */
  try(ns: string, ...command: string[]): boolean {
    try {
      execFileSync("ip", ["netns", "exec", ns, ...command], { stdio: "ignore", timeout: 10_000 });
      return true;
    } catch {
      return false;
    }
  }

  /** Starts a program and resolves when it prints "ready". */
  start(ns: string, ...command: string[]): Promise<ChildProcess> {
    const child = spawn("ip", ["netns", "exec", ns, ...command], { stdio: ["ignore", "pipe", "inherit"] });
    this.#children.push(child);
    return new Promise((resolve, reject) => {
      child.once("exit", (code) => reject(new Error(`${command.join(" ")} ended with ${code}`)));
      child.stdout!.on("data", (data: Buffer) => {
        if (data.includes("ready")) resolve(child);
      });
    });
  }

  close(): void {
    for (const child of this.#children) child.kill("SIGKILL");
    for (const ns of this.#namespaces) removeSpace(ns);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export function bridgeNetwork(
  name: string,
  bridgeName: string,
  subnet: number,
  options: { readonly options?: Record<string, string>; readonly internal?: boolean; readonly ipv6?: boolean } = {},
): Network {
  const ipv6 = options.ipv6 ?? true;
  return networkRecord({
    id: subnet.toString(16).padStart(64, "0"),
    name,
    enableIPv6: ipv6,
    internal: options.internal ?? false,
    options: options.options ?? {},
    pools: [
      { family: 4, subnet: `172.${subnet}.0.0/16`, gateway: `172.${subnet}.0.1`, aux: {}, userSubnet: false },
      ...(ipv6
        ? [{ family: 6 as const, subnet: `fd00:${subnet}::/64`, gateway: `fd00:${subnet}::1`, aux: {}, userSubnet: false }]
        : []),
    ],
    bridgeName,
  });
}
