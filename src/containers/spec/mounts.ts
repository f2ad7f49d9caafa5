import { lstatSync } from "node:fs";
import type { ContainerMount, HostConfig } from "../../model/container.js";
import { DEFAULT_SHM_BYTES } from "../../model/container-defaults.js";
import type { OciMount } from "./oci.js";

export interface MountsRequest {
  readonly hostConfig: HostConfig;
  readonly mounts: readonly ContainerMount[];
  readonly etcFiles: { readonly hosts?: string; readonly resolvConf?: string; readonly hostname?: string };
  /** Directory to bind at /dev/shm; undefined: a tmpfs of the container's own */
  readonly shm: string | undefined;
  readonly init: string | undefined;
}

/**
 * Kernel file systems, then what was asked for, parents before children. A mount of the user's replaces one of ours at the
 * same place.
 */
export function containerMounts(request: MountsRequest): { readonly mounts: OciMount[]; readonly rootfsPropagation?: string } {
  const { hostConfig } = request;
  const asked = askedMounts(request);
  const taken = new Set(asked.map((m) => m.destination));
  const system = systemMounts(request).filter((m) => !taken.has(m.destination));
  asked.sort((a, b) => depth(a.destination) - depth(b.destination));
  const mounts = [...system, ...asked].map((m) => (hostConfig.Privileged ? writable(m) : m));
  const propagation = request.mounts.map((m) => m.Propagation);
  if (propagation.some((p) => p === "shared" || p === "rshared")) return { mounts, rootfsPropagation: "shared" };
  if (propagation.some((p) => p === "slave" || p === "rslave")) return { mounts, rootfsPropagation: "slave" };
  return { mounts };
}

function systemMounts({ hostConfig, shm }: MountsRequest): OciMount[] {
  const shmSize = hostConfig.ShmSize > 0 ? hostConfig.ShmSize : DEFAULT_SHM_BYTES;
  const mounts: OciMount[] = [
    { destination: "/proc", type: "proc", source: "proc", options: ["nosuid", "noexec", "nodev"] },
    { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "strictatime", "mode=755", "size=65536k"] },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: ["nosuid", "noexec", "nodev", "ro"] },
    { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup", options: ["ro", "nosuid", "noexec", "nodev"] },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
  ];
  if (shm !== undefined) mounts.push({ destination: "/dev/shm", type: "bind", source: shm, options: ["rbind", "rprivate"] });
  else if (hostConfig.IpcMode !== "none")
    mounts.push({
      destination: "/dev/shm",
      type: "tmpfs",
      source: "shm",
      options: ["nosuid", "noexec", "nodev", "mode=1777", `size=${shmSize}`],
    });
  return mounts;
}

function askedMounts({ hostConfig, mounts, etcFiles, init }: MountsRequest): OciMount[] {
  const asked = new Map<string, OciMount>();
  const etcMode = hostConfig.ReadonlyRootfs ? "ro" : "rw";
  for (const [destination, source] of [
    ["/etc/resolv.conf", etcFiles.resolvConf],
    ["/etc/hostname", etcFiles.hostname],
    ["/etc/hosts", etcFiles.hosts],
  ] as const)
    if (source !== undefined)
      asked.set(destination, { destination, type: "bind", source, options: ["rbind", "rprivate", etcMode] });
  for (const [destination, options] of Object.entries(hostConfig.Tmpfs ?? {}))
    asked.set(destination, tmpfs(destination, options));
  for (const mount of mounts) asked.set(mount.Destination, fromModel(mount, hostConfig));
  if (init !== undefined) {
    const destination = initPath;
    asked.set(destination, { destination, type: "bind", source: init, options: ["bind", "ro"] });
  }
  return [...asked.values()];
}

/** Where `--init` puts the init program; Docker's place. */
export const initPath = "/sbin/docker-init";

function fromModel(mount: ContainerMount, hostConfig: HostConfig): OciMount {
  if (mount.Type === "tmpfs") {
    const wanted = hostConfig.Mounts?.find((m) => m.Target === mount.Destination)?.TmpfsOptions;
    const options = [
      mount.RW ? "" : "ro",
      wanted?.SizeBytes ? `size=${wanted.SizeBytes}` : "",
      wanted?.Mode ? `mode=${wanted.Mode.toString(8)}` : "",
    ];
    return tmpfs(mount.Destination, hostConfig.Tmpfs?.[mount.Destination] ?? options.filter((o) => o !== "").join(","));
  }
  const bindOptions = hostConfig.Mounts?.find((m) => m.Target === mount.Destination)?.BindOptions;
  const bind = bindOptions?.NonRecursive ? "bind" : "rbind";
  return {
    destination: mount.Destination,
    type: "bind",
    source: mount.Source,
    options: [bind, mount.RW ? "rw" : "ro", mount.Propagation || "rprivate"],
  };
}

/** `--tmpfs /path:options`: Docker's defaults, then the user's, of which opposites win. */
function tmpfs(destination: string, text: string): OciMount {
  const wanted = text.split(",").filter((option) => option !== "");
  const opposites: Readonly<Record<string, string>> = { noexec: "exec", nosuid: "suid", nodev: "dev" };
  const defaults = ["noexec", "nosuid", "nodev"].filter(
    (option) => !wanted.includes(opposites[option]!) && !wanted.includes(option),
  );
  return { destination, type: "tmpfs", source: "tmpfs", options: [...defaults, ...wanted] };
}

/** --privileged: /sys and the cgroups may be written. */
function writable(mount: OciMount): OciMount {
  if (mount.type !== "sysfs" && mount.type !== "cgroup") return mount;
  return { ...mount, options: mount.options.map((option) => (option === "ro" ? "rw" : option)) };
}

const depth = (path: string): number => path.split("/").filter((part) => part !== "").length;

/** Bind sources that are not there, for Docker's refusal. */
export function missingSource(mounts: readonly OciMount[]): string | undefined {
  return mounts.find((m) => m.type === "bind" && !exists(m.source))?.source;
}

function exists(path: string): boolean {
  try {
    lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
