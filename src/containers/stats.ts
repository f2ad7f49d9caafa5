import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import type { Cgroup } from "./cgroup.js";

interface CpuStats {
  readonly cpu_usage: {
    readonly total_usage: number;
    readonly percpu_usage?: readonly number[];
    readonly usage_in_kernelmode: number;
    readonly usage_in_usermode: number;
  };
  readonly system_cpu_usage: number;
  readonly online_cpus: number;
  readonly throttling_data: { readonly periods: number; readonly throttled_periods: number; readonly throttled_time: number };
}

const noCpu = {
  cpu_usage: { total_usage: 0, usage_in_kernelmode: 0, usage_in_usermode: 0 },
  throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
};
/** USER_HZ, which sysconf(_SC_CLK_TCK) gives on every Linux that Node runs on. */
const TICK_NS = 1e9 / 100;

/** Docker's stats of one container. Times in nanoseconds, sizes in bytes. `precpu_stats` is what the last call gave. */
export class StatsReader {
  readonly #last = new Map<string, CpuStats>();

  read(id: string, cgroup: Cgroup): Record<string, unknown> {
    const cpu = cgroup.version === "2" ? cpuV2(cgroup) : cpuV1(cgroup);
    const before = this.#last.get(id);
    this.#last.set(id, cpu);
    return {
      pids_stats: pids(cgroup),
      blkio_stats: cgroup.version === "2" ? blkioV2(cgroup) : blkioV1(cgroup),
      num_procs: 0,
      storage_stats: {},
      cpu_stats: cpu,
      precpu_stats: before ?? noCpu,
      memory_stats: cgroup.version === "2" ? memoryV2(cgroup) : memoryV1(cgroup),
    };
  }

  forget(id: string): void {
    this.#last.delete(id);
  }
}

function pids(cgroup: Cgroup): Record<string, number> {
  const current = cgroup.number("pids", "pids.current") ?? cgroup.pids().length;
  const limit = cgroup.number("pids", "pids.max");
  return limit === undefined ? { current } : { current, limit };
}

function cpuV1(cgroup: Cgroup): CpuStats {
  const stat = cgroup.table("cpuacct", "cpuacct.stat");
  const throttling = cgroup.table("cpu", "cpu.stat");
  const perCpu = (cgroup.read("cpuacct", "cpuacct.usage_percpu") ?? "").split(" ").filter((n) => n !== "");
  return {
    cpu_usage: {
      total_usage: cgroup.number("cpuacct", "cpuacct.usage") ?? 0,
      percpu_usage: perCpu.map(Number),
      usage_in_kernelmode: (stat.get("system") ?? 0) * TICK_NS,
      usage_in_usermode: (stat.get("user") ?? 0) * TICK_NS,
    },
    system_cpu_usage: systemUsage(),
    online_cpus: cpus().length,
    throttling_data: {
      periods: throttling.get("nr_periods") ?? 0,
      throttled_periods: throttling.get("nr_throttled") ?? 0,
      throttled_time: throttling.get("throttled_time") ?? 0,
    },
  };
}

function cpuV2(cgroup: Cgroup): CpuStats {
  const stat = cgroup.table("", "cpu.stat");
  const ns = (name: string) => (stat.get(name) ?? 0) * 1000;
  return {
    cpu_usage: { total_usage: ns("usage_usec"), usage_in_kernelmode: ns("system_usec"), usage_in_usermode: ns("user_usec") },
    system_cpu_usage: systemUsage(),
    online_cpus: cpus().length,
    throttling_data: {
      periods: stat.get("nr_periods") ?? 0,
      throttled_periods: stat.get("nr_throttled") ?? 0,
      throttled_time: ns("throttled_usec"),
    },
  };
}

/** Sum of the first seven columns of /proc/stat's "cpu" line, as docker computes percentages from it. */
function systemUsage(): number {
  const line = readFileSync("/proc/stat", "utf8").split("\n")[0] ?? "";
  const ticks = line.trim().split(/\s+/).slice(1, 8).map(Number);
  return ticks.reduce((sum, n) => sum + n, 0) * TICK_NS;
}

function memoryV1(cgroup: Cgroup): Record<string, unknown> {
  return {
    usage: cgroup.number("memory", "memory.usage_in_bytes") ?? 0,
    max_usage: cgroup.number("memory", "memory.max_usage_in_bytes") ?? 0,
    failcnt: cgroup.number("memory", "memory.failcnt") ?? 0,
    stats: Object.fromEntries(cgroup.table("memory", "memory.stat")),
    limit: atMostMachine(cgroup.number("memory", "memory.limit_in_bytes")),
  };
}

function memoryV2(cgroup: Cgroup): Record<string, unknown> {
  return {
    usage: cgroup.number("", "memory.current") ?? 0,
    stats: Object.fromEntries(cgroup.table("", "memory.stat")),
    limit: atMostMachine(cgroup.number("", "memory.max")),
  };
}

/** No limit is shown as the machine's memory. */
function atMostMachine(limit: number | undefined): number {
  const kilobytes = /^MemTotal:\s+(\d+)/m.exec(readFileSync("/proc/meminfo", "utf8"))?.[1];
  return Math.min(limit ?? Number.POSITIVE_INFINITY, Number(kilobytes ?? 0) * 1024);
}

interface BlkioEntry {
  readonly major: number;
  readonly minor: number;
  readonly op: string;
  readonly value: number;
}

function blkio(bytes: BlkioEntry[] | null, operations: BlkioEntry[] | null): Record<string, unknown> {
  return {
    io_service_bytes_recursive: bytes,
    io_serviced_recursive: operations,
    io_queue_recursive: null,
    io_service_time_recursive: null,
    io_wait_time_recursive: null,
    io_merged_recursive: null,
    io_time_recursive: null,
    sectors_recursive: null,
  };
}

/** Lines "8:0 Read 4096"; BFQ's file where the scheduler is, else the throttle policy's. */
function blkioV1(cgroup: Cgroup): Record<string, unknown> {
  const entries = (...files: string[]) => {
    for (const file of files) {
      const found = (cgroup.read("blkio", file) ?? "").split("\n").flatMap((line) => {
        const [, major, minor, op, value] = /^(\d+):(\d+) (\w+) (\d+)$/.exec(line) ?? [];
        return op === undefined ? [] : [{ major: Number(major), minor: Number(minor), op, value: Number(value) }];
      });
      if (found.length > 0) return found;
    }
    return [];
  };
  return blkio(
    entries("blkio.bfq.io_service_bytes_recursive", "blkio.throttle.io_service_bytes_recursive"),
    entries("blkio.bfq.io_serviced_recursive", "blkio.throttle.io_serviced_recursive"),
  );
}

/** Lines "8:0 rbytes=1 wbytes=2 rios=3 wios=4 …" */
function blkioV2(cgroup: Cgroup): Record<string, unknown> {
  const bytes: BlkioEntry[] = [];
  const operations: BlkioEntry[] = [];
  for (const line of (cgroup.read("", "io.stat") ?? "").split("\n")) {
    const [, major, minor, rest = ""] = /^(\d+):(\d+) (.*)$/.exec(line) ?? [];
    for (const [, name, value] of rest.matchAll(/(\w+)=(\d+)/g)) {
      const entry = {
        major: Number(major),
        minor: Number(minor),
        op: name?.startsWith("r") ? "Read" : "Write",
        value: Number(value),
      };
      if (name === "rbytes" || name === "wbytes") bytes.push(entry);
      else if (name === "rios" || name === "wios") operations.push(entry);
    }
  }
  return blkio(bytes.length > 0 ? bytes : null, operations.length > 0 ? operations : null);
}
