import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { entries, unmountBelow } from "./files.js";
import { type Answer, requestUnix } from "./http.js";
import { must, type Ran, type RunOptions, run, sleep } from "./run.js";
import type { Space } from "./space.js";

const linkspan = resolve(import.meta.dirname, "../../bin/linkspan");

export interface EngineOptions {
  readonly space: Space;
  /** Directory of this engine alone; short, since unix sockets lie below it */
  readonly root: string;
  /** What the machine calls itself: the UTS namespace of the engine */
  readonly hostname: string;
  readonly flags?: readonly string[];
}

/** One engine on one machine: its process, its roots below `root`, and the docker CLI and the API aimed at it. */
export class Engine {
  readonly space: Space;
  readonly root: string;
  readonly hostname: string;
  readonly flags: readonly string[];
  readonly socket: string;
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly logFile: string;
  #process: ChildProcess | undefined;

  constructor(options: EngineOptions) {
    const { space, root, hostname, flags = [] } = options;
    this.space = space;
    this.root = root;
    this.hostname = hostname;
    this.flags = flags;
    this.socket = join(root, "d.sock");
    this.dataRoot = join(root, "data");
    this.execRoot = join(root, "x");
    this.logFile = join(root, "log");
    mkdirSync(join(root, "client"), { recursive: true });
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  /** Returns when the API answers; says what the engine logged when it does not within 30 s. */
  async start(...moreFlags: string[]): Promise<void> {
    const flags = [
      "--data-root",
      this.dataRoot,
      "--exec-root",
      this.execRoot,
      "--pidfile",
      join(this.root, "pid"),
      "-H",
      `unix://${this.socket}`,
    ];
    const log = openSync(this.logFile, "a");
    const daemon = [linkspan, "daemon", ...flags, ...this.flags, ...moreFlags];
    // Every step is an exec of the next, so that the pid is the engine's own.
    const child = spawn(
      "nsenter",
      [`--net=${this.space.path}`, "--", "unshare", "--uts", "sh", "-c", 'hostname "$0"; exec "$@"', this.hostname, ...daemon],
      { stdio: ["ignore", log, log], detached: true },
    );
    closeSync(log);
    this.#process = child;
    let ended = false;
    child.once("exit", () => {
      ended = true;
      if (this.#process === child) this.#process = undefined;
    });
    for (let tries = 0; tries < 1_200 && !ended; tries++) {
      if (existsSync(this.socket) && (await this.#answers())) return;
      await sleep(25);
    }
    throw new Error(`the engine ${ended ? "ended" : "does not answer"}:\n${this.logTail()}`);
  }

  /** SIGTERM, and SIGKILL after 30 s; returns when the process is gone. */
  async stop(): Promise<void> {
    await this.#end("SIGTERM");
  }

  /** SIGKILL of the engine alone: the containers and their monitors live on. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  async restart(...moreFlags: string[]): Promise<void> {
    await this.stop();
    await this.start(...moreFlags);
  }

  /** As if the plug had been pulled: engine, monitors, containers, mounts and what lies in a memory file system are gone; the disk stays. */
  async powerLoss(): Promise<void> {
    await this.kill();
    killBelow(this.root);
    await sleep(200);
    unmountBelow(this.root);
    rmSync(this.execRoot, { recursive: true, force: true });
  }

  /** Ends everything and forgets all state. */
  async remove(): Promise<void> {
    if (this.#process !== undefined) {
      const all = await this.docker(["ps", "-aq", "--no-trunc"], { timeoutMs: 10_000 });
      const ids = all.stdout.split("\n").filter((id) => id !== "");
      if (ids.length > 0) await this.docker(["rm", "-f", ...ids], { timeoutMs: 30_000 });
      await this.stop();
    }
    wipe(this.root);
  }

  /** For the end of the test process, where nothing can be awaited. */
  removeNow(): void {
    if (this.#process?.pid !== undefined) signal(this.#process.pid, "SIGKILL");
    wipe(this.root);
  }

  logTail(lines = 20): string {
    try {
      return readFileSync(this.logFile, "utf8").trimEnd().split("\n").slice(-lines).join("\n");
    } catch {
      return "(no log)";
    }
  }

  /** The docker CLI, whatever becomes of it. */
  docker(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    return run("docker", ["-H", `unix://${this.socket}`, ...args], { ...options, env: { ...this.clientEnv, ...options.env } });
  }

  /** The docker CLI on a terminal of its own (script(1) makes one); the input is typed into it. */
  dockerOnTerminal(args: readonly string[], typed: string): Promise<Ran> {
    const quoted = ["docker", "-H", `unix://${this.socket}`, ...args].map((a) => `'${a.replaceAll("'", "'\\''")}'`).join(" ");
    return run("script", ["-qec", quoted, "/dev/null"], { stdin: typed, timeoutMs: 20_000, env: this.clientEnv });
  }

  /** stdout of a docker command that must succeed. */
  out(...args: string[]): Promise<string> {
    return must(`docker ${args.join(" ")}`, this.docker(args));
  }

  api(method: string, path: string, body?: unknown): Promise<Answer> {
    return requestUnix(this.socket, method, path, body);
  }

  /** No configuration, context or credential of the person who runs the tests. */
  get clientEnv(): Readonly<Record<string, string>> {
    return {
      DOCKER_CONFIG: join(this.root, "client"),
      DOCKER_CLI_HINTS: "false",
      DOCKER_BUILDKIT: "0",
      DOCKER_HOST: "",
      DOCKER_CONTEXT: "",
    };
  }

  async #answers(): Promise<boolean> {
    return requestUnix(this.socket, "GET", "/_ping", undefined, { timeoutMs: 2_000 }).then(
      (answer) => answer.status === 200,
      () => false,
    );
  }

  async #end(with_: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.#process;
    if (child?.pid === undefined) return;
    const gone = new Promise<void>((done) => child.once("exit", () => done()));
    signal(child.pid, with_);
    const late = setTimeout(() => signal(child.pid!, "SIGKILL"), 30_000);
    await gone;
    clearTimeout(late);
  }
}

/** Kills what was started for the directory, takes its mounts and control groups away, and removes it. */
export function wipe(directory: string): void {
  const ids = containersBelow(directory);
  killBelow(directory);
  unmountBelow(directory);
  removeCgroups(ids);
  rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
}

/** Every process with the directory in its arguments (the engine, container monitors) and the children of those (the containers). */
function killBelow(directory: string): void {
  const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
  for (const pid of pids) {
    if (!read(`/proc/${pid}/cmdline`).includes(`${directory}/`)) continue;
    const children = read(`/proc/${pid}/task/${pid}/children`).split(" ");
    for (const each of [...children, pid]) if (each !== "") signal(Number(each), "SIGKILL");
  }
}

/** The directory is an engine's, or holds those of engines. */
function containersBelow(directory: string): string[] {
  const roots = [directory, ...entries(directory).map((each) => join(directory, each))];
  return roots.flatMap((root) => entries(join(root, "x/containers"))).filter((name) => /^[0-9a-f]{64}$/.test(name));
}

/** /sys/fs/cgroup/linkspan/ID on a host of cgroup v2, /sys/fs/cgroup/HIERARCHY/linkspan/ID on one of v1. */
function removeCgroups(ids: readonly string[]): void {
  const mount = "/sys/fs/cgroup";
  const parents = [mount, ...entries(mount).map((each) => join(mount, each))]
    .map((each) => join(each, "linkspan"))
    .filter(existsSync);
  for (const parent of parents)
    for (const id of ids)
      try {
        rmdirSync(join(parent, id));
      } catch {
        // the engine has removed it, or a process is about to end
      }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // it ended in the meantime
  }
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
