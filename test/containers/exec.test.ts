import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Container } from "../../src/model/container.js";
import { collect, Lab } from "./lab.js";

const lab = new Lab();
let c: Container;
beforeAll(async () => {
  await lab.open();
  c = lab.container(["sleep", "1000"], { Env: ["A=1", "B=2"], WorkingDir: "/srv/made" });
  await lab.run(c, { linkEnv: ["DB_PORT=tcp://172.17.0.2:3306"] });
});
afterAll(() => lab.close());

describe("exec", () => {
  it("keeps stdout and stderr apart and gives the exit code", async () => {
    expect(await lab.exec(c, ["sh", "-c", "echo out; echo err >&2; exit 7"])).toEqual({
      stdout: "out\n",
      stderr: "err\n",
      code: 7,
    });
    expect(await lab.exec(c, ["sh", "-c", "kill -9 $$"])).toMatchObject({ code: 137 });
  });

  it("passes stdin, to its end", async () => {
    expect(await lab.exec(c, ["cat"], {}, "abc")).toMatchObject({ stdout: "abc", code: 0 });
    const big = "0123456789abcdef".repeat(40_000);
    expect(await lab.exec(c, ["wc", "-c"], {}, big)).toMatchObject({ stdout: `${big.length}\n` });
  });

  it("gives the process pipes that it may open again", async () => {
    expect(await lab.exec(c, ["sh", "-c", "echo a > /dev/stdout; echo b > /proc/self/fd/2"])).toMatchObject({
      stdout: "a\n",
      stderr: "b\n",
    });
  });

  it("loses nothing of a large output", async () => {
    const { stdout, code } = await lab.exec(c, ["sh", "-c", "seq 1 200000"]);
    expect(code).toBe(0);
    expect(stdout.length).toBe(1_288_895);
    expect(stdout.endsWith("199999\n200000\n")).toBe(true);
  });

  it("takes environment, directory and user", async () => {
    const env = (await lab.exec(c, ["env"], { env: ["B=3", "C=4", "DB_PORT=new"] })).stdout.split("\n");
    expect(env).toEqual(
      expect.arrayContaining(["A=1", "B=3", "C=4", "DB_PORT=new", "HOME=/root", `HOSTNAME=${c.id.slice(0, 12)}`]),
    );
    expect((await lab.exec(c, ["pwd"])).stdout).toBe("/srv/made\n");
    expect((await lab.exec(c, ["pwd"], { workingDir: "/tmp" })).stdout).toBe("/tmp\n");
    expect((await lab.exec(c, ["sh", "-c", "id; echo $HOME"], { user: "ann" })).stdout).toBe(
      "uid=1000(ann) gid=1001(ann) groups=29(audio),1001(ann)\n/home/ann\n",
    );
  });

  it("has the container's capabilities and filter; all and none when privileged", async () => {
    const status = async (options: Record<string, unknown>) =>
      (await lab.exec(c, ["grep", "-E", "CapEff|Seccomp:", "/proc/self/status"], options)).stdout;
    expect(await status({})).toBe("CapEff:\t00000000a80425fb\nSeccomp:\t2\n");
    expect(await status({ user: "ann" })).toMatch(/CapEff:\t0000000000000000/);
    const all = /CapBnd:\t(\w+)/.exec((await import("node:fs")).readFileSync("/proc/self/status", "utf8"))?.[1];
    expect(await status({ privileged: true })).toContain(`CapEff:\t${all}`);
  });

  it("refuses what cannot run with 126 and Docker's text", async () => {
    for (const [cmd, text] of [
      ["nosuchcommand", 'exec: "nosuchcommand": executable file not found in $PATH: unknown'],
      ["/bin/noexec", 'exec: "/bin/noexec": permission denied: unknown'],
    ] as const) {
      let code: number | undefined;
      const request = {
        cmd: [cmd],
        env: [],
        workingDir: "",
        user: "",
        tty: false,
        attachStdin: false,
        attachStdout: true,
        attachStderr: true,
      };
      const started = lab.runtime.execStart(c, { id: "e".repeat(64), request: { ...request, privileged: false } }, (e) => {
        code = e;
      });
      await expect(started).rejects.toMatchObject({
        status: 400,
        message: expect.stringContaining(
          `OCI runtime exec failed: exec failed: container_linux.go:380: starting container process caused: ${text}`,
        ),
      });
      expect(code).toBe(126);
    }
  });

  it("ends when the process ends though a child keeps its stdout", async () => {
    const begin = performance.now();
    expect(await lab.exec(c, ["sh", "-c", "sleep 20 & echo done"])).toMatchObject({ stdout: "done\n", code: 0 });
    expect(performance.now() - begin).toBeLessThan(5000);
  });

  it("gives a terminal with its size", async () => {
    const id = "a".repeat(64);
    const request = {
      cmd: ["sh"],
      env: [],
      workingDir: "",
      user: "",
      tty: true,
      attachStdin: true,
      attachStdout: true,
      attachStderr: true,
      privileged: false,
    };
    let code: number | undefined;
    const exited = new Promise<void>((resolve) => {
      lab.runtime
        .execStart(c, { id, request }, (e) => {
          code = e;
          resolve();
        })
        .then(async ({ session, pid }) => {
          expect(pid).toBeGreaterThan(1);
          const out = collect(session);
          await lab.runtime.execResize(id, 33, 77);
          session.write(Buffer.from("stty size; tty; echo $TERM\n"));
          await expect.poll(() => out.text().stdout).toMatch(/33 77\r\n\/dev\/pts\/\d\r\nxterm\r\n/);
          session.write(Buffer.from("exit 4\n"));
        });
    });
    await exited;
    expect(code).toBe(4);
    await expect(lab.runtime.execResize(id, 1, 1)).rejects.toMatchObject({ status: 404 });
    const missing = lab.runtime.execStart(c, { id: "b".repeat(64), request: { ...request, cmd: ["nosuch"] } }, () => {});
    await expect(missing).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('exec: "nosuch": executable file not found in $PATH'),
    });
  });

  it("runs many at once", async () => {
    const results = await Promise.all(Array.from({ length: 8 }, (_, i) => lab.exec(c, ["sh", "-c", `echo ${i}; exit ${i}`])));
    expect(results.map((r) => [r.stdout, r.code])).toEqual(results.map((_, i) => [`${i}\n`, i]));
  });
});
