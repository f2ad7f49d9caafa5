import { Worker } from "node:worker_threads";
import { builtUrl } from "../base/built.js";
import { KernelError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { Drift, KernelPort } from "../plan/port.js";
import { packBatch } from "./packed-batch.js";
import type { Calls, Failure, FromWorker, Method, Request, SpareOptions, WorkerOptions } from "./protocol.js";

export { RTPROT_LINKSPAN } from "./marks.js";
export { inNamespace } from "./namespaces.js";
export { openPidfd, Pidfd } from "./pidfd.js";
export { readSockaddr, sockaddrOf } from "./sockaddr.js";

export interface KernelOptions {
  readonly execRoot: string;
  /** IFLA_GROUP of our links; the two numbers above it are used as well. Absent: made from `instance`. */
  readonly group?: number;
  /** Hexadecimal text that is this engine's own on this kernel; needed without `group`. */
  readonly instance?: string;
  /** Path of the namespace that is the host's for this engine; absent: the process's own. */
  readonly hostNetns?: string;
  /** Absent: none are made in advance. */
  readonly spares?: SpareOptions;
  readonly log: Logger;
  /** The thread has ended although nobody closed it: nothing can be asked of the kernel any more. */
  readonly onDown?: (error: Error) => void;
}

/** The kernel, with what only this implementation of it can tell. */
export interface Kernel extends KernelPort {
  /** Where a namespace is pinned: <execRoot>/netns/<name>. */
  namespacePath(name: string): string;
}

/** Starts the kernel thread, which enters `hostNetns` for good. Rejects with KernelError if it cannot speak to the kernel. */
export async function startKernel(options: KernelOptions): Promise<Kernel> {
  const { log, execRoot, hostNetns, spares } = options;
  const group = options.group ?? groupOf(options.instance ?? "");
  const thread = new KernelThread(
    {
      execRoot,
      group,
      ...(hostNetns === undefined ? {} : { hostNetns }),
      ...(spares === undefined ? {} : { spares }),
    },
    log,
  );
  await thread.call("hostLinks", undefined);
  const watchers = new Set<(drift: Drift) => void>();
  thread.onDown = (error) => options.onDown?.(error);
  thread.onDrift = (drift) => {
    for (const watcher of watchers) watcher(drift);
  };
  return {
    async apply(batches) {
      const { failures, syscalls } = await thread.call("apply", batches.map(packBatch));
      return { failures: failures.map((failure) => ({ ...failure, op: batches[failure.batch]![failure.index]! })), syscalls };
    },
    observe: (scope) => thread.call("observe", scope),
    watch(onDrift) {
      watchers.add(onDrift);
      if (watchers.size === 1)
        void thread.call("watch", true).catch((error) => log.error("kernel watch failed", { error: String(error) }));
      return () => {
        watchers.delete(onDrift);
        if (watchers.size === 0) void thread.call("watch", false).catch(() => undefined);
      };
    },
    hostRoutes: () => thread.call("hostRoutes", undefined),
    hostLinks: () => thread.call("hostLinks", undefined),
    async flushConntrack(match) {
      await thread.call("flushConntrack", match);
    },
    async openSocket(request) {
      const [fd] = await thread.call("openSockets", [request]);
      return fd!;
    },
    openSockets: (requests) => thread.call("openSockets", requests),
    close: () => thread.close(),
    namespacePath: (name) => `${options.execRoot}/netns/${name}`,
  };
}

/** A number that leaves room for the two above it and is not 0, the group of everybody. */
const groupOf = (instance: string): number => ((Number.parseInt(instance.slice(0, 8), 16) & 0x7ffffff0) | 0x4) >>> 0;

class KernelThread {
  onDrift: (drift: Drift) => void = () => undefined;
  onDown: (error: Error) => void = () => undefined;
  readonly #worker: Worker;
  readonly #log: Logger;
  readonly #waiting = new Map<number, { readonly resolve: (value: unknown) => void; readonly reject: (error: Error) => void }>();
  #next = 1;
  #dead: KernelError | undefined;
  #closing = false;

  constructor(options: WorkerOptions, log: Logger) {
    this.#log = log;
    this.#worker = new Worker(builtUrl(import.meta.url, "kernel/worker.js"), { workerData: options, name: "linkspan-kernel" });
    this.#worker.on("message", (message: FromWorker) => this.#received(message));
    this.#worker.on("error", (error) => this.#died(error instanceof KernelError ? error : threadError(String(error))));
    this.#worker.on("exit", () => this.#died(threadError("the kernel thread has ended")));
  }

  call<M extends Method>(method: M, argument: Calls[M]["in"]): Promise<Calls[M]["out"]> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead);
    const request: Request = { id: this.#next++, method, json: JSON.stringify(argument ?? null) };
    return new Promise<unknown>((resolve, reject) => {
      this.#waiting.set(request.id, { resolve, reject });
      this.#worker.postMessage(request);
    }) as Promise<Calls[M]["out"]>;
  }

  async close(): Promise<void> {
    if (this.#closing || this.#dead !== undefined) return;
    this.#closing = true;
    const ended = new Promise<void>((done) => this.#worker.once("exit", () => done()));
    await this.call("close", undefined);
    await ended;
  }

  #received(message: FromWorker): void {
    if ("drift" in message) this.onDrift(message.drift);
    else if ("warn" in message) this.#log.warn(message.warn, message.fields);
    else {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if ("failure" in message) waiting?.reject(errorOf(message.failure));
      else waiting?.resolve(JSON.parse(message.json));
    }
  }

  #died(error: KernelError): void {
    if (this.#dead !== undefined) return;
    this.#dead = error;
    if (!this.#closing) this.#log.error("kernel thread ended", { error: error.message });
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
    if (!this.#closing) this.onDown(error);
  }
}

/** EIO: what was asked may or may not have been done. */
const threadError = (text: string): KernelError => new KernelError(text, 5, "EIO");

function errorOf(failure: Failure): Error {
  if ("operation" in failure) return new KernelError(failure.operation, failure.errno, failure.code, failure.extAck);
  const error = new Error(failure.message);
  if (failure.stack !== undefined) error.stack = failure.stack;
  return error;
}
