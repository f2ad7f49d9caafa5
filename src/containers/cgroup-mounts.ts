import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { MS_NODEV, MS_NOEXEC, MS_NOSUID, mount } from "../kernel/mounts.js";

const ROOT = "/sys/fs/cgroup";

export interface CgroupMount {
  readonly type: "tmpfs" | "cgroup" | "cgroup2";
  readonly target: string;
  /** v1: what makes the hierarchy that one, as "cpu,cpuacct" or "none,name=systemd" */
  readonly data: string;
}

/**
 * `ip netns exec` runs its command in a mount namespace with a fresh /sys, in which no control groups are mounted. An engine started
 * that way mounts the same hierarchies as the machine's first process has, in its own mount namespace only.
 */
export function mountMissingCgroups(): void {
  if (cgroupMounts(readFileSync("/proc/self/mountinfo", "utf8")).some((m) => m.type !== "tmpfs")) return;
  let missing: readonly CgroupMount[];
  try {
    missing = cgroupMounts(readFileSync("/proc/1/mountinfo", "utf8"));
  } catch {
    return; // /proc is not the machine's, or hides it
  }
  for (const { type, target, data } of missing) {
    if (!existsSync(target)) mkdirSync(target, { recursive: true });
    mount({ source: type, target, type, flags: MS_NOSUID | MS_NODEV | MS_NOEXEC, ...(data !== "" && { data }) });
  }
}

/** The mounts at and below /sys/fs/cgroup, in their order, from mountinfo (proc(5)). */
export function cgroupMounts(mountinfo: string): readonly CgroupMount[] {
  return mountinfo.split("\n").flatMap((line): CgroupMount[] => {
    const [left = "", right = ""] = line.split(" - ");
    const target = left.split(" ")[4] ?? "";
    const [type, , superOptions = ""] = right.split(" ");
    if (target !== ROOT && !target.startsWith(`${ROOT}/`)) return [];
    if (type === "tmpfs") return [{ type, target, data: "mode=755" }];
    if (type === "cgroup2") return [{ type, target, data: "" }];
    if (type !== "cgroup") return [];
    const options = superOptions.split(",").filter((o) => !["rw", "ro", "xattr", "clone_children"].includes(o));
    const kept = options.filter((o) => !o.startsWith("release_agent="));
    return [{ type, target, data: kept.some((o) => !o.startsWith("name=")) ? kept.join(",") : ["none", ...kept].join(",") }];
  });
}
