import { execFileSync, spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * What the benchmarks share: hosts made of namespaces, the engines under measurement in them, and how figures are printed.
 * A benchmark compares with its peer in the same run, in turn (A B A B …), and prints the ratio: absolute times are noisy.
 */

const repository = fileURLToPath(new URL("../..", import.meta.url)).replace(/dist\/$/, "");

export function run(
  command: string,
  args: readonly string[],
  options: { input?: string; quiet?: boolean; timeoutMs?: number } = {},
): string {
  const result = spawnSync(command, args, {
    encoding: "utf8",
    input: options.input,
    timeout: options.timeoutMs ?? 120_000,
    maxBuffer: 64 << 20,
  });
  if (result.status !== 0 && !options.quiet)
    throw new Error(`${command} ${args.join(" ")}: ${result.stderr || result.error?.message || `exit ${result.status}`}`);
  return result.stdout ?? "";
}

export const has = (command: string): boolean => spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
export const inNs = (ns: string, ...command: string[]): string => run("nsenter", [`--net=/run/netns/${ns}`, ...command]);
export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Two hosts, `engine` 10.250.0.10 and `outside` 10.250.0.20, on one bridge in a third namespace. All are called lsb…. */
export class Lab {
  readonly dir = mkdtempSync(join(tmpdir(), "lsb-"));
  readonly names: string[] = [];
  private readonly engines: BenchEngine[] = [];
  private octet = 10;

  namespace(suffix: string): string {
    const name = `lsb${process.pid % 10000}${suffix}`;
    run("ip", ["netns", "add", name]);
    run("ip", ["-n", name, "link", "set", "lo", "up"]);
    this.names.push(name);
    return name;
  }

  /** A host on the underlay; its address is 10.250.0.<n>. */
  host(suffix: string): { readonly ns: string; readonly ip: string } {
    const hub = this.names.find((n) => n.endsWith("hub")) ?? this.hub();
    const ns = this.namespace(suffix);
    const ip = `10.250.0.${this.octet++}`;
    run("ip", ["-n", hub, "link", "add", `u${suffix}`, "type", "veth", "peer", "name", "eth0", "netns", ns]);
    run("ip", ["-n", hub, "link", "set", `u${suffix}`, "master", "hub0", "up"]);
    run("ip", ["-n", ns, "addr", "add", `${ip}/24`, "dev", "eth0"]);
    run("ip", ["-n", ns, "link", "set", "eth0", "up"]);
    run("ip", ["-n", ns, "route", "add", "default", "via", "10.250.0.1"]);
    return { ns, ip };
  }

  private hub(): string {
    const hub = this.namespace("hub");
    run("ip", ["-n", hub, "link", "add", "hub0", "type", "bridge"]);
    run("ip", ["-n", hub, "addr", "add", "10.250.0.1/24", "dev", "hub0"]);
    run("ip", ["-n", hub, "link", "set", "hub0", "up"]);
    return hub;
  }

  async linkspan(ns: string, flags: readonly string[] = []): Promise<BenchEngine> {
    return this.start("linkspan", ns, [join(repository, "bin/linkspan"), "daemon"], flags);
  }

  /** Real Docker (Debian's docker.io), where it is installed. */
  async docker(ns: string, flags: readonly string[] = []): Promise<BenchEngine | undefined> {
    if (!existsSync("/usr/sbin/dockerd")) return undefined;
    return this.start("docker", ns, ["/usr/sbin/dockerd", "--cgroup-parent", `/${ns}`], flags);
  }

  private async start(kind: string, ns: string, command: readonly string[], flags: readonly string[]): Promise<BenchEngine> {
    const root = join(this.dir, `${kind}-${ns}`);
    mkdirSync(join(root, "x"), { recursive: true });
    const socket = join(root, "d.sock");
    const args = [
      `--net=/run/netns/${ns}`,
      "unshare",
      "--uts",
      // Docker's gossip needs a different host name on each host; every step is an exec of the next, so the pid stays.
      "sh",
      "-c",
      'hostname "$0"; exec "$@"',
      ns,
      ...command,
      "--data-root",
      join(root, "data"),
      "--exec-root",
      join(root, "x"),
      "-H",
      `unix://${socket}`,
      "--pidfile",
      join(root, "pid"),
      ...flags,
    ];
    const log = openSync(join(root, "log"), "a");
    const child = spawn("nsenter", args, { stdio: ["ignore", log, log], detached: true });
    closeSync(log);
    const engine = new BenchEngine(kind, ns, socket, root, child.pid!);
    this.engines.push(engine);
    for (let i = 0; i < 300; i++) {
      if (spawnSync("curl", ["-s", "--max-time", "2", "--unix-socket", socket, "http://d/_ping"]).stdout?.toString() === "OK")
        return engine;
      await sleep(100);
    }
    throw new Error(`${kind} did not start in ${ns}: ${readFileSync(join(root, "log"), "utf8").slice(-2000)}`);
  }

  async close(): Promise<void> {
    for (const engine of this.engines) await engine.stop();
    for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n").reverse()) {
      const target = line.split(" ")[4];
      if (target?.startsWith(`${this.dir}/`)) spawnSync("umount", ["-l", target]);
    }
    for (const name of this.names) spawnSync("ip", ["netns", "del", name]);
    rmSync(this.dir, { recursive: true, force: true });
  }
}

