import type { ClusterHost, ClusterLab } from "./lab.js";

/** What the test believes of one container: where it is, and the networks that it is on. */
export interface Expected {
  readonly host: ClusterHost;
  readonly networks: Set<string>;
  /** An operation was cut off: it may have happened or not. What the engine says is believed once. */
  unsure: boolean;
}

interface Present {
  readonly id: string;
  readonly running: boolean;
  /** network → address */
  readonly addresses: Readonly<Record<string, string>>;
}

/** Forwarding entries, a line of two dashes, neighbours. */
const LOOK = "bridge fdb show dev vxlan0; echo --; ip -4 neigh show dev vxlan0";

/** Everything that is looked at in a quiet moment, and what is wrong with it. */
export class World {
  readonly expected = new Map<string, Expected>();
  readonly networks = new Map<string, { readonly driver: string }>();
  readonly #lab: ClusterLab;
  readonly #namespaces = new Map<string, string>();
  pairs = 0;

  constructor(lab: ClusterLab) {
    this.#lab = lab;
  }

  /** Sentences; empty when all is as it should be. `negatives`: how many forbidden targets each container tries. */
  async problems(random: () => number, negatives: number): Promise<readonly string[]> {
    const problems: string[] = [];
    const present = new Map<string, Present & { readonly host: ClusterHost }>();
    for (const host of this.#lab.hosts)
      for (const [name, container] of await this.#listed(host)) present.set(name, { ...container, host });
    this.#compareContainers(present, problems);
    if (problems.length > 0) return problems;
    await this.#compareStore(present, problems);
    for (const host of this.#lab.hosts) {
      for (const difference of await host.differences()) problems.push(`host${host.number}: ${difference}`);
    }
    await this.#compareForwarding(problems);
    if (problems.length === 0) await this.#compareReach(present, random, negatives, problems);
    return problems;
  }

  async #listed(host: ClusterHost): Promise<Map<string, Present>> {
    const list = (await host.must("GET", "/containers/json?all=1")) as {
      Id: string;
      Names: string[];
      State: string;
      NetworkSettings: { Networks: Record<string, { IPAddress: string }> };
    }[];
    const out = new Map<string, Present>();
    for (const c of list) {
      const addresses = Object.entries(c.NetworkSettings.Networks).map(([n, e]) => [n, e.IPAddress] as const);
      out.set(c.Names[0]!.slice(1), {
        id: c.Id,
        running: c.State === "running",
        addresses: Object.fromEntries(addresses.filter(([n]) => n !== "docker_gwbridge")),
      });
    }
    return out;
  }

  #compareContainers(present: ReadonlyMap<string, Present & { readonly host: ClusterHost }>, problems: string[]): void {
    for (const [name, e] of this.expected) {
      const p = present.get(name);
      if (e.unsure) {
        e.unsure = false;
        if (p === undefined || !p.running) {
          if (p === undefined) this.expected.delete(name);
          continue;
        }
        e.networks.clear();
        for (const n of Object.keys(p.addresses)) e.networks.add(n);
      }
      const is = p === undefined || !p.running ? "none" : Object.keys(p.addresses).sort().join(",");
      const should = [...e.networks].sort().join(",");
      if (is !== should) problems.push(`${name} on host${e.host.number} should be on ${should}, is on ${is}`);
    }
    for (const name of present.keys()) if (!this.expected.has(name)) problems.push(`${name} should not exist`);
  }

