import { type FSWatcher, readFileSync, statSync, unlinkSync, watch } from "node:fs";
import type { Logger } from "../base/log.js";
import type { Exit } from "./contract.js";
import type { Paths } from "./paths.js";
import { isAlive, type ProcessIdentity } from "./process-identity.js";

/** What Docker records for a container whose monitor is gone together with the exit code. */
export const LOST_EXIT_CODE = 255;
const CHECK_MS = 1000;

/**
 * Tells of exits once each. conmon writes <exits>/<id> (the code as text) as its last act; the directory is watched. For a conmon
 * that was killed nobody writes: the processes are looked at each second, too.
 */
export class Exits {
  readonly #paths: Paths;
  readonly #log: Logger;
  readonly #running = new Map<string, ProcessIdentity>();
  readonly #missing = new Set<string>();
  readonly #listeners: ((exit: Exit) => void)[] = [];
  readonly #endListeners = new Map<string, Set<() => void>>();
  readonly #watcher: FSWatcher;
  readonly #timer: NodeJS.Timeout;

  constructor(paths: Paths, log: Logger) {
    this.#paths = paths;
    this.#log = log;
    this.#watcher = watch(paths.exits, (_event, name) => {
      if (name !== null) this.#look(name);
    });
    this.#watcher.on("error", (error) => log.warn("watching exits", { error: error.message }));
    this.#timer = setInterval(() => this.#checkAll(), CHECK_MS).unref();
  }

  onExit(listener: (exit: Exit) => void): void {
    this.#listeners.push(listener);
  }

  /** From now on the end of this process is told. */
  track(id: string, identity: ProcessIdentity): void {
    this.#running.set(id, identity);
    this.#look(id);
  }

  forget(id: string): void {
    this.#running.delete(id);
    this.#missing.delete(id);
    for (const listener of this.#endListeners.get(id) ?? []) listener();
    this.#endListeners.delete(id);
  }

  isRunning(id: string): boolean {
    return this.#running.has(id);
  }

  /** Calls `listener` when the container has ended (or is forgotten); returns how to stop listening. */
  onEnd(id: string, listener: () => void): () => void {
    const set = this.#endListeners.get(id) ?? new Set();
    set.add(listener);
    this.#endListeners.set(id, set);
    return () => set.delete(listener);
  }

  /** The exit that conmon left, if it did. */
  read(id: string): Exit | undefined {
    const { exit, oom } = this.#paths.run(id);
    try {
      const text = readFileSync(exit, "utf8").trim();
      if (!/^-?\d+$/.test(text)) return undefined;
      return { containerId: id, exitCode: Number(text), oomKilled: exists(oom), finishedAt: modified(exit) };
    } catch {
      return undefined;
    }
  }

  lost(id: string): Exit {
    return { containerId: id, exitCode: LOST_EXIT_CODE, oomKilled: exists(this.#paths.run(id).oom), finishedAt: nowNano() };
  }

  discard(id: string): void {
    try {
      unlinkSync(this.#paths.run(id).exit);
    } catch {
      // none there
    }
  }

  close(): void {
    this.#watcher.close();
    clearInterval(this.#timer);
  }

  #look(id: string): void {
    if (!this.#running.has(id)) return;
    const exit = this.read(id);
    if (exit !== undefined) this.#tell(exit);
  }

  #checkAll(): void {
    for (const [id, identity] of this.#running) {
      if (isAlive(identity)) continue;
      this.#look(id);
      if (!this.#running.has(id)) continue;
      // Dead, and no word of conmon: given one more round, as it may be about to write.
      if (!this.#missing.has(id)) this.#missing.add(id);
      else {
        this.#log.warn("container ended without its monitor", { container: id });
        this.#tell(this.lost(id));
      }
    }
  }

  #tell(exit: Exit): void {
    this.#running.delete(exit.containerId);
    this.#missing.delete(exit.containerId);
    for (const listener of this.#endListeners.get(exit.containerId) ?? []) listener();
    this.#endListeners.delete(exit.containerId);
    for (const listener of this.#listeners) listener(exit);
  }
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** RFC 3339 with nanoseconds, as Docker prints times. */
function modified(path: string): string {
  const ns = statSync(path, { bigint: true }).mtimeNs;
  const fraction = (ns % 1_000_000_000n).toString().padStart(9, "0");
  return `${new Date(Number(ns / 1_000_000n)).toISOString().slice(0, 19)}.${fraction}Z`;
}

function nowNano(): string {
  return new Date().toISOString().replace("Z", "000000Z");
}
