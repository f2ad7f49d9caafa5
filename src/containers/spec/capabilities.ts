import { refuse } from "../../base/errors.js";
import type { OciCapabilities } from "./oci.js";

/** In the order of their numbers (linux/capability.h). */
const names = (
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST " +
  "NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE " +
  "SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM " +
  "BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"
).split(" ");

/** Docker's set (docs.docker.com, "Runtime privilege and Linux capabilities"). */
const defaults = new Set(
  "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_CHROOT".split(
    " ",
  ),
);

/**
 * `CAP_…` names that the container gets. `available` is the engine's own bounding set: what the engine has not cannot be handed on;
 * ALL and --privileged mean "all there is".
 */
export function containerCapabilities(options: {
  readonly privileged: boolean;
  readonly add: readonly string[];
  readonly drop: readonly string[];
  readonly available: bigint;
}): string[] {
  const add = options.add.map(parse);
  const drop = options.drop.map(parse);
  const all = names.filter((_, bit) => (options.available >> BigInt(bit)) & 1n);
  if (options.privileged) return all.map(withPrefix);
  const base = drop.includes("ALL") ? [] : add.includes("ALL") ? all : names.filter((name) => defaults.has(name));
  const chosen = new Set(base.filter((name) => !drop.includes(name)));
  if (drop.includes("ALL") && add.includes("ALL")) for (const name of all) chosen.add(name);
  for (const name of add) if (name !== "ALL") chosen.add(name);
  return names.filter((name) => chosen.has(name)).map(withPrefix);
}

/** The sets of a process: as execve(2) leaves them, a user other than root has an empty effective set. */
export function capabilitySets(capabilities: readonly string[], uid: number): OciCapabilities {
  const own = uid === 0 ? capabilities : [];
  return { bounding: capabilities, effective: own, permitted: own, inheritable: [], ambient: [] };
}

function parse(text: string): string {
  const name = text.toUpperCase().replace(/^CAP_/, "");
  if (name !== "ALL" && !names.includes(name)) refuse(400, `invalid capability: ${JSON.stringify(`CAP_${name}`)}`);
  return name;
}

const withPrefix = (name: string): string => `CAP_${name}`;
