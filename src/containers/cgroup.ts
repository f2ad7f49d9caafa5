import { existsSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { CgroupLayout } from "./host.js";

/** The control groups of one container, on cgroup v1 (one directory per hierarchy) or v2 (one directory). */
export class Cgroup {
  readonly #layout: CgroupLayout;
  readonly path: string;

  constructor(layout: CgroupLayout, path: string) {
    this.#layout = layout;
    this.path = path;
  }

  get version(): "1" | "2" {
    return this.#layout.version;
  }

  /** Directory of a controller ("memory"); on v2 the one directory. Undefined if the host has no such controller. */
  directory(controller: string): string | undefined {
    const mount = this.#layout.mounts.get(this.version === "2" ? "" : controller);
    return mount === undefined ? undefined : join(mount, this.path);
  }

  read(controller: string, file: string): string | undefined {
    const directory = this.directory(controller);
    if (directory === undefined) return undefined;
    try {
      return readFileSync(join(directory, file), "utf8").trim();
    } catch {
      return undefined;
    }
  }

  write(controller: string, file: string, text: string): void {
    const directory = this.directory(controller);
    if (directory === undefined) throw new Error(`no cgroup controller ${controller}`);
    writeFileSync(join(directory, file), text);
  }

  number(controller: string, file: string): number | undefined {
    const text = this.read(controller, file);
    if (text === undefined || text === "max") return undefined;
    const value = Number(text);
    return Number.isFinite(value) ? value : undefined;
  }

  /** "name value" lines, as in memory.stat */
  table(controller: string, file: string): Map<string, number> {
    const rows = (this.read(controller, file) ?? "").split("\n").map((line) => line.split(" "));
    return new Map(rows.filter((row) => row.length === 2).map((row) => [row[0]!, Number(row[1])]));
  }

  /** All processes, of groups below too (a container that manages cgroups itself). */
  pids(): number[] {
    const directory = this.directory(this.version === "2" ? "" : "pids") ?? this.#directories()[0];
    if (directory === undefined) return [];
    const found: number[] = [];
    const visit = (path: string) => {
      try {
        for (const line of readFileSync(join(path, "cgroup.procs"), "utf8").split("\n"))
          if (line !== "") found.push(Number(line));
        for (const entry of readdirSync(path, { withFileTypes: true })) if (entry.isDirectory()) visit(join(path, entry.name));
      } catch {
        // removed while we looked
      }
    };
    visit(directory);
    return found;
  }

  async freeze(frozen: boolean): Promise<void> {
    for (let i = 0; i < 500; i++) {
      if (this.version === "2") this.write("", "cgroup.freeze", frozen ? "1" : "0");
      else this.write("freezer", "freezer.state", frozen ? "FROZEN" : "THAWED");
      if (this.isFrozen() === frozen) return;
      // v1: a process that forks while the state is FREEZING escapes it until the state is written again.
      await sleep(2);
    }
    throw new Error(`cgroup ${this.path}: the processes do not ${frozen ? "freeze" : "thaw"}`);
  }

  isFrozen(): boolean {
    if (this.version === "2") return /^frozen 1$/m.test(this.read("", "cgroup.events") ?? "");
    return this.read("freezer", "freezer.state") === "FROZEN";
  }

  /** Kills what is left and waits until nothing is, at most 5 s. */
  async killAll(): Promise<void> {
    for (let i = 0; i < 500; i++) {
      const pids = this.pids();
      if (pids.length === 0) return;
      for (const pid of pids) signalQuietly(pid, "SIGKILL");
      if (i === 0 && this.isFrozen()) await this.freeze(false);
      await sleep(10);
    }
  }

  /** Removes the directories. The kernel refuses for a moment after the last process has ended: tried again for a second. */
  async remove(): Promise<void> {
    let left = this.#directories();
    for (let i = 0; i < 100 && left.length > 0; i++) {
      if (i > 0) await sleep(10);
      left = left.filter((directory) => !removeTree(directory));
    }
    if (left.length > 0) throw new Error(`cgroup ${left[0]} cannot be removed`);
  }

  #directories(): string[] {
    const mounts = new Set(this.#layout.mounts.values());
    return [...mounts].map((mount) => join(mount, this.path)).filter((directory) => existsSync(directory));
  }
}

function removeTree(directory: string): boolean {
  try {
    for (const entry of readdirSync(directory, { withFileTypes: true }))
      if (entry.isDirectory() && !removeTree(join(directory, entry.name))) return false;
    rmdirSync(directory);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT";
  }
}

export function signalQuietly(pid: number, signal: NodeJS.Signals | number): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch {
    return false;
  }
}
