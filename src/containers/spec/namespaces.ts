import type { RunSpec } from "../contract.js";

/** Process numbers of the containers whose namespaces are shared. */
export interface Peers {
  readonly ipc?: number;
  readonly pid?: number;
}

/** `mode` of --ipc and --pid: the id in "container:<id>". */
export function peerContainer(mode: string | undefined): string | undefined {
  return mode?.startsWith("container:") ? mode.slice("container:".length) : undefined;
}

/**
 * Docker's choice: own mount, PID, IPC, UTS namespaces unless asked otherwise; the network namespace by path, or the engine's own;
 * a cgroup namespace of its own on cgroup v2.
 */
export function namespaces(spec: RunSpec, peers: Peers, cgroupVersion: "1" | "2"): { type: string; path?: string }[] {
  const { hostConfig } = spec.container;
  const list: { type: string; path?: string }[] = [{ type: "mount" }];
  if (spec.netnsPath !== undefined) list.push({ type: "network", path: spec.netnsPath });
  if (hostConfig.UTSMode !== "host") list.push({ type: "uts" });
  if (peers.ipc !== undefined) list.push({ type: "ipc", path: `/proc/${peers.ipc}/ns/ipc` });
  else if (hostConfig.IpcMode !== "host") list.push({ type: "ipc" });
  if (peers.pid !== undefined) list.push({ type: "pid", path: `/proc/${peers.pid}/ns/pid` });
  else if (hostConfig.PidMode !== "host") list.push({ type: "pid" });
  const cgroupMode = hostConfig.CgroupnsMode;
  const ownCgroup = typeof cgroupMode === "string" && cgroupMode !== "" ? cgroupMode === "private" : cgroupVersion === "2";
  if (ownCgroup && !hostConfig.Privileged) list.push({ type: "cgroup" });
  return list;
}
