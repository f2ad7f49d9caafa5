import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { mountsBelow } from "../lib/files.js";
import { sleep } from "../lib/run.js";
import { allLogs, Lab, logText } from "./lab.js";

const lab = new Lab();
beforeAll(() => lab.open());
afterEach(() => lab.clear());
afterAll(() => lab.close());

describe("life of a container", () => {
  it("creates, starts, runs to its end, keeps output and exit code, leaves nothing", async () => {
    const c = lab.container(["sh", "-c", "echo out; echo err >&2; exit 3"]);
    await lab.run(c);
    const exit = await lab.exit(c);
    expect(exit.exitCode).toBe(3);
    expect(exit.oomKilled).toBe(false);
    expect(exit.finishedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
    expect(await logText(lab.runtime.logs(c, allLogs))).toEqual({ stdout: "out\n", stderr: "err\n" });
    await lab.runtime.cleanup(c.id);
    await lab.runtime.cleanup(c.id);
    expect(mountsBelow(lab.root)).toEqual([]);
    expect(existsSync(join(lab.execRoot, "containers", c.id))).toBe(false);
    expect(existsSync(`/sys/fs/cgroup/pids/linkspan/${c.id}`)).toBe(false);
    expect(await lab.runtime.probe(c.id)).toEqual({ state: "gone" });
    expect(await logText(lab.runtime.logs(c, allLogs))).toEqual({ stdout: "out\n", stderr: "err\n" });
    await lab.runtime.removeStorage(c.id);
    await lab.runtime.removeStorage(c.id);
    expect(existsSync(join(lab.dataRoot, "containers", c.id))).toBe(false);
  });

  it("keeps the writable layer over a restart", async () => {
    const c = lab.container(["sh", "-c", "cat /tmp/n; echo x >> /tmp/n"]);
    expect((await lab.output(c)).stdout).toBe("");
    lab.exits.length = 0;
    expect((await lab.output(c)).stdout).toBe("x\n");
    expect(readFileSync(join(lab.runtime.upperDir(c.id), "tmp/n"), "utf8")).toBe("x\nx\n");
  });

  it("sends signals by name and number; 137 for SIGKILL", async () => {
    const c = lab.container(["sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"]);
    await lab.runtime.create(lab.spec(c));
    const session = await lab.runtime.attach(c.id, { tty: false, stdin: false });
    const ready = new Promise<void>((resolve) => session.onOutput(() => resolve()));
    await lab.runtime.start(c.id);
    await ready;
    await lab.runtime.kill(c.id, "SIGTERM");
    expect((await lab.exit(c)).exitCode).toBe(9);
    await expect(lab.runtime.kill(c.id, "KILL")).rejects.toMatchObject({ status: 409 });
    const d = lab.container(["sleep", "100"]);
    await lab.run(d);
    await expect(lab.runtime.kill(d.id, "FOO")).rejects.toMatchObject({ status: 400, message: "Invalid signal: FOO" });
    await lab.runtime.kill(d.id, "9");
    expect((await lab.exit(d)).exitCode).toBe(137);
  });

  it("pauses and resumes; SIGKILL ends a paused one", async () => {
    const c = lab.container(["sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /tmp/i; sleep 0.02; done"]);
    await lab.run(c);
    const counter = () => readFileSync(join(lab.runtime.upperDir(c.id), "tmp/i"), "utf8");
    await expect.poll(() => existsSync(join(lab.runtime.upperDir(c.id), "tmp/i"))).toBe(true);
    await lab.runtime.pause(c.id);
    expect(await lab.runtime.probe(c.id)).toMatchObject({ state: "paused" });
    const before = counter();
    await sleep(150);
    expect(counter()).toBe(before);
    await expect(lab.exec(c, ["true"])).rejects.toMatchObject({
      status: 409,
      message: `Container ${c.id} is paused, unpause the container before exec`,
    });
    await lab.runtime.unpause(c.id);
    await expect.poll(counter).not.toBe(before);
    await lab.runtime.pause(c.id);
    await lab.runtime.kill(c.id, "SIGKILL");
    expect((await lab.exit(c)).exitCode).toBe(137);
  });

  it("refuses what cannot be started in Docker's words, and leaves nothing", async () => {
    const cases = [
      [["nosuchcmd"], 400, 'starting container process caused: exec: "nosuchcmd": executable file not found in $PATH: unknown'],
      [["/nosuch"], 400, 'exec: "/nosuch": stat /nosuch: no such file or directory: unknown'],
      [["/bin/noexec"], 400, 'exec: "/bin/noexec": permission denied: unknown'],
      [["/etc"], 400, 'exec: "/etc": permission denied: unknown'],
    ] as const;
    for (const [cmd, status, text] of cases) {
      const c = lab.container(cmd);
      await expect(lab.run(c)).rejects.toMatchObject({ status, message: expect.stringContaining(text) });
      expect(await lab.runtime.probe(c.id)).toEqual({ state: "gone" });
    }
    const user = lab.container(["true"], { User: "nobodyhere" });
    await expect(lab.run(user)).rejects.toMatchObject({
      message: "unable to find user nobodyhere: no matching entries in passwd file",
    });
    expect(mountsBelow(lab.root)).toEqual([]);
  });

  it("notices the end of a container whose monitor was killed", async () => {
    const c = lab.container(["sleep", "100"]);
    const pid = await lab.run(c);
    const monitor = Number(readFileSync(join(lab.execRoot, "containers", c.id, "conmon.pid"), "utf8"));
    process.kill(monitor, "SIGKILL");
    process.kill(pid, "SIGKILL");
    expect((await lab.exit(c)).exitCode).toBe(255);
    await lab.runtime.cleanup(c.id);
  });
});

describe("a new life of the engine", () => {
  it("finds running containers, and the exits that happened meanwhile", async () => {
    const stays = lab.container(["sh", "-c", "sleep 100"]);
    const ends = lab.container(["sh", "-c", "echo bye; exit 5"]);
    const pid = await lab.run(stays);
    await lab.runtime.create(lab.spec(ends));
    const starter = lab.runtime;
    await lab.reopen();
    await starter.start(ends.id).catch(() => lab.runtime.start(ends.id));
    await expect.poll(() => lab.runtime.probe(ends.id)).toMatchObject({ state: "exited", exit: { exitCode: 5 } });
    expect(await lab.runtime.probe(stays.id)).toEqual({ state: "running", pid });
    expect((await lab.exec(stays, ["echo", "here"])).stdout).toBe("here\n");
    expect((await logText(lab.runtime.logs(ends, allLogs))).stdout).toBe("bye\n");
    await lab.runtime.kill(stays.id, "KILL");
    expect((await lab.exit(stays)).exitCode).toBe(137);
    for (const c of [stays, ends]) await lab.runtime.cleanup(c.id);
    expect(mountsBelow(lab.root)).toEqual([]);
  });

  it("sweeps what belongs to no known container", async () => {
    const lost = lab.container(["sleep", "100"]);
    const kept = lab.container(["sleep", "100"]);
    const pid = await lab.run(lost);
    await lab.run(kept);
    await lab.reopen();
    await lab.runtime.sweep(new Set([kept.id]));
    expect(existsSync(`/proc/${pid}`)).toBe(false);
    expect(existsSync(join(lab.execRoot, "containers", lost.id))).toBe(false);
    expect(existsSync(join(lab.dataRoot, "containers", lost.id))).toBe(false);
    expect(existsSync(`/sys/fs/cgroup/pids/linkspan/${lost.id}`)).toBe(false);
    expect(mountsBelow(lab.root)).toEqual([join(lab.execRoot, "containers", kept.id, "rootfs")]);
    expect(await lab.runtime.probe(kept.id)).toMatchObject({ state: "running" });
    // Known, but not to live on: its storage stays.
    const ended = lab.container(["sleep", "100"]);
    const endedPid = await lab.run(ended);
    await lab.runtime.sweep(new Set([kept.id, ended.id]), new Set([kept.id]));
    expect(existsSync(`/proc/${endedPid}`)).toBe(false);
    expect(existsSync(join(lab.dataRoot, "containers", ended.id, "upper"))).toBe(true);
    expect(await lab.runtime.probe(ended.id)).toEqual({ state: "gone" });
    await lab.runtime.kill(kept.id, "KILL");
    await lab.exit(kept);
    await lab.runtime.cleanup(kept.id);
  });
});

describe("the root file system", () => {
  it("is lent while the container is stopped and while it runs", async () => {
    const c = lab.container(["sleep", "100"]);
    await lab.runtime.withRootfs(c.id, [lab.layer], async (path) => writeFileSync(join(path, "tmp/given"), "42"));
    expect(mountsBelow(lab.root)).toEqual([]);
    await lab.run(c);
    expect((await lab.exec(c, ["cat", "/tmp/given"])).stdout).toBe("42");
    await lab.runtime.withRootfs(c.id, [lab.layer], async (path) => writeFileSync(join(path, "tmp/late"), "43"));
    expect((await lab.exec(c, ["cat", "/tmp/late"])).stdout).toBe("43");
    await lab.runtime.kill(c.id, "KILL");
    await lab.exit(c);
    await lab.runtime.withRootfs(c.id, [lab.layer], async (path) => {
      await lab.runtime.cleanup(c.id);
      expect(readFileSync(join(path, "tmp/late"), "utf8")).toBe("43");
    });
    expect(mountsBelow(lab.root)).toEqual([]);
  });

  it("may have more layers than one page of mount options names", async () => {
    const c = lab.container(["true"]);
    const layers = Array.from({ length: 60 }, (_, i) => join(lab.root, "layer", "..", `${"l".repeat(80)}${i}`));
    const { mkdirSync } = await import("node:fs");
    for (const [i, layer] of layers.entries()) {
      mkdirSync(layer, { recursive: true });
      writeFileSync(join(layer, "which"), String(i));
    }
    await lab.runtime.withRootfs(c.id, [...layers, lab.layer], async (path) => {
      expect(readFileSync(join(path, "which"), "utf8")).toBe("0");
      expect(existsSync(join(path, "bin/busybox"))).toBe(true);
    });
  });
});

describe("an engine that ends in the middle of a start", () => {
  it("leaves a process that is not started any more, and is swept", async () => {
    const c = lab.container(["sh", "-c", "echo never > /tmp/ran"]);
    const { pid } = await lab.runtime.create(lab.spec(c));
    await lab.reopen();
    expect(await lab.runtime.probe(c.id)).toMatchObject({ state: "exited" });
    await lab.runtime.cleanup(c.id);
    expect(existsSync(`/proc/${pid}`)).toBe(false);
    expect(existsSync(join(lab.runtime.upperDir(c.id), "tmp/ran"))).toBe(false);
    expect(mountsBelow(lab.root)).toEqual([]);
  });
});
