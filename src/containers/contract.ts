import type { Readable } from "node:stream";
import type { Container, ContainerMount, ImageRuntimeConfig } from "../model/container.js";

/** What one container needs from the others' rooms in order to run. */
export interface RunSpec {
  readonly container: Container;
  /** Path of the pinned network namespace to join, or undefined for the engine's own (host mode). */
  readonly netnsPath: string | undefined;
  /** `container:NAME` shares these namespaces and files of another container. */
  readonly hostname: string;
  /** Layer directories, uppermost first (overlayfs lowerdir order) and the image's config as OCI JSON. */
  readonly layers: readonly string[];
  readonly imageConfig: ImageRuntimeConfig;
  readonly mounts: readonly ContainerMount[];
  /** Files that the engine writes: /etc/hosts, /etc/resolv.conf, /etc/hostname (paths on the host). */
  readonly etcFiles: { readonly hosts?: string; readonly resolvConf?: string; readonly hostname?: string };
  /** Extra environment (links) that goes before the container's own. */
  readonly linkEnv: readonly string[];
}

export interface Exit {
  readonly containerId: string;
  readonly exitCode: number;
  readonly oomKilled: boolean;
  readonly finishedAt: string;
}

export interface LogOptions {
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly follow: boolean;
  /** number of last lines; undefined: all */
  readonly tail?: number;
  /** Unix seconds, fraction allowed */
  readonly since?: number;
  readonly until?: number;
  readonly timestamps: boolean;
}
export interface OutputChunk {
  readonly stream: "stdout" | "stderr";
  readonly data: Buffer;
}

/** A live connection to a process's standard streams. */
export interface AttachSession {
  onOutput(listener: (chunk: OutputChunk) => void): void;
  /** Bytes for the process's stdin. A promise: the process is slow, and nothing more should be written before it resolves. */
  write(data: Buffer): void | Promise<void>;
  /** The reader of the output is slow: nothing more is read from the process until `resume`. Absent: output cannot be held back. */
  pause?(): void;
  resume?(): void;
  /** Half-close: the process reads end of file. */
  endInput(): void;
  /** Resolves when the process's output has ended and all of it was delivered. */
  readonly ended: Promise<void>;
  /** Detaches; the process goes on. */
  close(): void;
}

export interface ExecRequest {
  readonly cmd: readonly string[];
  readonly env: readonly string[];
  readonly workingDir: string;
  readonly user: string;
  readonly tty: boolean;
  readonly attachStdin: boolean;
  readonly attachStdout: boolean;
  readonly attachStderr: boolean;
  readonly privileged: boolean;
  readonly detachKeys?: string;
}
export interface ExecStatus {
  readonly id: string;
  readonly containerId: string;
  readonly request: ExecRequest;
  readonly running: boolean;
  readonly exitCode: number | null;
  readonly pid: number;
}

/**
 * Runs processes by an OCI runtime under conmon. It keeps no model of its own: what it needs to find again after a restart
 * is in files below its directory (bundle, pid file, exit file, log).
 */
export interface ContainerRuntime {
  /**
   * Mounts the root file system, writes the bundle, starts conmon + `crun create`. The process exists and waits.
   * Rejects with RefusalError in Docker's words (400/404/500…), leaving nothing behind.
   */
  create(spec: RunSpec): Promise<{ readonly pid: number }>;
  /** `crun start`: the process runs. Rejects with RefusalError 400 and Docker's text when the executable is not there. */
  start(containerId: string): Promise<void>;
  /** `signal` as number or name ("SIGTERM", "9"). */
  kill(containerId: string, signal: string): Promise<void>;
  pause(containerId: string): Promise<void>;
  unpause(containerId: string): Promise<void>;
  /** After exit: `crun delete`, unmount, remove the cgroup and the run files. The writable layer stays. Idempotent. */
  cleanup(containerId: string): Promise<void>;
  /** Removes the writable layer and the log. Idempotent. */
  removeStorage(containerId: string): Promise<void>;
  /** What is really there, at start: running with this pid, or exited with that code, or nothing known. */
  probe(
    containerId: string,
  ): Promise<
    | { readonly state: "running" | "paused"; readonly pid: number }
    | { readonly state: "exited"; readonly exit: Exit }
    | { readonly state: "gone" }
  >;
  onExit(listener: (exit: Exit) => void): void;
  attach(containerId: string, options: { readonly tty: boolean; readonly stdin: boolean }): Promise<AttachSession>;
  resize(containerId: string, height: number, width: number): Promise<void>;
  logs(container: Container, options: LogOptions): AsyncIterable<OutputChunk>;
  logPath(containerId: string): string;
  top(
    containerId: string,
    psArgs: string,
  ): Promise<{ readonly Titles: readonly string[]; readonly Processes: readonly (readonly string[])[] }>;
  pids(containerId: string): Promise<readonly number[]>;
  /** Docker's stats JSON without `networks`, `read`, `preread` and names. */
  stats(containerId: string): Promise<Record<string, unknown>>;
  update(container: Container): Promise<void>;
  /**
   * Rejects with RefusalError in Docker's words: 409 (paused), 400 (the command cannot be run); in both cases `onExit(126)` was called.
   * `request.env` comes over the container's environment (put links before `-e`). `onExit` comes after the session has ended.
   */
  execStart(
    container: Container,
    exec: { readonly id: string; readonly request: ExecRequest },
    onExit: (code: number) => void,
  ): Promise<{ readonly pid: number; readonly session: AttachSession }>;
  execResize(execId: string, height: number, width: number): Promise<void>;
  /** Mounts the root file system of a container that may be stopped, runs `use` on its path, unmounts what it mounted. */
  withRootfs<T>(containerId: string, layers: readonly string[], use: (path: string) => Promise<T>): Promise<T>;
  /** Upper directory of the writable layer (for `diff`, `commit`, size). */
  upperDir(containerId: string): string;
  /** Finishes half-made and half-removed things of an earlier life: bundles, mounts, cgroups of containers not in `known`. */
  /** `running`: those whose processes are to live on; of other known containers only the storage stays. Absent: all of `known`. */
  sweep(known: ReadonlySet<string>, running?: ReadonlySet<string>): Promise<void>;
  close(): Promise<void>;
}

/** Bytes of a tar archive, for cp, export and commit. */
export type TarStream = Readable;
