import { accessSync, constants, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { mountMissingCgroups } from "./cgroup-mounts.js";

/** What this machine offers for running containers. Read once, at start. */
export interface Host {
  readonly cgroup: CgroupLayout;
  readonly conmon: string;
  readonly runtime: { readonly name: "crun" | "runc"; readonly path: string };
  /**
   * crun up to 1.8 refuses hosts with cgroup v1 and a v2 hierarchy beside it whose controllers file is not empty ("hybrid mode"),
   * though it would use v1 only. It is then started in a mount namespace without that hierarchy.
   */
  readonly hideUnified: string | undefined;
  /** Capabilities that this process may hand on, as a bit mask. */
  readonly capabilities: bigint;
  readonly limits: ReadonlyMap<string, { readonly soft: number; readonly hard: number }>;
  /** A static init for `--init`, if there is one. */
  readonly init: string | undefined;
}

export interface CgroupLayout {
  readonly version: "1" | "2";
  /** Controller (v1; also "name=systemd") or "" (v2) → mount point */
  readonly mounts: ReadonlyMap<string, string>;
}

export function detectHost(options: { readonly runtime?: "crun" | "runc" } = {}): Host {
  const conmon = findProgram("conmon");
  if (conmon === undefined) throw new Error("conmon is not installed (apt-get install conmon)");
  const crun = findProgram("crun");
  const runc = findProgram("runc");
  mountMissingCgroups();
  const { layout, unified } = readCgroupLayout(readFileSync("/proc/self/mountinfo", "utf8"));
  const hybrid = layout.version === "1" && unified !== undefined && hasControllers(unified);
  const chosen = options.runtime === "runc" ? (runc ?? crun) : (crun ?? runc);
  if (chosen === undefined) throw new Error("neither crun nor runc is installed (apt-get install crun)");
  const name = chosen === crun ? "crun" : "runc";
  return {
    cgroup: layout,
    conmon,
    runtime: { name, path: chosen },
    hideUnified: name === "crun" && hybrid ? unified : undefined,
    capabilities: boundingSet(readFileSync("/proc/self/status", "utf8")),
    limits: readLimits(readFileSync("/proc/self/limits", "utf8")),
    init: ["docker-init", "catatonit", "tini-static"].map(findProgram).find((path) => path !== undefined),
  };
}

/** First hit of a program in PATH and the usual sbin directories. */
export function findProgram(name: string): string | undefined {
  const directories = [
    ...(process.env.PATH ?? "").split(delimiter),
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/libexec/podman",
  ];
  for (const directory of directories) {
    if (directory === "") continue;
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not there
    }
  }
  return undefined;
}

/** From /proc/self/mountinfo (proc(5)): "id parent maj:min root mountpoint options - type source superoptions". */
export function readCgroupLayout(mountinfo: string): { readonly layout: CgroupLayout; readonly unified: string | undefined } {
  const mounts = new Map<string, string>();
  let unified: string | undefined;
  for (const line of mountinfo.split("\n")) {
    const [left, right] = line.split(" - ");
    if (left === undefined || right === undefined) continue;
    const mountPoint = left.split(" ")[4] ?? "";
    const [type, , superOptions = ""] = right.split(" ");
    if (!mountPoint.startsWith("/sys/fs/cgroup")) continue;
    if (type === "cgroup2") unified ??= mountPoint;
    if (type !== "cgroup") continue;
    for (const option of superOptions.split(","))
      if (
        !["rw", "ro", "xattr", "release_agent", "clone_children", "noprefix"].includes(option.split("=")[0] ?? "") ||
        option.startsWith("name=")
      )
        if (!mounts.has(option)) mounts.set(option, mountPoint);
  }
  if (unified === "/sys/fs/cgroup" || (mounts.size === 0 && unified !== undefined))
    return { layout: { version: "2", mounts: new Map([["", unified]]) }, unified };
  return { layout: { version: "1", mounts }, unified };
}

function hasControllers(unified: string): boolean {
  try {
    return readFileSync(join(unified, "cgroup.controllers"), "utf8").trim() !== "";
  } catch {
    return false;
  }
}

function boundingSet(status: string): bigint {
  const hex = /^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return BigInt(`0x${hex ?? "0"}`);
}

const limitNames: Readonly<Record<string, string>> = {
  "Max cpu time": "cpu",
  "Max file size": "fsize",
  "Max data size": "data",
  "Max stack size": "stack",
  "Max core file size": "core",
  "Max resident set": "rss",
  "Max processes": "nproc",
  "Max open files": "nofile",
  "Max locked memory": "memlock",
  "Max address space": "as",
  "Max file locks": "locks",
  "Max pending signals": "sigpending",
  "Max msgqueue size": "msgqueue",
  "Max nice priority": "nice",
  "Max realtime priority": "rtprio",
  "Max realtime timeout": "rttime",
};

function readLimits(text: string): Map<string, { soft: number; hard: number }> {
  const limits = new Map<string, { soft: number; hard: number }>();
  for (const line of text.split("\n")) {
    const name = limitNames[line.slice(0, 26).trim()];
    const [soft, hard] = line.slice(26).trim().split(/\s+/);
    if (name !== undefined && soft !== undefined && hard !== undefined)
      limits.set(name, { soft: limitValue(soft), hard: limitValue(hard) });
  }
  return limits;
}

const limitValue = (text: string): number => (text === "unlimited" ? Number.POSITIVE_INFINITY : Number(text));
