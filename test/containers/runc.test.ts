import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { mountsBelow } from "../lib/files.js";
import { allLogs, Lab, logText } from "./lab.js";

const lab = new Lab();
beforeAll(() => lab.open("runc"));
afterEach(() => lab.clear());
afterAll(() => lab.close());

describe("runc instead of crun", () => {
  it("runs, execs, logs, ends", async () => {
    expect(lab.runtime.runtimeName).toBe("runc");
    const c = lab.container(
      ["sh", "-c", "echo out; echo err >&2; grep Seccomp: /proc/self/status; exit 3"],
      {},
      { Memory: 64 << 20 },
    );
    expect(await lab.output(c)).toEqual({ stdout: "out\nSeccomp:\t2\n", stderr: "err\n", code: 3 });
    expect((await logText(lab.runtime.logs(c, allLogs))).stderr).toBe("err\n");
    const d = lab.container(["sleep", "100"]);
    await lab.run(d);
    expect(await lab.exec(d, ["sh", "-c", "echo hi; exit 7"])).toEqual({ stdout: "hi\n", stderr: "", code: 7 });
    await expect(lab.exec(d, ["nosuch"])).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('exec: "nosuch": executable file not found in $PATH: unknown'),
    });
    await lab.runtime.kill(d.id, "KILL");
    expect((await lab.exit(d)).exitCode).toBe(137);
    await lab.runtime.cleanup(d.id);
    expect(mountsBelow(lab.root)).toEqual([]);
  });

  it("refuses in Docker's words", async () => {
    await expect(lab.run(lab.container(["nosuchcmd"]))).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('exec: "nosuchcmd": executable file not found in $PATH: unknown'),
    });
  });
});
