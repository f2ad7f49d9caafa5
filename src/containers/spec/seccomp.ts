import { refuse } from "../../base/errors.js";
import type { OciSeccomp, OciSeccompRule } from "./oci.js";
import { AF_VSOCK, allowed, allowedOn, allowedWith, ENOSYS, namespaceFlags, personalities } from "./seccomp-table.js";

const ALLOW = "SCMP_ACT_ALLOW";

/** The filter of a container that has these capabilities, on this processor (`process.arch`). */
export function defaultSeccomp(capabilities: readonly string[], arch: string): OciSeccomp {
  const names = [...allowed, ...(allowedOn[arch] ?? []), ...capabilities.flatMap((name) => allowedWith[name] ?? [])];
  const rules: OciSeccompRule[] = [
    { names: [...new Set(names)], action: ALLOW },
    // AF_VSOCK is not bound to network namespaces.
    { names: ["socket"], action: ALLOW, args: [{ index: 0, value: AF_VSOCK, op: "SCMP_CMP_NE" }] },
    ...personalities.map((value) => ({ names: ["personality"], action: ALLOW, args: [{ index: 0, value, op: "SCMP_CMP_EQ" }] })),
  ];
  if (!capabilities.includes("CAP_SYS_ADMIN")) {
    rules.push({
      names: ["clone"],
      action: ALLOW,
      args: [{ index: 0, value: namespaceFlags, valueTwo: 0, op: "SCMP_CMP_MASKED_EQ" }],
    });
    // Its flags stand in memory, where a filter cannot look: the C library falls back to clone on ENOSYS.
    rules.push({ names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS });
  }
  return { defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: 1, architectures: architectures(arch), syscalls: rules };
}

function architectures(arch: string): string[] {
  if (arch === "x64") return ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
  if (arch === "arm64") return ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
  return [];
}

interface Conditions {
  readonly caps?: readonly string[] | null;
  readonly arches?: readonly string[] | null;
}
interface DockerRule {
  readonly name?: string;
  readonly names?: readonly string[] | null;
  readonly action: string;
  readonly errnoRet?: number | null;
  readonly args?: OciSeccompRule["args"] | null;
  readonly includes?: Conditions | null;
  readonly excludes?: Conditions | null;
}
interface DockerProfile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number | null;
  readonly architectures?: readonly string[] | null;
  readonly archMap?: readonly { readonly architecture: string }[] | null;
  readonly syscalls?: readonly DockerRule[] | null;
}

/** `--security-opt seccomp=FILE`: the client sends the file's text, in Docker's format (OCI's with conditions). */
export function customSeccomp(text: string, capabilities: readonly string[], arch: string): OciSeccomp {
  const profile = parse(text);
  const dockerArch = arch === "x64" ? "amd64" : arch;
  const holds = (c: Conditions | null | undefined, whenEmpty: boolean) => {
    const caps = c?.caps ?? [];
    const arches = c?.arches ?? [];
    if (caps.length === 0 && arches.length === 0) return whenEmpty;
    return (
      (caps.length === 0 || caps.every((name) => capabilities.includes(name))) &&
      (arches.length === 0 || arches.includes(dockerArch))
    );
  };
  const excluded = (c: Conditions | null | undefined) =>
    (c?.caps ?? []).some((name) => capabilities.includes(name)) || (c?.arches ?? []).includes(dockerArch);
  const syscalls = (profile.syscalls ?? [])
    .filter((rule) => holds(rule.includes, true) && !excluded(rule.excludes))
    .map((rule) => ({
      names: rule.names ?? (rule.name === undefined ? [] : [rule.name]),
      action: rule.action,
      ...(rule.errnoRet === undefined || rule.errnoRet === null ? {} : { errnoRet: rule.errnoRet }),
      ...(rule.args ? { args: rule.args } : {}),
    }));
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet ? { defaultErrnoRet: profile.defaultErrnoRet } : {}),
    architectures: profile.architectures?.length ? profile.architectures : architectures(arch),
    syscalls,
  };
}

function parse(text: string): DockerProfile {
  try {
    const profile = JSON.parse(text) as DockerProfile | null;
    if (typeof profile?.defaultAction === "string" && (profile.syscalls === undefined || Array.isArray(profile.syscalls)))
      return profile;
  } catch {
    // refused below
  }
  return refuse(400, "Decoding seccomp profile failed: not a seccomp profile in JSON");
}
