import { Worker } from "node:worker_threads";
import { builtUrl } from "../base/built.js";

/** Starts a program; `argv[0]` is its absolute path. `fds` become its descriptors 0, 1, 2, …; null is /dev/null. They stay the caller's, who may close them afterwards. */
export interface LaunchRequest {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly fds: readonly (number | null)[];
}
export interface Launched {
  readonly pid: number;
  readonly exited: Promise<{ readonly code: number | null; readonly signal: number | null }>;
}
export type LaunchReply =
  | { readonly id: number; readonly kind: "started"; readonly pid: number }
  | { readonly id: number; readonly kind: "failed"; readonly message: string }
  | { readonly id: number; readonly kind: "exited"; readonly code: number | null; readonly signal: number | null };

interface Pending {
  readonly started: (launched: Launched) => void;
  readonly failed: (error: Error) => void;
  readonly exited: Promise<{ code: number | null; signal: number | null }>;
  readonly end: (exit: { code: number | null; signal: number | null }) => void;
}

export interface LauncherOptions {
  /** See Host.hideUnified. */
  readonly hideUnified: string | undefined;
  /**
   * A program that is to be on a read-only mount. crun (as runc) guards itself against being overwritten through /proc/self/exe by a
   * process in a container: it makes a read-only copy of itself and starts again from there, which loads its libraries twice. On a
   * read-only mount, with `sealedMark` in the environment, it takes itself for that copy: 5–8 ms less per start, same protection.
   */
  readonly sealed: string | undefined;
}
export const sealedMark: Readonly<Record<string, string>> = { _LIBCONTAINER_CLONED_BINARY: "1" };

/**
 * Programs are started by a thread of their own: it waits until the program is loaded, which the API's event loop should not, and
 * it can give the programs a mount namespace of their own for 0.3 ms, where a wrapper script costs four further program starts.
 */
export class Launcher {
  readonly #worker: Worker;
  readonly #mark: Readonly<Record<string, string>>;
  readonly #pending = new Map<number, Pending>();
  #next = 1;

  constructor(options: LauncherOptions) {
    this.#mark = options.sealed === undefined ? {} : sealedMark;
    this.#worker = new Worker(builtUrl(import.meta.url, "containers/launcher-worker.js"), { workerData: options });
    this.#worker.on("message", (reply: LaunchReply) => this.#reply(reply));
    this.#worker.on("error", (error) => this.#failAll(error));
    this.#worker.on("exit", () => this.#failAll(new Error("the launcher thread has ended")));
    this.#worker.unref();
  }

  launch(request: LaunchRequest): Promise<Launched> {
    const id = this.#next++;
    let end: Pending["end"] = () => {};
    const exited = new Promise<{ code: number | null; signal: number | null }>((resolve) => {
      end = resolve;
    });
    return new Promise((started, failed) => {
      this.#pending.set(id, { started, failed, exited, end });
      this.#worker.ref();
      this.#worker.postMessage({ ...request, id, env: { ...request.env, ...this.#mark } });
    });
  }

  /** Runs a program to its end with /dev/null as its standard streams. */
  async run(argv: readonly string[], env: Readonly<Record<string, string>>): Promise<number> {
    const launched = await this.launch({ argv, env, cwd: "/", fds: [null, null, null] });
    const exit = await launched.exited;
    return exit.code ?? 128;
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #reply(reply: LaunchReply): void {
    const pending = this.#pending.get(reply.id);
    if (pending === undefined) return;
    if (reply.kind === "started") {
      pending.started({ pid: reply.pid, exited: pending.exited });
      return;
    }
    if (reply.kind === "failed") pending.failed(new Error(reply.message));
    else pending.end({ code: reply.code, signal: reply.signal });
    this.#pending.delete(reply.id);
    if (this.#pending.size === 0) this.#worker.unref();
  }

  #failAll(error: Error): void {
    for (const pending of this.#pending.values()) {
      pending.failed(error);
      pending.end({ code: 255, signal: null });
    }
    this.#pending.clear();
  }
}
