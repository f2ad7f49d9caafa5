import { type ChildProcess, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { ContainerInspectInfo, NetworkInspectInfo } from "dockerode";
import { Engine, wipe } from "./engine.js";
import type { Answer } from "./http.js";
import { IMAGES, type LabImage, labRootFilesystem } from "./images.js";
import { must, type Ran, type RunOptions, run, sleep } from "./run.js";
import type { Space } from "./space.js";
import { Topology } from "./topology.js";

const outsideScript = resolve(import.meta.dirname, "outside.mjs");

export interface LabOptions {
  readonly images?: readonly LabImage[];
  readonly flags?: readonly string[];
}

/**
 * The laboratory of one test file: a host with an engine, an outside host, an internet, and a service on each of these two.
 * Everything that it makes bears the number of the test process, is removed by `close`, and, should the process end before, by its exit
 * handler or by the next laboratory.
 */
export class Lab {
  /** A container that does nothing and ignores SIGTERM, as the shells of the seeds' text do */
  static readonly idle = ["/bin/sh", "-c", "while true; do sleep 3600;done"] as const;

  readonly directory: string;
  readonly topology: Topology;
  readonly host: Space;
  readonly outside: Space;
  readonly internet: Space;
  readonly engine: Engine;
  /** Lines that the outside service wrote: "dns FROM NAME TYPE udp" */
  readonly outsideLog: string[] = [];
  readonly #services: ChildProcess[] = [];
  readonly #onExit = (): void => this.#closeNow();

  private constructor(
    directory: string,
    topology: Topology,
    [host, outside, internet]: readonly [Space, Space, Space],
    flags: readonly string[],
  ) {
    this.directory = directory;
    this.topology = topology;
    this.host = host;
    this.outside = outside;
    this.internet = internet;
    this.engine = new Engine({ space: host, root: join(directory, "n1"), hostname: "lst-node1", flags });
  }

  static async open(options: LabOptions = {}): Promise<Lab> {
    sweepDeadLabs();
    const prefix = `lst${process.pid}`;
    const directory = mkdtempSync(`/tmp/${prefix}-`);
    const topology = await Topology.open(prefix);
    const spaces = [await topology.host("n1", 10), await topology.host("out", 20), await topology.internet()] as const;
    // The internet's DNS server is the machine's: what nobody knows is answered at once, not after the patience of a resolver.
    const lab = new Lab(directory, topology, spaces, ["--dns", spaces[2].ip, ...(options.flags ?? [])]);
    process.once("exit", lab.#onExit);
    try {
      await Promise.all([lab.#serve(lab.outside, lab.outsideLog), lab.#serve(lab.internet, []), lab.engine.start()]);
      await lab.load(...(options.images ?? []));
    } catch (error) {
      await lab.close();
      throw error;
    }
    return lab;
  }

  async close(): Promise<void> {
    process.off("exit", this.#onExit);
    await this.engine.remove();
    this.#closeNow();
  }

  /** Imports images of images.ts that the engine does not have yet. */
  async load(...names: readonly LabImage[]): Promise<void> {
    if (names.length === 0) return;
    const archive = join(this.directory, "rootfs.tar");
    if (!existsSync(archive)) await writeFile(archive, await labRootFilesystem());
    for (const name of names) await this.out("import", ...IMAGES[name].flatMap((change) => ["--change", change]), archive, name);
  }

  docker(...args: string[]): Promise<Ran> {
    return this.engine.docker(args);
  }

  dockerWith(options: RunOptions, ...args: string[]): Promise<Ran> {
    return this.engine.docker(args, options);
  }

  /** stdout of a docker command that must succeed, without the last line break. */
  out(...args: string[]): Promise<string> {
    return this.engine.out(...args);
  }

  api(method: string, path: string, body?: unknown): Promise<Answer> {
    return this.engine.api(method, path, body);
  }

  /** `docker run -d`; the id. */
  async start(name: string, ...args: string[]): Promise<string> {
    return this.out("run", "-d", "--name", name, ...args);
  }

  /** `docker run -d --name NAME … busybox sleep 3600`; the id. */
  async sleeper(name: string, ...flags: string[]): Promise<string> {
    return this.start(name, ...flags, "busybox", "sleep", "3600");
  }

  /** `docker exec`, whatever becomes of it. */
  exec(container: string, ...command: string[]): Promise<Ran> {
    return this.docker("exec", container, ...command);
  }

  /** stdout of a command in a container that must succeed. */
  inside(container: string, ...command: string[]): Promise<string> {
    return must(`in ${container}: ${command.join(" ")}`, this.exec(container, ...command));
  }

  async pings(container: string, target: string, waitSeconds = 2): Promise<boolean> {
    return (await this.exec(container, "ping", "-c1", `-W${waitSeconds}`, target)).code === 0;
  }

  /** The body that a container gets, "" when it gets none. */
  async fetchFrom(container: string, url: string, timeoutSeconds = 3): Promise<string> {
    const ran = await this.exec(container, "timeout", String(timeoutSeconds), "wget", "-qO-", url);
    return ran.code === 0 ? ran.stdout.trimEnd() : "";
  }

  /** Addresses that nslookup in the container finds for the name, sorted; [] when there is none. */
  async resolve(container: string, name: string): Promise<string[]> {
    const { stdout } = await this.exec(container, "nslookup", name);
    const answer = stdout.slice(Math.max(0, stdout.search(/^Name:/m)));
    return stdout.includes("Name:") ? [...answer.matchAll(/^Address(?: \d+)?:\s*(\S+)/gm)].map((match) => match[1]!).sort() : [];
  }

  async inspect(container: string): Promise<ContainerInspectInfo> {
    return this.#get(`/containers/${container}/json`);
  }

  async inspectNetwork(network: string): Promise<NetworkInspectInfo> {
    return this.#get(`/networks/${network}`);
  }

  /** The container's address on a network, "" when it has none. */
  async address(container: string, network = "bridge"): Promise<string> {
    return (await this.inspect(container)).NetworkSettings.Networks[network]?.IPAddress ?? "";
  }

  async pid(container: string): Promise<number> {
    return (await this.inspect(container)).State.Pid;
  }

  /** Names of the containers that a network shows as its own, sorted. */
  async members(network: string): Promise<string[]> {
    const { Containers: containers } = await this.inspectNetwork(network);
    return Object.values(containers ?? {})
      .map((each) => each.Name)
      .sort();
  }

  /** The column of `docker ps` for one container. */
  column(container: string, column: "Ports" | "Status"): Promise<string> {
    return this.out("ps", "-a", "-f", `name=^${container}$`, "--format", `{{.${column}}}`);
  }

  /** What `docker events` tells of the time since then (milliseconds, as of Date.now), a line each. */
  async events(since: number, filter: string, format: string): Promise<string[]> {
    const seconds = [Math.floor(since / 1000) - 1, Math.floor(Date.now() / 1000) + 1].map(String);
    const told = await this.out("events", "--since", seconds[0]!, "--until", seconds[1]!, "-f", filter, "--format", format);
    return told.split("\n").filter((line) => line !== "");
  }

  /** The host's end of a container's interface. */
  async hostPort(container: string, device = "eth0"): Promise<string> {
    const index = await this.inside(container, "cat", `/sys/class/net/${device}/iflink`);
    const links = await this.host.out("ip -o link");
    const line = new RegExp(`^${index}: ([^@:]+)`, "m").exec(links);
    if (line === null) throw new Error(`no link ${index} on the host for ${device} of ${container}`);
    return line[1]!;
  }

  /** Runs in the container's network namespace with the programs of this machine. */
  async hostToolIn(container: string, ...command: string[]): Promise<Ran> {
    return run("nsenter", [`--net=/proc/${await this.pid(container)}/ns/net`, "--", ...command]);
  }

  /** Takes all containers and all networks but Docker's three away. */
  async clean(): Promise<void> {
    const containers = (await this.out("ps", "-aq")).split("\n").filter((id) => id !== "");
    if (containers.length > 0) await this.docker("rm", "-f", ...containers);
    const networks = (await this.out("network", "ls", "-q", "--filter", "type=custom")).split("\n").filter((id) => id !== "");
    if (networks.length > 0) await this.docker("network", "rm", ...networks);
  }

  async #get<T>(path: string): Promise<T> {
    const answer = await this.api("GET", path);
    if (answer.status !== 200) throw new Error(`GET ${path}: ${answer.status} ${answer.text}`);
    return answer.json as T;
  }

  async #serve(space: Space, log: string[]): Promise<void> {
    const child = space.spawn(process.execPath, [outsideScript, space.ip]);
    this.#services.push(child);
    let rest = "";
    let ready = false;
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop()!;
      log.push(...lines);
      ready ||= lines.includes("ready");
    });
    child.stderr.pipe(process.stderr);
    for (let tries = 0; !ready; tries++) {
      if (tries > 200 || child.exitCode !== null) throw new Error(`the service in ${space.name} did not start`);
      await sleep(50);
    }
  }

  #closeNow(): void {
    for (const service of this.#services.splice(0)) service.kill("SIGKILL");
    this.engine.removeNow();
    this.topology.remove();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** What a test process left that was killed: namespaces and directories with the number of a process that is no more. */
function sweepDeadLabs(): void {
  const dead = (name: string) => {
    const pid = /^lst(\d+)(?:sw|n\d+|out|net|hand\d|-[A-Za-z0-9]{6})$/.exec(name)?.[1];
    return pid !== undefined && !existsSync(`/proc/${pid}`);
  };
  for (const name of readdirSync("/tmp")) if (dead(name)) wipe(join("/tmp", name));
  const spaces = existsSync("/run/netns") ? readdirSync("/run/netns") : [];
  for (const name of spaces) if (dead(name)) spawnSync("ip", ["netns", "del", name], { stdio: "ignore" });
}