export class BenchEngine {
  readonly kind: string;
  readonly ns: string;
  readonly socket: string;
  readonly root: string;
  readonly pid: number;
  constructor(kind: string, ns: string, socket: string, root: string, pid: number) {
    this.kind = kind;
    this.ns = ns;
    this.socket = socket;
    this.root = root;
    this.pid = pid;
  }

  cli(...args: string[]): string {
    return run("docker", ["-H", `unix://${this.socket}`, ...args]).trim();
  }

  /** Milliseconds of one API call over the unix socket, and its body. */
  async call(
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ readonly ms: number; readonly status: number; readonly body: unknown }> {
    const { request } = await import("node:http");
    const started = process.hrtime.bigint();
    return new Promise((resolve, reject) => {
      const payload = body === undefined ? undefined : JSON.stringify(body);
      const req = request(
        {
          socketPath: this.socket,
          method,
          path,
          headers: payload ? { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(payload) } : {},
        },
        (res) => {
          let text = "";
          res.setEncoding("utf8");
          res.on("data", (chunk: string) => {
            text += chunk;
          });
          res.on("end", () => {
            let parsed: unknown = text;
            try {
              parsed = JSON.parse(text);
            } catch {
              // not JSON: the text itself
            }
            resolve({ ms: Number(process.hrtime.bigint() - started) / 1e6, status: res.statusCode ?? 0, body: parsed });
          });
        },
      );
      req.on("error", reject);
      req.end(payload);
    });
  }

  /** Helper processes and their memory: everything below the engine but itself. */
  helpers(name: string): { readonly count: number; readonly pssKiB: number } {
    let count = 0;
    let pssKiB = 0;
    for (const pid of run("pgrep", ["-x", name], { quiet: true }).split("\n").filter(Boolean)) {
      try {
        if (!existsSync(`/proc/${pid}/ns/net`)) continue;
        count++;
        pssKiB += Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "utf8"))?.[1] ?? 0);
      } catch {
        // gone meanwhile
      }
    }
    return { count, pssKiB };
  }

  async stop(): Promise<void> {
    try {
      const ids = run("docker", ["-H", `unix://${this.socket}`, "ps", "-aq"], { quiet: true })
        .split("\n")
        .filter(Boolean);
      for (let i = 0; i < ids.length; i += 200)
        run("docker", ["-H", `unix://${this.socket}`, "rm", "-f", ...ids.slice(i, i + 200)], { quiet: true, timeoutMs: 300_000 });
      const pid = Number(readFileSync(join(this.root, "pid"), "utf8"));
      process.kill(pid, "SIGTERM");
      for (let i = 0; i < 200 && existsSync(`/proc/${pid}`); i++) await sleep(100);
      if (existsSync(`/proc/${pid}`)) process.kill(pid, "SIGKILL");
    } catch {
      // it was gone already
    }
  }
}

export const quantile = (values: readonly number[], q: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
};
export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** One line per comparison: `name: ours 1.2 ms, docker 95 ms, ratio 79×  (reach: ≥ 10×: met)`. */
export function report(
  name: string,
  ours: number,
  unit: string,
  peers: Readonly<Record<string, number>>,
  options: { higherIsBetter?: boolean; reach?: { peer: string; factor: number } } = {},
): void {
  let line = `${name}: linkspan ${format(ours)} ${unit}`;
  for (const [peer, value] of Object.entries(peers)) {
    const ratio = options.higherIsBetter ? ours / value : value / ours;
    line += `, ${peer} ${format(value)} ${unit} (${ratio.toFixed(2)}× ${ratio >= 1 ? "better" : "of it"})`;
    if (options.reach?.peer === peer)
      line += ` [reach ${options.reach.factor}×: ${ratio >= options.reach.factor ? "met" : "missed"}]`;
  }
  console.log(line);
}

export const format = (value: number): string =>
  value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(3);

/** Runs a benchmark with a lab that is taken down whatever happens. */
export async function withLab(body: (lab: Lab) => Promise<void>): Promise<void> {
  const lab = new Lab();
  try {
    await body(lab);
  } finally {
    await lab.close();
  }
}

export { execFileSync };
