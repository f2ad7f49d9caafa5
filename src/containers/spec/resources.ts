import type { HostConfig } from "../../model/container.js";
import type { OciDeviceRule, OciResources } from "./oci.js";

/** What `docker run -m --cpus …` and `docker update` set. The runtime translates it for cgroup v1 or v2. */
export function limits(hostConfig: HostConfig): OciResources {
  const { Memory, MemorySwap, MemoryReservation, NanoCpus, CpuShares, CpuQuota, CpuPeriod, CpusetCpus, CpusetMems, PidsLimit } =
    hostConfig;
  // Docker: without --memory-swap a container may swap as much as it has memory.
  const swap = MemorySwap || (Memory > 0 ? Memory * 2 : 0);
  const period = CpuPeriod || (NanoCpus > 0 ? 100_000 : 0);
  const quota = NanoCpus > 0 ? Math.round((NanoCpus * period) / 1e9) : CpuQuota;
  const memory = defined({ limit: Memory || undefined, swap: swap || undefined, reservation: MemoryReservation || undefined });
  const cpu = defined({
    shares: CpuShares || undefined,
    quota: quota || undefined,
    period: period || undefined,
    cpus: CpusetCpus || undefined,
    mems: CpusetMems || undefined,
  });
  return {
    ...(memory === undefined ? {} : { memory }),
    ...(cpu === undefined ? {} : { cpu }),
    ...(PidsLimit !== null && PidsLimit !== undefined && PidsLimit > 0 ? { pids: { limit: PidsLimit } } : {}),
  };
}

type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> };

function defined<T extends object>(values: T): Defined<T> | undefined {
  const kept = Object.entries(values).filter(([, value]) => value !== undefined);
  return kept.length === 0 ? undefined : (Object.fromEntries(kept) as Defined<T>);
}

/** Device numbers that every container may use; see Linux' admin-guide/devices. mknod is allowed for all, use is not. */
export const defaultDeviceRules: readonly OciDeviceRule[] = [
  { allow: false, access: "rwm" },
  { allow: true, type: "c", access: "m" },
  { allow: true, type: "b", access: "m" },
  // null, zero, full, random, urandom, tty, console, ptmx, pts/*
  ...(
    [
      [1, 3],
      [1, 5],
      [1, 7],
      [1, 8],
      [1, 9],
      [5, 0],
      [5, 1],
      [5, 2],
      [136, undefined],
    ] as const
  ).map(([major, minor]) => ({ allow: true, type: "c", major, ...(minor === undefined ? {} : { minor }), access: "rwm" })),
];
