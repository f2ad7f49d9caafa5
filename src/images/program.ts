import { spawn } from "node:child_process";
import type { Readable } from "node:stream";

export interface ProgramResult {
  readonly code: number;
  /** The last 256 KiB of each. */
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd?: string;
  readonly stdin?: Readable;
  readonly onStdout?: (text: string) => void;
  readonly onStderr?: (text: string) => void;
  readonly signal?: AbortSignal;
}

const keepBytes = 256 * 1024;

/** Runs a program to its end; never rejects for a bad exit code, rejects if it cannot be started. */
export function runProgram(command: string, args: readonly string[], options: ProgramOptions): Promise<ProgramResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: options.env,
      cwd: options.cwd,
      stdio: [options.stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
      ...(options.signal === undefined ? {} : { signal: options.signal, killSignal: "SIGTERM" as const }),
    });
    const collected = { stdout: "", stderr: "" };
    const collect = (stream: Readable | null, key: "stdout" | "stderr", listener: ((text: string) => void) | undefined) => {
      stream?.setEncoding("utf8");
      stream?.on("data", (text: string) => {
        collected[key] = (collected[key] + text).slice(-keepBytes);
        listener?.(text);
      });
    };
    collect(child.stdout, "stdout", options.onStdout);
    collect(child.stderr, "stderr", options.onStderr);
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code: code ?? (signal === null ? 1 : 128), ...collected }));
    if (options.stdin !== undefined && child.stdin !== null) {
      // A program that ends early closes its stdin: EPIPE here says nothing that its exit code does not.
      child.stdin.on("error", () => options.stdin?.destroy());
      options.stdin.on("error", () => child.stdin?.destroy());
      options.stdin.pipe(child.stdin);
    }
  });
}

/** Splits chunks into lines; `flush` gives the unfinished last one. */
export function lineSplitter(onLine: (line: string) => void): { push(text: string): void; flush(): void } {
  let pending = "";
  return {
    push(text) {
      const lines = (pending + text).split("\n");
      pending = lines.pop() ?? "";
      for (const line of lines) onLine(line);
    },
    flush() {
      if (pending !== "") onLine(pending);
      pending = "";
    },
  };
}

/**
 * The sentence in what skopeo and buildah print at their end:
 * `time="…" level=fatal msg="copying …: reason"` or `Error: reason`.
 */
export function programError(stderr: string): string {
  const lines = stderr.trim().split("\n");
  for (let i = lines.length - 1; i >= 0; i--) {
    const line = lines[i] ?? "";
    const fatal = /level=(?:fatal|error) msg="((?:[^"\\]|\\.)*)"/.exec(line);
    if (fatal) return (fatal[1] ?? "").replace(/\\n/g, "\n").replace(/\\(.)/g, "$1");
    if (line.startsWith("Error: ")) return line.slice("Error: ".length);
  }
  return lines.at(-1) ?? "";
}
