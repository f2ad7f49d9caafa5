import type { Container } from "../../model/container.js";
import type { RunSpec } from "../contract.js";
import type { Host } from "../host.js";
import { initPath } from "./mounts.js";

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** In Docker's order: PATH, HOSTNAME, TERM, links, then image and `-e` (of the same name, the later wins), HOME if nobody set it. */
export function environment(spec: RunSpec, home: string): string[] {
  const { container, imageConfig } = spec;
  const base = [defaultPath, `HOSTNAME=${spec.hostname}`, ...(container.config.Tty ? ["TERM=xterm"] : [])];
  const env = mergeEnvironment(base, spec.linkEnv, imageConfig.Env ?? [], container.config.Env ?? []);
  return env.some((entry) => entry.startsWith("HOME=")) ? env : [...env, `HOME=${home}`];
}

/** Later entries replace earlier ones of the same name in place; an entry without "=" removes the name, as `docker run -e NAME` may. */
export function mergeEnvironment(...lists: readonly (readonly string[])[]): string[] {
  const merged = new Map<string, string>();
  for (const entry of lists.flat()) {
    const at = entry.indexOf("=");
    if (at < 0) merged.delete(entry);
    else merged.set(entry.slice(0, at), entry);
  }
  return [...merged.values()];
}

export function processArguments(container: Container): string[] {
  const args = [container.path, ...container.args];
  return container.hostConfig.Init ? [initPath, "--", ...args] : args;
}

/** `--ulimit`. A process without CAP_SYS_RESOURCE cannot raise a hard limit: the engine's own is the most that can be given. */
export function rlimits(
  ulimits: readonly { readonly Name: string; readonly Soft: number; readonly Hard: number }[] | null | undefined,
  host: Host,
): { type: string; soft: number; hard: number }[] {
  const mayRaise = ((host.capabilities >> 24n) & 1n) === 1n;
  return (ulimits ?? []).map(({ Name, Soft, Hard }) => {
    const most = mayRaise ? Number.POSITIVE_INFINITY : (host.limits.get(Name)?.hard ?? Number.POSITIVE_INFINITY);
    const hard = Math.min(Hard < 0 ? Number.POSITIVE_INFINITY : Hard, most);
    const soft = Math.min(Soft < 0 ? Number.POSITIVE_INFINITY : Soft, hard);
    return { type: `RLIMIT_${Name.toUpperCase()}`, soft: value(soft), hard: value(hard) };
  });
}

/** RLIM_INFINITY is 2^64 - 1; the nearest double is above it, so the text is put into the JSON by `writeSpec`. */
const value = (limit: number): number => (Number.isFinite(limit) ? limit : UNLIMITED);

/** Stands for RLIM_INFINITY in our objects: no real limit is negative. */
export const UNLIMITED = -1;

export interface SecurityOptions {
  readonly noNewPrivileges: boolean;
  /** "default", "unconfined", or a profile as JSON text */
  readonly seccomp: string;
}

/** `--security-opt`: "name=value" or, older, "name:value". Others (apparmor, label) have no meaning here and are accepted. */
export function securityOptions(options: readonly string[] | null | undefined): SecurityOptions {
  let noNewPrivileges = false;
  let seccomp = "default";
  for (const option of options ?? []) {
    const [, name = option, value = ""] = /^([\w-]+)[=:](.*)$/s.exec(option) ?? [];
    if (name === "no-new-privileges") noNewPrivileges = value === "" || value === "true";
    else if (name === "seccomp") seccomp = value;
  }
  return { noNewPrivileges, seccomp };
}
