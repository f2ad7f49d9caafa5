import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const program = new URL("../../bin/linkspan", import.meta.url).pathname;
const run = promisify(execFile);

export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A real engine in a network namespace of its own, with an outside host at 192.168.77.1 behind eth0. All that it makes lies below one
 * temporary directory; `close` takes everything away and says what remained of it.
 */
export class EngineLab {
  readonly directory: string;
  readonly ns: string;
  readonly outsideNs: string;
  readonly flags: readonly string[];
  #process: ChildProcess | undefined;

  constructor(name: string, flags: readonly string[] = []) {
    this.directory = mkdtempSync(join(tmpdir(), `lst-${name}-`));
    this.ns = `lst${name}${process.pid % 100_000}`;
    this.outsideNs = `${this.ns}o`;
    this.flags = flags;
    ip("netns", "add", this.ns);
    ip("netns", "add", this.outsideNs);
    ip("-n", this.ns, "link", "set", "lo", "up");
    ip("-n", this.outsideNs, "link", "set", "lo", "up");
    ip("-n", this.ns, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", this.outsideNs);
    ip("-n", this.ns, "addr", "add", "192.168.77.10/24", "dev", "eth0");
    ip("-n", this.outsideNs, "addr", "add", "192.168.77.1/24", "dev", "eth0");
    ip("-n", this.ns, "link", "set", "eth0", "up");
    ip("-n", this.outsideNs, "link", "set", "eth0", "up");
    ip("-n", this.ns, "route", "add", "default", "via", "192.168.77.1");
  }

  get socket(): string {
    return join(this.directory, "d.sock");
  }
  get dataRoot(): string {
    return join(this.directory, "data");
  }
  get execRoot(): string {
    return join(this.directory, "x");
  }
  get pid(): number {
    return this.#process?.pid ?? 0;
  }
  get log(): string {
    return existsSync(join(this.directory, "log")) ? readFileSync(join(this.directory, "log"), "utf8") : "";
  }

  /** Milliseconds until it answered. */
  async start(...flags: string[]): Promise<number> {
    const began = performance.now();
    rmSync(this.socket, { force: true });
    const child = spawn(
      "nsenter",
      [
        `--net=/run/netns/${this.ns}`,
        program,
        "daemon",
        ...["--data-root", this.dataRoot, "--exec-root", this.execRoot, "-H", `unix://${this.socket}`],
        ...["--log-level", "debug", ...this.flags, ...flags],
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    this.#process = child;
    mkdirSync(this.directory, { recursive: true });
    child.stderr!.on("data", (d: Buffer) => appendFileSync(join(this.directory, "log"), d));
    for (let i = 0; i < 600; i++) {
      if (child.exitCode !== null) throw new Error(`the engine ended with ${child.exitCode}: ${this.log.slice(-2000)}`);
      if (await this.#pings()) return performance.now() - began;
      await sleep(25);
    }
    throw new Error(`the engine did not answer: ${this.log.slice(-2000)}`);
  }

  #pings(): Promise<boolean> {
    return new Promise((resolve) => {
      const r = request({ socketPath: this.socket, path: "/_ping", timeout: 1000 }, (response) => {
        response.resume();
        resolve(response.statusCode === 200);
      });
      r.on("error", () => resolve(false));
      r.end();
    });
  }

  async signal(signal: NodeJS.Signals): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }

  /** docker CLI; rejects when it fails, with what it said. */
  async docker(...args: string[]): Promise<string> {
    const result = await this.try(...args);
    if (result.code !== 0) throw new Error(`docker ${args.join(" ")}: ${result.code}: ${result.stderr}${result.stdout}`);
    return result.stdout.trim();
  }

  async try(...args: string[]): Promise<Output> {
    try {
      const { stdout, stderr } = await run("docker", ["-H", `unix://${this.socket}`, ...args], {
        timeout: 40_000,
        maxBuffer: 1 << 24,
      });
      return { code: 0, stdout, stderr };
    } catch (error) {
      const e = error as { code?: number; stdout?: string; stderr?: string };
      return { code: e.code ?? 1, stdout: e.stdout ?? "", stderr: e.stderr ?? String(error) };
    }
  }

  async api(method: string, path: string, body?: unknown): Promise<{ status: number; body: unknown }> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const r = request(
        { socketPath: this.socket, path, method, headers: { "Content-Type": "application/json" } },
        (response) => {
          let data = "";
          response.setEncoding("utf8");
          response.on("data", (d: string) => {
            data += d;
          });
          response.on("end", () => {
            try {
              resolve({ status: response.statusCode ?? 0, body: data === "" ? undefined : JSON.parse(data) });
            } catch {
              resolve({ status: response.statusCode ?? 0, body: data });
            }
          });
        },
      );
      r.on("error", reject);
      r.end(text);
    });
  }

  async verify(): Promise<string[]> {
    const { body } = await this.api("GET", "/linkspan/verify");
    return (body as { Differences: string[] }).Differences;
  }

  host(...command: string[]): string {
    return execFileSync("nsenter", [`--net=/run/netns/${this.ns}`, ...command], { encoding: "utf8" });
  }

  /** What exists below the roots and in the namespace although no container runs: empty when nothing leaked. */
  leftovers(): string[] {
    const out: string[] = [];
    for (const line of this.host("ip", "-o", "link").split("\n")) if (/veth[0-9a-f]{7}/.test(line)) out.push(line);
    for (const name of list(join(this.execRoot, "netns"))) out.push(`netns ${name}`);
    for (const name of list(join(this.execRoot, "containers"))) out.push(`run files ${name}`);
    for (const name of list(join(this.dataRoot, "containers"))) out.push(`storage ${name}`);
    for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n"))
      if (line.includes(this.directory)) out.push(`mount ${line}`);
    return out;
  }

  /** Ends the engine with its containers and removes all traces. */
  async close(): Promise<void> {
    await this.signal("SIGTERM");
    for (const pid of readdirSync("/proc").filter((p) => /^[0-9]+$/.test(p))) {
      try {
        const command = readFileSync(`/proc/${pid}/cmdline`, "latin1");
        if (command.includes(this.directory) && command.includes("conmon")) process.kill(Number(pid), "SIGKILL");
      } catch {
        // It is gone.
      }
    }
    const mounts = readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .map((l) => l.split(" ")[4] ?? "")
      .filter((m) => m.startsWith(this.directory))
      .reverse();
    for (const mount of mounts) execFileSync("umount", ["-l", mount]);
    for (const ns of [this.ns, this.outsideNs]) ip("netns", "del", ns);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export async function until(what: string, test: () => boolean | Promise<boolean>, timeoutMs = 5000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await test())) {
    if (performance.now() > end) throw new Error(`did not come true: ${what}`);
    await sleep(25);
  }
}

function ip(...args: string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
}

function list(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory) : [];
}