  /** Endpoints, addresses and names in etcd are those of the containers, no more and no less. */
  async #compareStore(present: ReadonlyMap<string, Present>, problems: string[]): Promise<void> {
    const stored = await this.#lab.stored();
    const ids = new Map<string, string>();
    for (const [key, value] of stored) {
      const id = /\/network\/([0-9a-f]{64})$/.exec(key)?.[1];
      if (id) ids.set(id, (JSON.parse(value) as { name: string }).name);
    }
    const collect = (kind: string, row: (networkId: string, last: string, value: string) => string) =>
      [...stored]
        .flatMap(([key, value]) => {
          const match = new RegExp(`/${kind}/([0-9a-f]{64})/(.+)$`).exec(key);
          return match ? [row(ids.get(match[1]!) ?? match[1]!, match[2]!, value)] : [];
        })
        .sort();
    const all = [...present].flatMap(([name, p]) =>
      p.running ? Object.entries(p.addresses).map(([n, ip]) => ({ name, n, ip })) : [],
    );
    const same = (what: string, is: readonly string[], should: readonly string[]) => {
      for (const x of is) if (!should.includes(x)) problems.push(`etcd has the ${what} ${x} too many`);
      for (const x of should) if (!is.includes(x)) problems.push(`etcd lacks the ${what} ${x}`);
      if (new Set(is).size !== is.length) problems.push(`etcd has a ${what} twice`);
    };
    const endpoints = collect("endpoint", (n, _, value) => {
      const e = JSON.parse(value) as { name: string; ep_iface: { addr: string } };
      return `${n} ${e.name} ${e.ep_iface.addr}`;
    });
    same(
      "endpoint",
      endpoints,
      all.map((e) => `${e.n} ${e.name} ${e.ip}`),
    );
    same(
      "address",
      collect("address", (n, ip) => `${n} ${ip}`),
      all.map((e) => `${e.n} ${e.ip}`),
    );
    same(
      "name",
      collect("name", (n, name) => `${n} ${name}`),
      all.map((e) => `${e.n} ${e.name}`),
    );
    const addresses = all.map((e) => e.ip);
    if (new Set(addresses).size !== addresses.length) problems.push("an address was given twice");
    for (const name of ids.values()) if (!this.networks.has(name)) problems.push(`network ${name} should not exist`);
    for (const name of this.networks.keys()) if (![...ids.values()].includes(name)) problems.push(`network ${name} should exist`);
  }

  /** Forwarding and neighbour entries of each overlay on each host, computed here from etcd alone. */
  async #compareForwarding(problems: string[]): Promise<void> {
    const stored = await this.#lab.stored();
    const nodes = new Map<string, string>();
    const byNetwork = new Map<string, { node: string; mac: string; ip: string }[]>();
    for (const [key, value] of stored) {
      if (/\/node\//.test(key)) {
        const node = JSON.parse(value) as { id: string; address: string };
        nodes.set(node.id, node.address);
      }
      const networkId = /\/endpoint\/([0-9a-f]{64})\//.exec(key)?.[1];
      if (networkId === undefined) continue;
      const { endpoint } = (JSON.parse(value) as { linkspan: { endpoint: { node: string; mac: string; ipv4: string } } })
        .linkspan;
      const list = byNetwork.get(networkId) ?? [];
      list.push({ node: endpoint.node, mac: endpoint.mac, ip: endpoint.ipv4 });
      byNetwork.set(networkId, list);
    }
    for (const host of this.#lab.hosts) {
      const namespaces = new Set(host.overlayNamespaces());
      for (const [networkId, endpoints] of byNetwork) {
        const ns = `ov-${networkId.slice(0, 12)}`;
        const here = endpoints.some((e) => nodes.get(e.node) === host.address);
        const overlay = this.networks.get(this.#nameOf(stored, networkId))?.driver === "overlay";
        if (namespaces.has(ns) !== (here && overlay))
          problems.push(`host${host.number}: namespace ${ns} ${here ? "is missing" : "is left"}`);
        if (!namespaces.delete(ns) || !here) continue;
        const remote = endpoints.filter((e) => nodes.get(e.node) !== host.address);
        const inside = (await host.space.run("nsenter", [`--net=${host.namespacePath(ns)}`, "--", "sh", "-c", LOOK])).stdout;
        const [bridge = "", neighbours = ""] = inside.split("--\n");
        const fdb = bridge.split("\n").flatMap((line) => {
          const match = /^(\S+) .*\bdst (\S+)/.exec(line);
          return match ? [`${match[1]} ${match[2]}`] : [];
        });
        const neigh = neighbours.split("\n").flatMap((line) => {
          const match = /^(\S+) .*lladdr (\S+) .*PERMANENT/.exec(line);
          return match ? [`${match[1]} ${match[2]}`] : [];
        });
        const differ = (what: string, is: readonly string[], should: readonly string[]) => {
          if (is.toSorted().join() !== should.toSorted().join())
            problems.push(`host${host.number} ${ns}: ${what} ${is.join(",")} instead of ${should.join(",")}`);
        };
        differ(
          "forwarding",
          fdb,
          remote.map((e) => `${e.mac} ${nodes.get(e.node)}`),
        );
        differ(
          "neighbours",
          neigh,
          remote.map((e) => `${e.ip} ${e.mac}`),
        );
      }
      for (const ns of namespaces) problems.push(`host${host.number}: namespace ${ns} of no network`);
    }
  }

  #nameOf(stored: ReadonlyMap<string, string>, networkId: string): string {
    for (const [key, value] of stored)
      if (key.endsWith(`/network/${networkId}`)) return (JSON.parse(value) as { name: string }).name;
    return "";
  }

  /** Every pair that shares a network reaches each other by address and name; others, as many as are tried, do not. */
  async #compareReach(
    present: ReadonlyMap<string, Present & { readonly host: ClusterHost }>,
    random: () => number,
    negatives: number,
    problems: string[],
  ): Promise<void> {
    const running = [...present].filter(([, p]) => p.running);
    const spaces = new Map<string, string>();
    for (const [name, p] of running) {
      let path = this.#namespaces.get(p.id);
      if (path === undefined) {
        path = await p.host.namespace(name);
        this.#namespaces.set(p.id, path);
      }
      spaces.set(name, path);
    }
    const questions: { from: string; target: string; ask: boolean; expected: boolean; fine: readonly string[] }[] = [];
    for (const [from, p] of running) {
      const strangers: [string, Present][] = [];
      for (const [to, other] of running) {
        if (to === from) continue;
        const shared = Object.keys(p.addresses).filter((n) => other.addresses[n] !== undefined);
        if (shared.length === 0) strangers.push([to, other]);
        else {
          const addresses = shared.map((n) => other.addresses[n]!);
          for (const target of addresses) questions.push({ from, target, ask: false, expected: true, fine: ["yes"] });
          questions.push({ from, target: to, ask: true, expected: true, fine: addresses });
        }
      }
      for (let i = 0; i < negatives && strangers.length > 0; i++) {
        const [to, other] = strangers[Math.floor(random() * strangers.length)]!;
        for (const target of Object.values(other.addresses))
          questions.push({ from, target, ask: false, expected: false, fine: ["no"] });
        if (i === 0) questions.push({ from, target: to, ask: true, expected: false, fine: ["none", "silent"] });
      }
    }
    const answers = await this.#lab.reached(spaces, questions);
    for (const [i, q] of questions.entries()) {
      const answer = answers[i]!;
      const good = answer.split(",").every((a) => q.fine.includes(a));
      if (!good) problems.push(`${q.from} ${q.ask ? "asks for" : "pings"} ${q.target}: ${answer}, not ${q.fine.join("|")}`);
    }
    this.pairs += questions.length;
  }
}
