import { readdirSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { umount } from "../kernel/mounts.js";
import { signalQuietly } from "./cgroup.js";
import type { Context } from "./context.js";
import { monitorGone, monitorPid } from "./monitor.js";
import { isContainerId } from "./paths.js";
import { readRecord } from "./run-record.js";

/**
 * Ends and removes what belongs to no container of the model: a create that a crash cut short, a removal likewise. Each has a
 * directory of its own name below the exec root (made first, removed last) or the data root.
 */
export async function sweep(
  context: Context,
  known: ReadonlySet<string>,
  running: ReadonlySet<string>,
  actions: { cleanup(id: string): Promise<void> },
): Promise<void> {
  const { paths, log } = context;
  for (const id of containerIds(paths.runs)) {
    if (running.has(id)) continue;
    log.info("removing what an unknown container left running", { container: id });
    await endProcesses(context, id);
    await actions.cleanup(id);
    const run = paths.run(id);
    umount(run.rootfs);
    umount(run.shm);
    rmSync(run.directory, { recursive: true, force: true });
  }
  for (const id of containerIds(paths.exits)) if (!running.has(id)) rmSync(paths.run(id).exit, { force: true });
  for (const id of containerIds(paths.ociRoot))
    if (!running.has(id)) rmSync(paths.run(id).ociState, { recursive: true, force: true });
  for (const id of containerIds(paths.stores))
    if (!known.has(id)) await rm(paths.store(id).directory, { recursive: true, force: true });
  // Execs of an earlier life: their clients are gone.
  for (const name of entries(paths.execs)) rmSync(join(paths.execs, name), { recursive: true, force: true });
}

/** The container's processes, then its monitor; a crash may have left no record, but the cgroup's usual place is known. */
async function endProcesses(context: Context, id: string): Promise<void> {
  if (readRecord(context.paths.run(id).record)?.identity.pid === 0) await monitorGone(context.paths.run(id));
  const usual = context.cgroup(`/linkspan/${id}`);
  await usual.killAll();
  await usual.remove().catch((error: unknown) => context.log.warn("removing a cgroup", { container: id, error: String(error) }));
  const monitor = monitorPid(context.paths.run(id));
  if (monitor !== undefined) signalQuietly(monitor, "SIGTERM");
}

const containerIds = (directory: string): string[] => entries(directory).filter(isContainerId);

function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
