import { rmdirSync, rmSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { refuse } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import { umount } from "../kernel/mounts.js";
import type { Container } from "../model/container.js";
import { Cgroup, signalQuietly } from "./cgroup.js";
import type { Context } from "./context.js";
import type { AttachSession, ContainerRuntime, ExecRequest, Exit, LogOptions, OutputChunk, RunSpec } from "./contract.js";
import { createContainer } from "./create.js";
import { Execs } from "./exec.js";
import { Exits } from "./exits.js";
import { FilterCache } from "./filter-cache.js";
import type { Host } from "./host.js";
import { Launcher } from "./launcher.js";
import { readLog } from "./log-reader.js";
import { isWaiting, monitorGone } from "./monitor.js";
import type { Paths } from "./paths.js";
import { isAlive } from "./process-identity.js";
import { RootfsMounts } from "./rootfs.js";
import { type RunRecord, readRecord } from "./run-record.js";
import { lastMessage } from "./runtime-log.js";
import { attachSession } from "./session.js";
import { SIGKILL, signalNumber } from "./signals.js";
import { limits } from "./spec/resources.js";
import { startContainer } from "./start.js";
import { StatsReader } from "./stats.js";
import { sweep } from "./sweep.js";
import { resizeTerminal } from "./terminal.js";
import { processTable } from "./top.js";

export class OciRuntime implements ContainerRuntime {
  readonly #context: Context;
  readonly #execs: Execs;
  readonly #stats = new StatsReader();

  constructor(options: { readonly host: Host; readonly paths: Paths; readonly log: Logger }) {
    const { host, paths, log } = options;
    this.#context = {
      host,
      paths,
      log,
      launcher: new Launcher({
        hideUnified: host.hideUnified,
        sealed: host.runtime.name === "crun" ? host.runtime.path : undefined,
      }),
      exits: new Exits(paths, log),
      rootfs: new RootfsMounts(paths),
      filters: new FilterCache(paths.filters, host.runtime.path),
      cgroup: (path) => new Cgroup(host.cgroup, path),
    };
    this.#execs = new Execs(this.#context);
  }

  create(spec: RunSpec): Promise<{ readonly pid: number }> {
    return createContainer(this.#context, spec);
  }

  start(containerId: string): Promise<void> {
    return startContainer(this.#context, containerId, this.#record(containerId));
  }

  async kill(containerId: string, signal: string): Promise<void> {
    const number = signalNumber(signal);
    const record = this.#record(containerId);
    if (!isAlive(record.identity)) refuse(409, `Cannot kill container: ${containerId}: Container ${containerId} is not running`);
    signalQuietly(record.identity.pid, number);
    const cgroup = this.#context.cgroup(record.cgroupPath);
    // A frozen process dies when it is thawed.
    if (number === SIGKILL && cgroup.isFrozen()) await cgroup.freeze(false);
  }

  pause(containerId: string): Promise<void> {
    return this.#cgroup(containerId).freeze(true);
  }

  unpause(containerId: string): Promise<void> {
    return this.#cgroup(containerId).freeze(false);
  }

  async cleanup(containerId: string): Promise<void> {
    const { paths, exits, rootfs } = this.#context;
    const run = paths.run(containerId);
    exits.forget(containerId);
    const record = readRecord(run.record);
    if (record !== undefined) {
      if (record.identity.pid === 0) await monitorGone(run);
      const cgroup = this.#context.cgroup(record.cgroupPath);
      await cgroup.killAll();
      await cgroup.remove();
    }
    rmSync(run.ociState, { recursive: true, force: true });
    this.#execs.forget(containerId);
    this.#stats.forget(containerId);
    rootfs.release(containerId);
    umount(run.shm);
    exits.discard(containerId);
    if (rootfs.isUsed(containerId)) rmSync(run.record, { force: true });
    else rmSync(run.directory, { recursive: true, force: true });
  }

  async removeStorage(containerId: string): Promise<void> {
    const { paths } = this.#context;
    const store = paths.store(containerId);
    await rm(store.upper, { recursive: true, force: true });
    await rm(store.work, { recursive: true, force: true });
    for (const file of [store.log, `${store.log}.1`, `${store.log}.tmp`]) rmSync(file, { force: true });
    removeIfEmpty(store.directory);
  }

  async probe(
    containerId: string,
  ): Promise<
    | { readonly state: "running" | "paused"; readonly pid: number }
    | { readonly state: "exited"; readonly exit: Exit }
    | { readonly state: "gone" }
  > {
    const { paths, exits, rootfs } = this.#context;
    const record = readRecord(paths.run(containerId).record);
    if (record === undefined) return { state: "gone" };
    rootfs.adopt(containerId);
    const exit = exits.read(containerId);
    if (exit !== undefined) return { state: "exited", exit };
    // A process that still waits for its start was cut off from the engine that made it: it will not be started any more.
    if (!isAlive(record.identity) || isWaiting(paths.run(containerId))) return { state: "exited", exit: exits.lost(containerId) };
    exits.track(containerId, record.identity);
    const frozen = this.#context.cgroup(record.cgroupPath).isFrozen();
    return { state: frozen ? "paused" : "running", pid: record.identity.pid };
  }

  onExit(listener: (exit: Exit) => void): void {
    this.#context.exits.onExit(listener);
  }

  async attach(containerId: string, options: { readonly tty: boolean; readonly stdin: boolean }): Promise<AttachSession> {
    return attachSession(this.#context.paths.run(containerId).attach, { stdin: options.stdin });
  }

  async resize(containerId: string, height: number, width: number): Promise<void> {
    if (!this.#context.exits.isRunning(containerId)) refuse(409, `Container ${containerId} is not running`);
    resizeTerminal(this.#context.paths.run(containerId).control, height, width);
  }

  logs(container: Container, options: LogOptions): AsyncIterable<OutputChunk> {
    if (container.hostConfig.LogConfig?.Type === "none") refuse(400, "configured logging driver does not support reading");
    const { exits } = this.#context;
    return readLog(this.logPath(container.id), options, {
      ended: () => !exits.isRunning(container.id),
      onEnd: (listener) => exits.onEnd(container.id, listener),
    });
  }

  logPath(containerId: string): string {
    return this.#context.paths.store(containerId).log;
  }

  async top(containerId: string, psArgs: string) {
    return processTable(await this.pids(containerId), psArgs);
  }

  async pids(containerId: string): Promise<readonly number[]> {
    return this.#cgroup(containerId).pids();
  }

  async stats(containerId: string): Promise<Record<string, unknown>> {
    return this.#stats.read(containerId, this.#cgroup(containerId));
  }

  async update(container: Container): Promise<void> {
    const { host, paths, launcher } = this.#context;
    const run = paths.run(container.id);
    const file = `${run.directory}/update.json`;
    writeFileSync(file, JSON.stringify(limits(container.hostConfig)));
    rmSync(run.runtimeLog, { force: true });
    const arguments_ = ["--root", paths.ociRoot, "--log", run.runtimeLog, "--log-format", "json", "update", "--resources", file];
    const code = await launcher.run([host.runtime.path, ...arguments_, container.id], { PATH: process.env.PATH ?? "" });
    if (code !== 0) refuse(500, `Cannot update container ${container.id}: ${lastMessage(run.runtimeLog)}`);
  }

  execStart(
    container: Container,
    exec: { readonly id: string; readonly request: ExecRequest },
    onExit: (code: number) => void,
  ): Promise<{ readonly pid: number; readonly session: AttachSession }> {
    return this.#execs.start(container, this.#record(container.id), exec, onExit);
  }

  async execResize(execId: string, height: number, width: number): Promise<void> {
    this.#execs.resize(execId, height, width);
  }

  async withRootfs<T>(containerId: string, layers: readonly string[], use: (path: string) => Promise<T>): Promise<T> {
    const { rootfs, paths } = this.#context;
    rootfs.adopt(containerId);
    const path = rootfs.acquire(containerId, layers);
    try {
      return await use(path);
    } finally {
      rootfs.release(containerId);
      if (!rootfs.isUsed(containerId) && readRecord(paths.run(containerId).record) === undefined)
        rmSync(paths.run(containerId).directory, { recursive: true, force: true });
    }
  }

  upperDir(containerId: string): string {
    return this.#context.paths.store(containerId).upper;
  }

  sweep(known: ReadonlySet<string>, running: ReadonlySet<string> = known): Promise<void> {
    return sweep(this.#context, known, running, { cleanup: (id) => this.cleanup(id) });
  }

  async close(): Promise<void> {
    this.#context.exits.close();
    this.#execs.close();
    await this.#context.launcher.close();
  }

  #record(containerId: string): RunRecord {
    const record = readRecord(this.#context.paths.run(containerId).record);
    if (record === undefined) return refuse(409, `Container ${containerId} is not running`);
    return record;
  }

  #cgroup(containerId: string): Cgroup {
    return this.#context.cgroup(this.#record(containerId).cgroupPath);
  }
}

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch {
    // holds other things
  }
}
