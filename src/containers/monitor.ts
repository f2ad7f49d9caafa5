import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { signalQuietly } from "./cgroup.js";
import type { RunPaths } from "./paths.js";

/** The container's conmon, if it runs (its number may have come to mean another process: the command line is looked at). */
export function monitorPid(run: RunPaths): number | undefined {
  try {
    const pid = Number(readFileSync(run.conmonPidFile, "utf8"));
    const command = readFileSync(`/proc/${pid}/cmdline`, "latin1");
    return Number.isInteger(pid) && pid > 1 && command.includes(run.directory) ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** The process was created and has not been started: the runtime removes the fifo with the start. */
export const isWaiting = (run: RunPaths): boolean => existsSync(join(run.ociState, "exec.fifo"));

/**
 * An engine that ended while conmon was creating the process: gives conmon a moment to come to an end of that (so that the
 * process is in its cgroup, where it is found), then ends it.
 */
export async function monitorGone(run: RunPaths): Promise<void> {
  for (let i = 0; i < 200; i++) {
    const pid = monitorPid(run);
    if (pid === undefined) return;
    if (existsSync(run.pidFile) || i > 150) signalQuietly(pid, "SIGKILL");
    await sleep(10);
  }
}
