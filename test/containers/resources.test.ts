import { existsSync, readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { readCgroupLayout } from "../../src/containers/host.js";
import { Lab } from "./lab.js";

const lab = new Lab();
beforeAll(() => lab.open());
afterEach(() => lab.clear());
afterAll(() => lab.close());

const v1 = (controller: string, id: string, file: string) =>
  readFileSync(`/sys/fs/cgroup/${controller}/linkspan/${id}/${file}`, "utf8").trim();

describe("resources", () => {
  it("are limited as asked, and updated", async () => {
    const limits = { Memory: 64 << 20, NanoCpus: 5e8, CpuShares: 512, PidsLimit: 50, CpusetCpus: "0" };
    const c = lab.container(["sleep", "100"], {}, limits);
    await lab.run(c);
    if (lab.runtime.cgroupVersion === "1") {
      expect(v1("memory", c.id, "memory.limit_in_bytes")).toBe(String(64 << 20));
      expect(v1("memory", c.id, "memory.memsw.limit_in_bytes")).toBe(String(128 << 20));
      expect(v1("cpu", c.id, "cpu.cfs_quota_us")).toBe("50000");
      expect(v1("cpu", c.id, "cpu.shares")).toBe("512");
      expect(v1("pids", c.id, "pids.max")).toBe("50");
      expect(v1("cpuset", c.id, "cpuset.cpus")).toBe("0");
    }
    Object.assign(c.hostConfig, { Memory: 32 << 20, MemorySwap: 64 << 20, CpuShares: 256, PidsLimit: 20 });
    await lab.runtime.update(c);
    if (lab.runtime.cgroupVersion === "1") {
      expect(v1("memory", c.id, "memory.limit_in_bytes")).toBe(String(32 << 20));
      expect(v1("cpu", c.id, "cpu.shares")).toBe("256");
      expect(v1("pids", c.id, "pids.max")).toBe("20");
    }
    const stats = (await lab.runtime.stats(c.id)) as {
      memory_stats: { limit: number };
      pids_stats: { current: number; limit: number };
    };
    expect(stats.memory_stats.limit).toBe(32 << 20);
    expect(stats.pids_stats).toEqual({ current: 1, limit: 20 });
  });

  it("says when memory ran out", async () => {
    const c = lab.container(["sh", "-c", "head -c 100000000 /dev/zero | tail"], {}, { Memory: 16 << 20, MemorySwap: 16 << 20 });
    await lab.run(c);
    const exit = await lab.exit(c);
    expect(exit.oomKilled).toBe(true);
  });

  it("are shown by stats in Docker's shape", async () => {
    const c = lab.container(["sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 100"]);
    await lab.run(c);
    const read = async () => (await lab.runtime.stats(c.id)) as Record<string, Record<string, Record<string, number>>>;
    const first = await read();
    await expect.poll(async () => (await read()).cpu_stats!.cpu_usage!.total_usage).toBeGreaterThan(0);
    const second = await read();
    expect(Object.keys(second).sort()).toEqual([
      "blkio_stats",
      "cpu_stats",
      "memory_stats",
      "num_procs",
      "pids_stats",
      "precpu_stats",
      "storage_stats",
    ]);
    expect(second.cpu_stats!.system_cpu_usage as unknown as number).toBeGreaterThan(
      first.cpu_stats!.system_cpu_usage as unknown as number,
    );
    expect(second.precpu_stats!.cpu_usage!.total_usage).toBeGreaterThan(0);
    expect(second.memory_stats!.usage as unknown as number).toBeGreaterThan(0);
  });

  it("has its processes listed as by ps on the host", async () => {
    const c = lab.container(["sh", "-c", "sleep 7777 & sleep 8888; true"]);
    const pid = await lab.run(c);
    await expect.poll(async () => (await lab.runtime.pids(c.id)).length).toBe(3);
    const top = await lab.runtime.top(c.id, "");
    expect(top.Titles).toEqual(["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    expect(top.Processes.map((row) => row[7]).sort()).toEqual([
      "sh -c sleep 7777 & sleep 8888; true",
      "sleep 7777",
      "sleep 8888",
    ]);
    expect(top.Processes.map((row) => row[1])).toContain(String(pid));
    expect((await lab.runtime.top(c.id, "-o pid,args")).Titles).toEqual(["PID", "COMMAND"]);
    await expect(lab.runtime.top(c.id, "-o args")).rejects.toMatchObject({ message: "Couldn't find PID field in ps output" });
  });

  it("ends with what shares the host's PID namespace", async () => {
    const c = lab.container(["sh", "-c", "sleep 6543 & exit 0"], {}, { PidMode: "host" });
    await lab.run(c);
    await expect.poll(async () => (await lab.runtime.pids(c.id)).length).toBe(1);
    const [left] = await lab.runtime.pids(c.id);
    await lab.runtime.cleanup(c.id);
    expect(existsSync(`/proc/${left}`)).toBe(false);
  });
});

describe("cgroup layouts", () => {
  const line = (mountPoint: string, type: string, options: string) =>
    `30 22 0:27 / ${mountPoint} rw - ${type} ${type} ${options}`;
  it("are told apart", () => {
    const hybrid = [
      line("/sys/fs/cgroup/cpu,cpuacct", "cgroup", "rw,cpu,cpuacct"),
      line("/sys/fs/cgroup/systemd", "cgroup", "rw,xattr,name=systemd"),
      line("/sys/fs/cgroup/unified", "cgroup2", "rw"),
    ].join("\n");
    expect(readCgroupLayout(hybrid)).toEqual({
      layout: {
        version: "1",
        mounts: new Map([
          ["cpu", "/sys/fs/cgroup/cpu,cpuacct"],
          ["cpuacct", "/sys/fs/cgroup/cpu,cpuacct"],
          ["name=systemd", "/sys/fs/cgroup/systemd"],
        ]),
      },
      unified: "/sys/fs/cgroup/unified",
    });
    expect(readCgroupLayout(line("/sys/fs/cgroup", "cgroup2", "rw,nsdelegate")).layout).toEqual({
      version: "2",
      mounts: new Map([["", "/sys/fs/cgroup"]]),
    });
  });
});
