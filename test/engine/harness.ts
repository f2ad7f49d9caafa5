import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Engine, wipe } from "../lib/engine.js";
import { entries } from "../lib/files.js";
import type { Answer } from "../lib/http.js";
import { output } from "../lib/run.js";
import { addNamespace, joinNamespaces, removeSpace, Space } from "../lib/space.js";

export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A real engine in a network namespace of its own, with an outside host at 192.168.77.1 behind eth0. All that it makes lies below one
 * temporary directory; `close` takes everything away.
 */
export class EngineLab {
  readonly directory: string;
  readonly #space: Space;
  readonly #outside: string;
  readonly #engine: Engine;
  readonly #onExit = (): void => this.#removeNow();

  constructor(name: string, flags: readonly string[] = []) {
    this.directory = mkdtempSync(join(tmpdir(), `lst-${name}-`));
    this.#space = new Space(`lst${name}${process.pid % 100_000}`, "192.168.77.10");
    this.#outside = `${this.#space.name}o`;
    process.once("exit", this.#onExit);
    addNamespace(this.#space.name);
    addNamespace(this.#outside);
    joinNamespaces(
      { ns: this.#space.name, addresses: ["192.168.77.10/24"] },
      { ns: this.#outside, addresses: ["192.168.77.1/24"] },
    );
    output("ip", "-n", this.#space.name, "route", "add", "default", "via", "192.168.77.1");
    this.#engine = new Engine({
      space: this.#space,
      root: this.directory,
      hostname: `lst-${name}`,
      flags: ["--log-level", "debug", ...flags],
    });
  }

  get socket(): string {
    return this.#engine.socket;
  }

  /** Milliseconds until it answered. */
  async start(...flags: string[]): Promise<number> {
    const began = performance.now();
    await this.#engine.start(...flags);
    return performance.now() - began;
  }

  /** Ends the engine alone; returns when it is gone. */
  async signal(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    await (signal === "SIGTERM" ? this.#engine.stop() : this.#engine.kill());
  }

  /** docker CLI; rejects when it fails, with what it said. */
  async docker(...args: string[]): Promise<string> {
    return (await this.#engine.out(...args)).trim();
  }

  async try(...args: string[]): Promise<Output> {
    const { code, stdout, stderr } = await this.#engine.docker(args);
    return { code, stdout, stderr };
  }

  api(method: string, path: string, body?: unknown): Promise<Answer> {
    return this.#engine.api(method, path, body);
  }

  async verify(): Promise<string[]> {
    const { json } = await this.api("GET", "/linkspan/verify");
    return (json as { Differences: string[] }).Differences;
  }

  host(...command: string[]): string {
    return output("nsenter", `--net=${this.#space.path}`, ...command);
  }

  /** What exists below the roots and in the namespace although no container runs: empty when nothing leaked. */
  leftovers(): string[] {
    const { dataRoot, execRoot } = this.#engine;
    const out: string[] = [];
    for (const line of this.host("ip", "-o", "link").split("\n")) if (/veth[0-9a-f]{7}/.test(line)) out.push(line);
    for (const name of entries(join(execRoot, "netns"))) out.push(`netns ${name}`);
    for (const name of entries(join(execRoot, "containers"))) out.push(`run files ${name}`);
    for (const name of entries(join(dataRoot, "containers"))) out.push(`storage ${name}`);
    for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n"))
      if (line.includes(this.directory)) out.push(`mount ${line}`);
    return out;
  }

  /** Ends the engine with its containers and removes all traces. */
  async close(): Promise<void> {
    process.off("exit", this.#onExit);
    await this.#engine.stop();
    this.#removeNow();
  }

  #removeNow(): void {
    wipe(this.directory);
    for (const name of [this.#space.name, this.#outside]) removeSpace(name);
  }
}
