import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { allLogs, Lab, logText, mountsBelow } from "./lab.js";

const lab = new Lab();
beforeAll(() => lab.open());
afterAll(() => lab.close());

describe("life of a container", () => {
  it("creates, starts, runs to its end, keeps output and exit code, leaves nothing", async () => {
    const c = lab.container(["sh", "-c", "echo out; echo err >&2; exit 3"]);
    const begin = performance.now();
    await lab.run(c);
    process.stderr.write(`create + start: ${(performance.now() - begin).toFixed(1)} ms\n`);
    const exit = await lab.exit(c);
    expect(exit.exitCode).toBe(3);
    expect(exit.oomKilled).toBe(false);
    expect(exit.finishedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/);
    expect(await logText(lab.runtime.logs(c, allLogs))).toEqual({ stdout: "out\n", stderr: "err\n" });
    await lab.runtime.cleanup(c.id);
    expect(mountsBelow(lab.root)).toEqual([]);
    expect(existsSync(join(lab.execRoot, "containers", c.id))).toBe(false);
    expect(existsSync(`/sys/fs/cgroup/pids/linkspan/${c.id}`)).toBe(false);
    expect(await logText(lab.runtime.logs(c, allLogs))).toEqual({ stdout: "out\n", stderr: "err\n" });
    await lab.runtime.removeStorage(c.id);
    expect(existsSync(join(lab.dataRoot, "containers", c.id))).toBe(false);
  });
});
