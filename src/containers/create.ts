import { closeSync, mkdirSync, openSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { refuse } from "../base/errors.js";
import { MS_NODEV, MS_NOEXEC, MS_NOSUID, mount, umount } from "../kernel/mounts.js";
import { DEFAULT_SHM_BYTES } from "../model/container-defaults.js";
import { type ConmonOptions, conmonArguments, startConmon } from "./conmon.js";
import type { Context } from "./context.js";
import type { RunSpec } from "./contract.js";
import { identify, isAlive } from "./process-identity.js";
import { startRefusal } from "./refusals.js";
import { readRecord, writeRecord } from "./run-record.js";
import { lastMessage } from "./runtime-log.js";
import { type Peers, peerContainer } from "./spec/namespaces.js";
import { containerSpec, makeBindSources, specText } from "./spec/spec.js";

/** Everything up to the process that waits for its start. On failure all of it is taken back. */
export async function createContainer(context: Context, spec: RunSpec): Promise<{ readonly pid: number }> {
  const { paths, rootfs, exits } = context;
  const { id } = spec.container;
  const run = paths.run(id);
  const cgroupPath = join("/", spec.container.hostConfig.CgroupParent || "linkspan", id);
  mkdirSync(run.directory, { recursive: true, mode: 0o711 });
  exits.discard(id);
  rmSync(run.runtimeLog, { force: true });
  rmSync(run.oom, { force: true });
  rootfs.adopt(id);
  const root = rootfs.acquire(id, spec.layers);
  try {
    // Written first, without a process: what a sweep needs if we end here.
    writeRecord(run.record, { identity: { pid: 0, startTime: "" }, cgroupPath, ipcShareable: isShareable(spec) });
    const config = containerSpec(prepared(spec), {
      host: context.host,
      rootfs: root,
      cgroupPath,
      peers: findPeers(context, spec),
      shm: sharedMemory(context, spec),
      arch: process.arch,
    });
    const filtered = context.host.runtime.name === "crun" ? context.filters.apply(config) : { config };
    writeFileSync(run.config, specText(filtered.config), { mode: 0o600 });
    const pid = await startMonitor(context, spec);
    if (config.linux.seccomp !== undefined && context.host.runtime.name === "crun")
      context.filters.learn(config.linux.seccomp, run.filter, filtered.filter);
    const identity = identify(pid) ?? { pid, startTime: "" };
    writeRecord(run.record, { identity, cgroupPath, ipcShareable: isShareable(spec) });
    exits.track(id, identity);
    return { pid };
  } catch (error) {
    await takeBack(context, id, cgroupPath);
    throw error;
  }
}

function prepared(spec: RunSpec): RunSpec {
  makeBindSources(spec);
  return spec;
}

async function startMonitor(context: Context, spec: RunSpec): Promise<number> {
  const { paths, host, launcher } = context;
  const { id, config, hostConfig } = spec.container;
  const run = paths.run(id);
  const store = paths.store(id);
  const keepsLog = hostConfig.LogConfig?.Type !== "none";
  if (keepsLog) closeSync(openSync(store.log, "a", 0o640));
  const options: ConmonOptions = {
    id,
    uuid: id,
    bundle: run.directory,
    ociRoot: paths.ociRoot,
    runtimeLog: run.runtimeLog,
    pidFile: run.pidFile,
    conmonPidFile: run.conmonPidFile,
    exitDirectory: paths.exits,
    logPath: keepsLog ? store.log : undefined,
    logSizeMax: keepsLog ? logSize(hostConfig.LogConfig?.Config?.["max-size"]) : undefined,
    tty: config.Tty,
    stdin: config.OpenStdin,
    leaveStdinOpen: config.OpenStdin && !config.StdinOnce,
  };
  const conmon = await startConmon(launcher, conmonArguments(host, options), { cwd: run.directory, gated: false });
  try {
    const report = await conmon.next();
    if (report === undefined || report.data < 0)
      throw startRefusal(lastMessage(run.runtimeLog) || report?.message || "conmon ended early", spec.container.path);
    return report.data;
  } finally {
    conmon.close();
  }
}

async function takeBack(context: Context, id: string, cgroupPath: string): Promise<void> {
  const { paths, rootfs, exits } = context;
  const run = paths.run(id);
  exits.forget(id);
  const cgroup = context.cgroup(cgroupPath);
  try {
    await cgroup.killAll();
    await cgroup.remove();
  } catch (error) {
    context.log.warn("taking back a container", { container: id, error: String(error) });
  }
  rmSync(run.ociState, { recursive: true, force: true });
  umount(run.shm);
  rootfs.release(id);
  exits.discard(id);
  if (!rootfs.isUsed(id)) rmSync(run.directory, { recursive: true, force: true });
}

const isShareable = (spec: RunSpec): boolean => spec.container.hostConfig.IpcMode === "shareable";

/** The processes whose IPC and PID namespaces are joined; refusals in Docker's words. */
function findPeers(context: Context, spec: RunSpec): Peers {
  const { IpcMode, PidMode } = spec.container.hostConfig;
  const running = (id: string, what: string) => {
    const record = readRecord(context.paths.run(id).record);
    if (record === undefined || !isAlive(record.identity))
      return refuse(409, `cannot join ${what} of a non running container: ${id}`);
    return record;
  };
  const ipcId = peerContainer(IpcMode);
  const pidId = peerContainer(PidMode);
  const ipc = ipcId === undefined ? undefined : running(ipcId, "IPC");
  if (ipc !== undefined && !ipc.ipcShareable)
    refuse(
      409,
      `cannot join IPC of a container ${ipcId}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)`,
    );
  return {
    ...(ipc === undefined ? {} : { ipc: ipc.identity.pid }),
    ...(pidId === undefined ? {} : { pid: running(pidId, "PID").identity.pid }),
  };
}

/** /dev/shm of a container that shares its IPC namespace is mounted outside, where others can be given it. */
function sharedMemory(context: Context, spec: RunSpec): string | undefined {
  const { IpcMode, ShmSize } = spec.container.hostConfig;
  const donor = peerContainer(IpcMode);
  if (donor !== undefined) return context.paths.run(donor).shm;
  if (IpcMode === "host") return "/dev/shm";
  if (!isShareable(spec)) return undefined;
  const { shm } = context.paths.run(spec.container.id);
  mkdirSync(shm, { recursive: true });
  umount(shm);
  const data = `mode=1777,size=${ShmSize > 0 ? ShmSize : DEFAULT_SHM_BYTES}`;
  mount({ source: "shm", target: shm, type: "tmpfs", flags: MS_NOSUID | MS_NODEV | MS_NOEXEC, data });
  return shm;
}

/** "10m" → bytes; undefined: no limit. Docker's units (1024). */
export function logSize(text: string | undefined): number | undefined {
  if (text === undefined || text === "" || text === "-1") return undefined;
  const [, digits, unit = ""] = /^(\d+)([kmg]?)b?$/i.exec(text) ?? refuse(400, `invalid size: '${text}'`);
  return Number(digits) * 1024 ** " kmg".indexOf(unit.toLowerCase() || " ");
}
