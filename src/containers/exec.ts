import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { refuse } from "../base/errors.js";
import { closeFd, pipe } from "../kernel/pipes.js";
import type { Container } from "../model/container.js";
import { conmonArguments, startConmon } from "./conmon.js";
import type { Context } from "./context.js";
import type { AttachSession, ExecRequest } from "./contract.js";
import { execRefusal } from "./refusals.js";
import type { RunRecord } from "./run-record.js";
import { lastMessage } from "./runtime-log.js";
import { attachSession, pipeSession } from "./session.js";
import { execProcess } from "./spec/exec-process.js";
import type { OciSpec } from "./spec/oci.js";
import { specText } from "./spec/spec.js";
import { resizeTerminal } from "./terminal.js";

export interface Exec {
  readonly id: string;
  readonly request: ExecRequest;
}
type Started = { readonly pid: number; readonly session: AttachSession };

/** Docker's exit code of an exec that could not be started. */
const NOT_STARTED = 126;
const PID_POLL_MS = 1;

/**
 * Further processes in a running container. Without a terminal the runtime is our child and the process has real pipes; with one, a
 * conmon holds the terminal. An exec's output and exit code end with the engine, as with Docker.
 */
export class Execs {
  readonly #context: Context;
  readonly #running = new Map<string, { readonly containerId: string; readonly directory: string; readonly tty: boolean }>();

  constructor(context: Context) {
    this.#context = context;
  }

