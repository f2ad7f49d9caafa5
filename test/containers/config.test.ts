import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { ContainerConfig, ContainerMount, HostConfig } from "../../src/model/container.js";
import { addNamespace, removeSpace } from "../lib/space.js";
import { Lab } from "./lab.js";

const lab = new Lab();
beforeAll(() => lab.open());
afterEach(() => lab.clear());
afterAll(() => lab.close());

const sh = async (
  script: string,
  config: Partial<ContainerConfig> = {},
  hostConfig: Partial<HostConfig> = {},
  mounts: ContainerMount[] = [],
) => {
  const c = lab.container(["sh", "-c", script], config, hostConfig);
  c.mounts = mounts;
  const { stdout, stderr } = await lab.output(c);
  return (stdout + stderr).trim();
};
const bind = (Source: string, Destination: string, options: Partial<ContainerMount> = {}): ContainerMount => ({
  Type: "bind",
  Source,
  Destination,
  Mode: "",
  RW: true,
  Propagation: "rprivate",
  ...options,
});

describe("process", () => {
  it("has Docker's environment", async () => {
    const c = lab.container(["env"], { Env: ["A=1", "PATH=/bin"], Hostname: "myhost" });
    const { stdout } = await lab.output(c, { linkEnv: ["DB_NAME=/x/db"], imageConfig: { Env: ["PATH=/usr/bin:/bin", "IMG=1"] } });
    expect(stdout.trim().split("\n").sort()).toEqual([
      "A=1",
      "DB_NAME=/x/db",
      "HOME=/root",
      "HOSTNAME=myhost",
      "IMG=1",
      "PATH=/bin",
    ]);
  });

  it("has hostname, domain name, working directory", async () => {
    expect(
      await sh("hostname; cat /proc/sys/kernel/domainname; pwd", { Hostname: "h1", Domainname: "d.lab", WorkingDir: "/new/dir" }),
    ).toBe("h1\nd.lab\n/new/dir");
  });

  it("runs as the user asked for, with supplementary groups", async () => {
    expect(await sh("id", { User: "ann" })).toBe("uid=1000(ann) gid=1001(ann) groups=29(audio),1001(ann)");
    expect(await sh("id -u; id -g; echo $HOME", { User: "1234" })).toBe("1234\n0\n/");
    expect(await sh("id", { User: "ann:video" }, { GroupAdd: ["audio", "777"] })).toBe(
      "uid=1000(ann) gid=44(video) groups=29(audio),44(video),777",
    );
  });

  it("has Docker's capabilities, filter and limits", async () => {
    const status = "grep -E 'CapBnd|CapEff|NoNewPrivs|Seccomp:' /proc/self/status";
    const plain = "CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nNoNewPrivs:\t0\nSeccomp:\t2";
    expect(await sh(status)).toBe(plain);
    // From the kept filter
    expect(await sh(status)).toBe(plain);
    expect(
      await sh(status, {}, { CapDrop: ["ALL"], CapAdd: ["NET_ADMIN"], SecurityOpt: ["no-new-privileges", "seccomp=unconfined"] }),
    ).toBe("CapEff:\t0000000000001000\nCapBnd:\t0000000000001000\nNoNewPrivs:\t1\nSeccomp:\t0");
    expect(
      await sh(
        "ulimit -n; ulimit -Hn; ulimit -c",
        {},
        {
          Ulimits: [
            { Name: "nofile", Soft: 1000, Hard: 1_000_000 },
            { Name: "core", Soft: -1, Hard: -1 },
          ],
        },
      ),
    ).toMatch(/^1000\n\d+\nunlimited$/);
    await expect(sh("true", {}, { CapAdd: ["NOSUCH"] })).rejects.toMatchObject({
      status: 400,
      message: 'invalid capability: "CAP_NOSUCH"',
    });
  });

  it("is filtered: namespaces and mounts only with SYS_ADMIN", async () => {
    expect(await sh("unshare -m true && echo yes || echo no")).toContain("no");
    expect(await sh("unshare -U true && echo yes || echo no")).toContain("no");
    expect(await sh("unshare -m true && echo yes || echo no", {}, { CapAdd: ["SYS_ADMIN"] })).toBe("yes");
    const profile = JSON.stringify({
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO" }],
    });
    expect(await sh("mkdir /tmp/x && echo yes || echo no", {}, { SecurityOpt: [`seccomp=${profile}`] })).toContain("no");
  });

  it("may be privileged", async () => {
    const all = /CapEff:\t(\w+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    const text = await sh(
      "grep CapEff /proc/self/status; grep Seccomp: /proc/self/status; mount | grep 'sysfs'; ls /dev | wc -l; echo 1 > /proc/sys/kernel/ns_last_pid; echo $?",
      {},
      { Privileged: true },
    );
    expect(text).toContain(`CapEff:\t${all}`);
    expect(text).toContain("Seccomp:\t0");
    expect(text).toMatch(/sysfs \(rw/);
    expect(text.endsWith("\n0")).toBe(true);
  });

  it("runs below an init", async () => {
    if (lab.runtime.runtimeName !== "crun") return;
    const c = lab.container(["sh", "-c", "cat /proc/1/comm"], {}, { Init: true });
    const { findProgram } = await import("../../src/containers/host.js");
    const init = ["docker-init", "catatonit", "tini-static"].map(findProgram).find((p) => p !== undefined);
    if (init === undefined)
      await expect(lab.run(c)).rejects.toMatchObject({ status: 400, message: expect.stringContaining("--init needs") });
    else expect((await lab.output(c)).stdout).toBe("docker-init\n");
  });
});

describe("file systems", () => {
  it("are Docker's", async () => {
    const mounts = await sh("mount; ls /dev");
    expect(mounts).toMatch(/^overlay on \/ type overlay \(rw/m);
    expect(mounts).toMatch(/^proc on \/proc type proc \(rw,nosuid,nodev,noexec/m);
    expect(mounts).toMatch(/^sysfs on \/sys type sysfs \(ro,nosuid,nodev,noexec/m);
    expect(mounts).toMatch(/^shm on \/dev\/shm type tmpfs \(rw,nosuid,nodev,noexec,relatime,size=65536k/m);
    expect(mounts).toMatch(/ on \/sys\/fs\/cgroup(\/\w+)? type cgroup2? \(ro/m);
    for (const device of ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "stdin", "fd"])
      expect(mounts).toMatch(new RegExp(`^${device}$`, "m"));
    expect(
      await sh("head -c1 /proc/kcore | wc -c; echo 1 > /proc/sys/vm/swappiness; mknod /tmp/m b 254 0 && cat /tmp/m"),
    ).toMatch(/^0\n/);
    expect(await sh("echo 1 > /proc/sys/vm/swappiness")).toContain("Read-only file system");
    expect(await sh("mknod /tmp/vda b 254 0 && head -c1 /tmp/vda")).toContain("Operation not permitted");
  });

  it("may be read-only, with tmpfs and shm of a size", async () => {
    const text = await sh(
      "touch /x; touch /scratch/y && echo ok; mount | grep scratch; df -k /dev/shm | tail -1",
      {},
      { ReadonlyRootfs: true, Tmpfs: { "/scratch": "size=1m,exec" }, ShmSize: 1 << 20 },
    );
    expect(text).toContain("Read-only file system");
    expect(text).toContain("ok");
    expect(text).toMatch(/tmpfs on \/scratch type tmpfs \(rw,nosuid,nodev,relatime,size=1024k/);
  });

  it("take bind mounts: directories, files, read-only, made when missing", async () => {
    const dir = join(lab.root, "bind");
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, "f"), "content");
    const mounts = [
      bind(dir, "/data"),
      bind(dir, "/ro", { RW: false }),
      bind(join(dir, "f"), "/one/file"),
      bind(join(dir, "new/sub"), "/made"),
    ];
    expect(await sh("cat /data/f /one/file; echo w > /data/w; echo x > /ro/x || echo ro; ls -d /made", {}, {}, mounts)).toContain(
      "contentcontent",
    );
    expect(readFileSync(join(dir, "w"), "utf8")).toBe("w\n");
    expect(existsSync(join(dir, "x"))).toBe(false);
    expect(existsSync(join(dir, "new/sub"))).toBe(true);
    const strict = { Mounts: [{ Type: "bind" as const, Source: join(dir, "no"), Target: "/no" }] };
    await expect(sh("true", {}, strict, [bind(join(dir, "no"), "/no")])).rejects.toMatchObject({
      status: 400,
      message: `invalid mount config for type "bind": bind source path does not exist: ${join(dir, "no")}`,
    });
  });

  it("do not take a directory for a file", async () => {
    const dir = join(lab.root, "bind");
    mkdirSync(dir, { recursive: true });
    await expect(sh("true", {}, {}, [bind(dir, "/etc/passwd")])).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining("Are you trying to mount a directory onto a file (or vice-versa)?"),
    });
  });

  it("show the engine's /etc files, which stay writable", async () => {
    const files = {
      hosts: join(lab.root, "hosts"),
      resolvConf: join(lab.root, "resolv.conf"),
      hostname: join(lab.root, "hostname"),
    };
    for (const [name, path] of Object.entries(files)) writeFileSync(path, `${name}\n`);
    const c = lab.container(["sh", "-c", "cat /etc/hosts /etc/resolv.conf /etc/hostname; echo more >> /etc/hosts"]);
    expect((await lab.output(c, { etcFiles: files })).stdout).toBe("hosts\nresolvConf\nhostname\n");
    expect(readFileSync(files.hosts, "utf8")).toBe("hosts\nmore\n");
  });
});

describe("namespaces", () => {
  it("join a network namespace by path, and set its sysctls", async () => {
    const name = `lst${process.pid}`;
    addNamespace(name);
    try {
      const c = lab.container(
        ["sh", "-c", "readlink /proc/self/ns/net; cat /proc/sys/net/ipv4/ip_unprivileged_port_start"],
        {},
        { Sysctls: { "net.ipv4.ip_unprivileged_port_start": "7" } },
      );
      const { stdout } = await lab.output(c, { netnsPath: `/run/netns/${name}` });
      const inode = execFileSync("stat", ["-Lc", "%i", `/run/netns/${name}`], { encoding: "utf8" }).trim();
      expect(stdout).toBe(`net:[${inode}]\n7\n`);
    } finally {
      removeSpace(name);
    }
  });

  it("are the host's when asked", async () => {
    const own = (name: string) => readlinkSync(`/proc/self/ns/${name}`);
    const text = await sh(
      "for n in pid ipc uts net; do readlink /proc/self/ns/$n; done; hostname",
      {},
      { PidMode: "host", IpcMode: "host", UTSMode: "host" },
    );
    expect(text.split("\n").slice(0, 4)).toEqual(["pid", "ipc", "uts", "net"].map(own));
    const isolated = (await sh("for n in pid ipc uts mnt; do readlink /proc/self/ns/$n; done")).split("\n");
    for (const [i, name] of ["pid", "ipc", "uts", "mnt"].entries()) expect(isolated[i]).not.toBe(own(name));
  });

  it("are another container's when asked", async () => {
    const donor = lab.container(["sh", "-c", "echo shared > /dev/shm/f; sleep 100"], {}, { IpcMode: "shareable" });
    await lab.run(donor);
    const text = await sh(
      "sleep 0.2; cat /dev/shm/f; tr '\\0' ' ' < /proc/1/cmdline",
      {},
      { IpcMode: `container:${donor.id}`, PidMode: `container:${donor.id}` },
    );
    expect(text).toContain("shared\n");
    expect(text).toContain("sleep 100");
    const closed = lab.container(["sleep", "100"]);
    await lab.run(closed);
    await expect(sh("true", {}, { IpcMode: `container:${closed.id}` })).rejects.toMatchObject({
      message: expect.stringContaining("non-shareable IPC"),
    });
    await expect(sh("true", {}, { PidMode: `container:${"0".repeat(64)}` })).rejects.toMatchObject({ status: 409 });
  });
});
