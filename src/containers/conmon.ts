import { Socket } from "node:net";
import { closeFd, pipe } from "../kernel/pipes.js";
import type { Host } from "./host.js";
import type { Launcher } from "./launcher.js";

/**
 * conmon(8) stays as the parent of one process, so that its output, exit code and attach socket outlive the engine. It reports on a
 * pipe named by _OCI_SYNCPIPE: one JSON line with the process's number, or -1 and what the runtime said; for an exec a second
 * line with the exit code. With `--api-version 1` all of these stand in "data".
 */
export interface ConmonReport {
  /** Process number, or below 0: the runtime failed. */
  readonly data: number;
  readonly message: string;
}

export interface ConmonOptions {
  readonly id: string;
  /** Differs from `id` for an exec. */
  readonly uuid: string;
  readonly bundle: string;
  readonly ociRoot: string;
  readonly runtimeLog: string;
  readonly pidFile: string;
  readonly conmonPidFile: string;
  readonly exitDirectory: string;
  readonly logPath: string | undefined;
  readonly logSizeMax: number | undefined;
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly leaveStdinOpen: boolean;
  /** Process spec of an exec */
  readonly exec?: string;
}

export function conmonArguments(host: Host, o: ConmonOptions): string[] {
  const args = [host.conmon, "--api-version", "1", "-c", o.id, "-u", o.uuid, "-b", o.bundle, "-r", host.runtime.path];
  for (const arg of ["--root", o.ociRoot, "--log", o.runtimeLog, "--log-format", "json"]) args.push("--runtime-arg", arg);
  args.push("-p", o.pidFile, "-P", o.conmonPidFile, "--exit-dir", o.exitDirectory, "--persist-dir", o.bundle);
  args.push("--full-attach", "--no-sync-log", "--log-level", "error");
  args.push("-l", o.logPath === undefined ? "none" : `k8s-file:${o.logPath}`);
  if (o.logSizeMax !== undefined) args.push("--log-size-max", String(o.logSizeMax));
  if (o.tty) args.push("-t");
  if (o.stdin) args.push("-i");
  if (o.leaveStdinOpen) args.push("--leave-stdin-open");
  if (o.exec !== undefined) args.push("--exec", "--exec-attach", "--exec-process-spec", o.exec);
  return args;
}

/** A conmon that was started. The reports come in order; `next` resolves to undefined when conmon has closed its pipe. */
export interface Conmon {
  next(): Promise<ConmonReport | undefined>;
  /** Lets a conmon that was started `gated` go one step further. */
  release(): void;
  /** For `--exec-attach`: the attach socket is there. */
  readonly attachable: Promise<void>;
  /** Stops listening; conmon goes on. */
  close(): void;
}

export async function startConmon(
  launcher: Launcher,
  args: readonly string[],
  options: { readonly cwd: string; readonly gated: boolean },
): Promise<Conmon> {
  const sync = pipe();
  const start = options.gated ? pipe() : undefined;
  const attach = options.gated ? pipe() : undefined;
  const env: Record<string, string> = {
    PATH: process.env.PATH ?? "/usr/sbin:/usr/bin:/sbin:/bin",
    TZ: "UTC",
    _OCI_SYNCPIPE: "3",
  };
  const fds: (number | null)[] = [null, null, null, sync.write];
  if (start !== undefined && attach !== undefined) {
    fds.push(start.read, attach.write);
    env._OCI_STARTPIPE = "4";
    env._OCI_ATTACHPIPE = "5";
  }
  const closeTheirs = () => {
    closeFd(sync.write);
    if (start !== undefined) closeFd(start.read);
    if (attach !== undefined) closeFd(attach.write);
  };
  try {
    await launcher.launch({ argv: args, env, cwd: options.cwd, fds });
  } catch (error) {
    closeTheirs();
    closeFd(sync.read);
    if (start !== undefined) closeFd(start.write);
    if (attach !== undefined) closeFd(attach.read);
    throw error;
  }
  closeTheirs();
  const reports = lines(new Socket({ fd: sync.read, readable: true, writable: false }));
  const gate = start === undefined ? undefined : new Socket({ fd: start.write, readable: false, writable: true });
  gate?.on("error", () => {});
  const attachLines = attach === undefined ? undefined : lines(new Socket({ fd: attach.read, readable: true, writable: false }));
  return {
    async next() {
      const line = await reports.next();
      return line === undefined ? undefined : parseReport(line);
    },
    release() {
      gate?.write("\0");
    },
    attachable: attachLines === undefined ? Promise.resolve() : attachLines.next().then(() => {}),
    close() {
      reports.close();
      gate?.destroy();
      attachLines?.close();
    },
  };
}

function parseReport(line: string): ConmonReport {
  try {
    const report = JSON.parse(line) as { data?: number; message?: string };
    return { data: report.data ?? -1, message: report.message ?? "" };
  } catch {
    return { data: -1, message: line };
  }
}

function lines(socket: Socket): { next(): Promise<string | undefined>; close(): void } {
  const ready: string[] = [];
  const waiting: ((line: string | undefined) => void)[] = [];
  let text = "";
  let ended = false;
  const end = () => {
    ended = true;
    for (const resolve of waiting.splice(0)) resolve(undefined);
  };
  socket.setEncoding("utf8");
  socket.on("data", (chunk: string) => {
    text += chunk;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n")) {
      const line = text.slice(0, at);
      text = text.slice(at + 1);
      const resolve = waiting.shift();
      if (resolve === undefined) ready.push(line);
      else resolve(line);
    }
  });
  socket.on("end", end);
  socket.on("error", end);
  socket.on("close", end);
  return {
    next() {
      const line = ready.shift();
      if (line !== undefined) return Promise.resolve(line);
      if (ended) return Promise.resolve(undefined);
      return new Promise((resolve) => waiting.push(resolve));
    },
    close() {
      socket.destroy();
    },
  };
}
