import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { PortMapping } from "../../src/model/network.js";

export interface Answer {
  readonly value?: readonly PortMapping[] | null;
  readonly ms?: number;
  /** Of all threads: what a machine that is busy with other things shows as well. */
  readonly cpuMs?: number;
  readonly error?: string;
  readonly status?: number | null;
}

/** engine-side.mjs, running in a namespace. */
export class EngineSide {
  readonly #child: ChildProcess;
  readonly #answers: ((line: string) => void)[] = [];
  readonly pid: number;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid!;
    createInterface({ input: child.stdout! }).on("line", (line) => this.#answers.shift()?.(line));
  }

  static async start(ns: string): Promise<EngineSide> {
    const child = spawn("ip", ["netns", "exec", ns, process.execPath, "test/firewall/engine-side.mjs"], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const side = new EngineSide(child);
    await side.#next();
    return side;
  }

  async ask(request: Record<string, unknown>): Promise<Answer> {
    const answer = this.#next();
    this.#child.stdin!.write(`${JSON.stringify(request)}\n`);
    return JSON.parse(await answer) as Answer;
  }

  stop(): Promise<void> {
    return new Promise((resolve) => {
      this.#child.once("exit", () => resolve());
      this.#child.stdin!.end();
      setTimeout(() => this.#child.kill("SIGKILL"), 3000).unref();
    });
  }

  #next(): Promise<string> {
    return new Promise((resolve) => this.#answers.push(resolve));
  }
}
