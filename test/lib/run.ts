import { execFileSync, spawn } from "node:child_process";

/** How a program ended. `code` is 124 when its time was up (as timeout(1) says it), 128 + n when signal n ended it. */
export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  /** stdout and stderr in the order of arrival: what a person would have seen */
  readonly both: string;
  readonly tookMs: number;
}

export interface RunOptions {
  readonly stdin?: string;
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
}

const signalNumbers: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGPIPE: 13, SIGTERM: 15 };

/** Runs a program to its end, without a shell. Never rejects for what the program does; rejects when it cannot be started. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    // A process group of its own: when the time is up, what the program has started ends with it.
    const child = spawn(program, args, { stdio: "pipe", detached: true, env: { ...process.env, ...options.env } });
    const text = { stdout: "", stderr: "", both: "" };
    for (const stream of ["stdout", "stderr"] as const)
      child[stream].setEncoding("utf8").on("data", (chunk: string) => {
        text[stream] += chunk;
        text.both += chunk;
      });
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      killGroup(child.pid);
    }, options.timeoutMs ?? 60_000);
    child.stdin.on("error", () => {}); // EPIPE: the program did not want to hear it all
    child.stdin.end(options.stdin ?? "");
    child.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      resolve({
        code: late ? 124 : (code ?? 128 + (signalNumbers[signal ?? ""] ?? 0)),
        ...text,
        tookMs: performance.now() - start,
      });
    });
  });
}

/** stdout without the last line break; throws with all that the program said when it fails. */
export async function must(what: string, running: Promise<Ran>): Promise<string> {
  const ran = await running;
  if (ran.code !== 0) throw new Error(`${what}: exit code ${ran.code}: ${ran.both.trim()}`);
  return ran.stdout.replace(/\r?\n$/, "");
}

/** A program run to its end while nothing else goes on; its standard output. Throws with what it said on stderr when it fails. */
export function output(program: string, ...args: string[]): string {
  return execFileSync(program, args, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 30_000,
    maxBuffer: 1 << 24,
  });
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Asks again every 100 ms until the answer is true, for at most `timeoutMs`; the last answer. A throw counts as false. */
export async function eventually(ask: () => Promise<boolean>, timeoutMs = 5_000): Promise<boolean> {
  const end = performance.now() + timeoutMs;
  for (;;) {
    if (await ask().catch(() => false)) return true;
    if (performance.now() > end) return false;
    await sleep(100);
  }
}

/** Asks again every 25 ms until it is true; throws when it has not come true in time. What the question throws is thrown. */
export async function until(what: string, ask: () => boolean | Promise<boolean>, timeoutMs = 5_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await ask())) {
    if (performance.now() > end) throw new Error(`did not come true: ${what}`);
    await sleep(25);
  }
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // it has just ended by itself
  }
}