  /**
   * Rejects with RefusalError 400 (the command is at fault; Docker's text) or 409 (paused), after `onExit(126)` in the former case.
   */
  async start(container: Container, record: RunRecord, exec: Exec, onExit: (code: number) => void): Promise<Started> {
    const { paths } = this.#context;
    if (this.#context.cgroup(record.cgroupPath).isFrozen())
      refuse(409, `Container ${container.id} is paused, unpause the container before exec`);
    const directory = join(paths.execs, exec.id);
    mkdirSync(directory, { recursive: true, mode: 0o711 });
    const run = paths.run(container.id);
    try {
      const config = JSON.parse(readFileSync(run.config, "utf8")) as OciSpec;
      const process = execProcess(config, container, exec.request, { rootfs: run.rootfs, host: this.#context.host });
      writeFileSync(join(directory, "process.json"), specText(process), { mode: 0o600 });
      this.#running.set(exec.id, { containerId: container.id, directory, tty: exec.request.tty });
      const start = exec.request.tty ? this.#startTerminal : this.#startPipes;
      return await start.call(this, container.id, directory, exec.request, (code) => {
        this.#end(exec.id);
        onExit(code);
      });
    } catch (error) {
      this.#end(exec.id);
      rmSync(directory, { recursive: true, force: true });
      onExit(NOT_STARTED);
      throw error;
    }
  }

  resize(execId: string, height: number, width: number): void {
    const exec = this.#running.get(execId) ?? refuse(404, `No such exec instance: ${execId}`);
    if (exec.tty) resizeTerminal(join(exec.directory, "ctl"), height, width);
  }

  forget(containerId: string): void {
    for (const [id, exec] of this.#running) if (exec.containerId === containerId) this.#end(id);
  }

  close(): void {
    this.#running.clear();
  }

  #end(id: string): void {
    const exec = this.#running.get(id);
    this.#running.delete(id);
    if (exec !== undefined) rmSync(exec.directory, { recursive: true, force: true });
  }

  async #startPipes(
    containerId: string,
    directory: string,
    request: ExecRequest,
    onExit: (code: number) => void,
  ): Promise<Started> {
    const { host, paths, launcher } = this.#context;
    const pidFile = join(directory, "pid");
    const runtimeLog = join(directory, "oci.log");
    const stdin = request.attachStdin ? pipe() : undefined;
    const stdout = request.attachStdout ? pipe() : undefined;
    const stderr = request.attachStderr ? pipe() : undefined;
    const argv = [host.runtime.path, "--root", paths.ociRoot, "--log", runtimeLog, "--log-format", "json", "exec"];
    argv.push("--process", join(directory, "process.json"), "--pid-file", pidFile, containerId);
    const theirs = [stdin?.read, stdout?.write, stderr?.write];
    let launched: Awaited<ReturnType<typeof launcher.launch>>;
    try {
      launched = await launcher.launch({
        argv,
        env: { PATH: process.env.PATH ?? "" },
        cwd: "/",
        fds: theirs.map((fd) => fd ?? null),
      });
    } catch (error) {
      for (const fd of [stdin?.write, stdout?.read, stderr?.read]) if (fd !== undefined) closeFd(fd);
      throw error;
    } finally {
      for (const fd of theirs) if (fd !== undefined) closeFd(fd);
    }
    let ended = false;
    const exited = launched.exited.then(({ code }) => {
      ended = true;
      return code ?? 128;
    });
    const session = pipeSession({
      stdin: stdin && new Socket({ fd: stdin.write, readable: false, writable: true }),
      stdout: stdout && new Socket({ fd: stdout.read, readable: true, writable: false }),
      stderr: stderr && new Socket({ fd: stderr.read, readable: true, writable: false }),
      exited: exited.then(() => {}),
    });
    if (stdout === undefined && stderr === undefined) session.onOutput(() => {});
    // The runtime writes the number when the process is about to run: until then, what stands on stderr is the runtime's own.
    let pid = readPid(pidFile);
    while (pid === undefined && !ended) {
      await Promise.race([sleep(PID_POLL_MS), exited]);
      pid = readPid(pidFile);
    }
    if (pid === undefined) {
      session.close();
      throw execRefusal(lastMessage(runtimeLog) || `the runtime ended with ${await exited}`, request.cmd[0] ?? "");
    }
    // Both: Docker's clients ask for the exit code as soon as the stream has ended.
    void Promise.all([exited, session.ended]).then(([code]) => onExit(lastMessage(runtimeLog) === "" ? code : NOT_STARTED));
    return { pid, session };
  }

  async #startTerminal(
    containerId: string,
    directory: string,
    request: ExecRequest,
    onExit: (code: number) => void,
  ): Promise<Started> {
    const { host, paths, launcher } = this.#context;
    const runtimeLog = join(directory, "oci.log");
    const args = conmonArguments(host, {
      id: containerId,
      uuid: containerId,
      bundle: directory,
      ociRoot: paths.ociRoot,
      runtimeLog,
      pidFile: join(directory, "pid"),
      conmonPidFile: join(directory, "conmon.pid"),
      exitDirectory: directory,
      logPath: undefined,
      logSizeMax: undefined,
      tty: true,
      stdin: request.attachStdin,
      leaveStdinOpen: false,
      exec: join(directory, "process.json"),
    });
    const conmon = await startConmon(launcher, args, { cwd: directory, gated: true });
    // Once to begin, once when we are attached: no output is lost.
    conmon.release();
    await conmon.attachable;
    const session = attachSession(join(directory, "attach"), { stdin: request.attachStdin });
    if (!request.attachStdout && !request.attachStderr) session.onOutput(() => {});
    conmon.release();
    const report = await conmon.next();
    if (report === undefined || report.data < 0) {
      session.close();
      conmon.close();
      throw execRefusal(lastMessage(runtimeLog) || report?.message || "conmon ended early", request.cmd[0] ?? "");
    }
    void conmon.next().then(async (exit) => {
      conmon.close();
      await session.ended;
      onExit(exit?.data ?? readExit(join(directory, containerId)) ?? 255);
    });
    return { pid: report.data, session };
  }
}

function readPid(path: string): number | undefined {
  return readExit(path) || undefined;
}

function readExit(path: string): number | undefined {
  try {
    const text = readFileSync(path, "utf8").trim();
    return /^\d+$/.test(text) ? Number(text) : undefined;
  } catch {
    return undefined;
  }
}
