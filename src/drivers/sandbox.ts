import type { Sandbox } from "../model/network.js";
import { HOST_NS, type KernelObject } from "../plan/objects.js";
import type { DriverContext } from "./contract.js";

/** Docker's defaults since 20.03: no privileges needed for ping and for ports below 1024 inside a container. */
const DEFAULT_SYSCTLS: Readonly<Record<string, string>> = {
  "net.ipv4.ip_unprivileged_port_start": "0",
  "net.ipv4.ping_group_range": "0\t2147483647",
};

/** What every container's namespace starts with, but for what its own `--sysctl` says. */
export function containerSysctls(hostHasIPv6: boolean): Readonly<Record<string, string>> {
  // Off for all present and future interfaces, lo too; an endpoint with an IPv6 address turns it on for itself.
  return { ...DEFAULT_SYSCTLS, ...(hostHasIPv6 ? { "net.ipv6.conf.all.disable_ipv6": "1" } : {}) };
}

/** The namespace of a container, its loopback and its sysctls. The host's own namespace is not ours to shape. */
export function sandboxObjects(sandbox: Sandbox, ctx: DriverContext): readonly KernelObject[] {
  if (sandbox.netns === HOST_NS) return [];
  const ns = sandbox.netns;
  const sysctls = { ...containerSysctls(ctx.hostHasIPv6), ...sandbox.sysctls };
  return [
    { kind: "netns", name: ns },
    { kind: "link", ns, name: "lo", type: "loopback", up: true },
    ...Object.entries(sysctls).map(([key, value]): KernelObject => ({ kind: "sysctl", ns, key, value })),
  ];
}
