import { type ChildProcess, execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { Engine } from "../lib/engine.js";
import { must, run, sleep } from "../lib/run.js";
import { ip, type Space } from "../lib/space.js";
import { Topology } from "../lib/topology.js";
import { etcdArguments } from "./etcd-arguments.js";

const STORE = "192.168.205.90";

export interface ContainerOptions {
  readonly network: string;
  readonly ip?: string;
  readonly aliases?: readonly string[];
  readonly ports?: Readonly<Record<string, number>>;
  readonly image?: string;
  readonly command?: readonly string[];
  readonly driverOpts?: Readonly<Record<string, string>>;
  readonly capAdd?: readonly string[];
}

export interface Question {
  readonly from: string;
  readonly target: string;
  readonly ask: boolean;
  readonly expected: boolean;
}

/** Hosts n1, n2, … (192.168.205.10 and on), each with an engine, and etcd on a machine of its own. Closed by `close`, or by the next test process. */
export class ClusterLab {
  readonly hosts: ClusterHost[] = [];
  #etcd: ChildProcess | undefined;
  #internet: Space | undefined;

  private constructor(
    readonly directory: string,
    readonly topology: Topology,
    readonly store: Space,
    private readonly reach: string,
  ) {}

  static async open(count: number, flags: readonly string[] = []): Promise<ClusterLab> {
    const prefix = `lst${process.pid}`;
    const directory = mkdtempSync(`/tmp/${prefix}-`);
    const topology = await Topology.open(prefix);
    const reach = join(directory, "reach");
    execFileSync("gcc", ["-O2", "-o", reach, resolve(import.meta.dirname, "reach.c")]);
    const lab = new ClusterLab(directory, topology, await topology.host("n90", 90), reach);
    try {
      await lab.startStore();
      for (let i = 1; i <= count; i++) lab.hosts.push(new ClusterHost(lab, await topology.host(`n${i}`, 9 + i), i, flags));
      await Promise.all(lab.hosts.map((h) => h.engine.start()));
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  /** Two hosts that are on no common link: they have their gateways only. The third octet tells the segments apart. */
  async addRoutedHost(third: number, flags: readonly string[] = []): Promise<ClusterHost> {
    const n = this.hosts.length + 1;
    const space = await this.topology.routed(`n${n}`, `192.168.${third}`);
    const host = new ClusterHost(this, space, n, flags);
    this.hosts.push(host);
    await host.engine.start();
    return host;
  }

  /** A machine elsewhere, 198.51.100.10. */
  async internet(): Promise<Space> {
    this.#internet ??= await this.topology.internet();
    return this.#internet;
  }

  /** etcd keeps its data across kills: what it acknowledged it has. */
  async startStore(): Promise<void> {
    const client = [`http://${STORE}:2379`, "http://127.0.0.1:2379"];
    this.#etcd = this.store.spawn("etcd", etcdArguments(join(this.directory, "etcd"), client, "http://127.0.0.1:2380"));
    this.#etcd.stdout?.resume();
    this.#etcd.stderr?.resume();
    for (let i = 0; i < 200; i++) {
      if ((await this.etcdctl("endpoint", "health")).code === 0) return;
      await sleep(50);
    }
    throw new Error("etcd did not start");
  }

  async killStore(): Promise<void> {
    const child = this.#etcd;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((done) => child.once("exit", done));
    child.kill("SIGKILL");
    await gone;
  }

  etcdctl(...args: string[]) {
    return this.store.run("etcdctl", ["--endpoints=http://127.0.0.1:2379", ...args], {
      env: { ETCDCTL_API: "3" },
      timeoutMs: 5_000,
    });
  }

  /** Everything below /docker as it is in etcd: key → value. */
  async stored(): Promise<ReadonlyMap<string, string>> {
    const text = await must("etcdctl get", this.etcdctl("get", "--prefix", "/docker/", "-w", "json"));
    const { kvs = [] } = JSON.parse(text) as { kvs?: { key: string; value?: string }[] };
    const plain = (base64: string | undefined) => Buffer.from(base64 ?? "", "base64").toString();
    return new Map(kvs.map((kv) => [plain(kv.key), plain(kv.value)]));
  }

  /** Pulls a host's cable or puts it back. */
  async cable(host: ClusterHost, state: "up" | "down"): Promise<void> {
    await ip("-n", `${this.topology.prefix}sw`, "link", "set", `p-n${host.number}`, state);
  }

  /** Asks all at once; "yes", "no", or for names the addresses, "none" or "silent". `spaces`: name → path of a namespace. */
  async reached(spaces: ReadonlyMap<string, string>, questions: readonly Question[]): Promise<readonly string[]> {
    const numbers = new Map([...spaces.keys()].map((name, i) => [name, i]));
    const input = [
      ...[...spaces].map(([name, path]) => `ns ${numbers.get(name)} ${path}`),
      ...questions.map((q) => `${q.ask ? "ask" : "ping"} ${numbers.get(q.from)} ${q.target} ${q.expected ? 1 : 0}`),
    ];
    const text = await must("reach", run(this.reach, [], { stdin: `${input.join("\n")}\n` }));
    return text.split("\n").map((line) => line.split(" ")[3] ?? "");
  }

  async close(): Promise<void> {
    await Promise.all(this.hosts.map((h) => h.engine.remove().catch(() => h.engine.removeNow())));
    await this.killStore();
    this.topology.remove();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export class ClusterHost {
  readonly engine: Engine;
  readonly address: string;
  constructor(
    lab: ClusterLab,
    readonly space: Space,
    readonly number: number,
    flags: readonly string[],
    address = space.ip,
  ) {
    this.address = address;
    const directory = join(lab.directory, `n${number}`);
    mkdirSync(directory, { recursive: true });
    this.engine = new Engine({
      space,
      root: directory,
      hostname: `host${number}`,
      flags: [`--cluster-store=etcd://${STORE}:2379`, `--cluster-advertise=${address}:2375`, ...flags],
    });
  }

  /** The id; throws with Docker's message. */
  async create(name: string, options: ContainerOptions): Promise<string> {
    const ports = Object.entries(options.ports ?? {});
    const answer = await this.engine.api("POST", `/containers/create?name=${name}`, {
      Image: options.image ?? "busybox",
      Cmd: options.command ?? ["sleep", "100000"],
      StopTimeout: 0,
      ExposedPorts: Object.fromEntries(ports.map(([port]) => [port, {}])),
      HostConfig: {
        NetworkMode: options.network,
        CapAdd: options.capAdd ?? [],
        PortBindings: Object.fromEntries(ports.map(([port, host]) => [port, [{ HostPort: String(host) }]])),
      },
      NetworkingConfig: {
        EndpointsConfig: {
          [options.network]: {
            ...(options.ip === undefined ? {} : { IPAMConfig: { IPv4Address: options.ip } }),
            ...(options.aliases === undefined ? {} : { Aliases: options.aliases }),
          },
        },
      },
    });
    if (answer.status !== 201) throw new Error(`create ${name}: ${answer.status} ${answer.message || answer.text}`);
    return (answer.json as { Id: string }).Id;
  }

  async start(name: string): Promise<void> {
    await this.must("POST", `/containers/${name}/start`);
  }

  async run(name: string, options: ContainerOptions): Promise<string> {
    const id = await this.create(name, options);
    await this.start(name);
    return id;
  }

  async remove(name: string): Promise<void> {
    await this.must("DELETE", `/containers/${name}?force=1&v=1`);
  }

  async must(method: string, path: string, body?: unknown): Promise<unknown> {
    const answer = await this.engine.api(method, path, body);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${answer.message || answer.text}`);
    return answer.json;
  }

  async network(name: string, options: Record<string, unknown> = {}): Promise<string> {
    const { Id } = (await this.must("POST", "/networks/create", {
      Name: name,
      CheckDuplicate: true,
      Driver: "overlay",
      ...options,
    })) as { Id: string };
    return Id;
  }

  /** Path of the running container's network namespace. */
  async namespace(name: string): Promise<string> {
    const { State } = (await this.must("GET", `/containers/${name}/json`)) as { State: { Pid: number } };
    return `/proc/${State.Pid}/ns/net`;
  }

  async inspect(name: string) {
    return (await this.must("GET", `/containers/${name}/json`)) as {
      readonly Id: string;
      readonly State: { readonly Pid: number; readonly Status: string };
      readonly NetworkSettings: {
        readonly Networks: Readonly<
          Record<string, { readonly IPAddress: string; readonly Gateway: string; readonly GlobalIPv6Address: string }>
        >;
      };
    };
  }

  async address4(name: string, network: string): Promise<string> {
    return (await this.inspect(name)).NetworkSettings.Networks[network]?.IPAddress ?? "";
  }

  /** Runs in the container with the machine's programs. */
  async inside(name: string, ...command: string[]) {
    return run("nsenter", [`--net=${await this.namespace(name)}`, "--", ...command]);
  }

  async differences(): Promise<readonly string[]> {
    return ((await this.must("GET", "/linkspan/verify")) as { Differences: string[] }).Differences;
  }

  /** Names of pinned namespaces of overlays that this host has. */
  overlayNamespaces(): readonly string[] {
    const directory = join(this.engine.execRoot, "netns");
    return existsSync(directory) ? readdirSync(directory).filter((n) => n.startsWith("ov-")) : [];
  }

  namespacePath(name: string): string {
    return join(this.engine.execRoot, "netns", name);
  }
}
