import { join } from "node:path";

/**
 * Where things of a container lie. Below the exec root: what ends with the process. Below the data root: what ends with the container.
 * The exec root's directory of a container is made first and removed last, so that a sweep finds every half-made one.
 */
export interface Paths {
  readonly ociRoot: string;
  readonly exits: string;
  readonly runs: string;
  readonly stores: string;
  readonly execs: string;
  /** Compiled seccomp filters */
  readonly filters: string;
  run(id: string): RunPaths;
  store(id: string): StorePaths;
}
export interface RunPaths {
  readonly directory: string;
  readonly config: string;
  readonly rootfs: string;
  readonly pidFile: string;
  readonly conmonPidFile: string;
  readonly runtimeLog: string;
  readonly attach: string;
  readonly control: string;
  readonly oom: string;
  readonly shm: string;
  readonly record: string;
  readonly exit: string;
  readonly ociState: string;
  readonly filter: string;
}
export interface StorePaths {
  readonly directory: string;
  readonly upper: string;
  readonly work: string;
  readonly log: string;
}

export function createPaths(dataRoot: string, execRoot: string): Paths {
  const ociRoot = join(execRoot, "oci");
  const exits = join(execRoot, "exits");
  const runs = join(execRoot, "containers");
  const stores = join(dataRoot, "containers");
  return {
    ociRoot,
    exits,
    runs,
    stores,
    execs: join(execRoot, "execs"),
    filters: join(dataRoot, "seccomp"),
    run(id) {
      const directory = join(runs, id);
      return {
        directory,
        config: join(directory, "config.json"),
        rootfs: join(directory, "rootfs"),
        pidFile: join(directory, "pid"),
        conmonPidFile: join(directory, "conmon.pid"),
        runtimeLog: join(directory, "oci.log"),
        attach: join(directory, "attach"),
        control: join(directory, "ctl"),
        oom: join(directory, "oom"),
        shm: join(directory, "shm"),
        record: join(directory, "run.json"),
        exit: join(exits, id),
        ociState: join(ociRoot, id),
        filter: join(ociRoot, id, "seccomp.bpf"),
      };
    },
    store(id) {
      const directory = join(stores, id);
      return { directory, upper: join(directory, "upper"), work: join(directory, "work"), log: join(directory, `${id}.log`) };
    },
  };
}

/** Container ids are 64 hex digits; sweeps touch nothing else. */
export const isContainerId = (name: string): boolean => /^[0-9a-f]{64}$/.test(name);
