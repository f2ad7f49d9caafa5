import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { allLogs, collect, Lab, logText } from "./lab.js";

const lab = new Lab();
beforeAll(() => lab.open());
afterAll(() => lab.close());

describe("attach", () => {
  it("gets the first output when attached before the start, streams apart", async () => {
    const c = lab.container(["sh", "-c", "echo first; echo second >&2"]);
    expect(await lab.output(c)).toEqual({ stdout: "first\n", stderr: "second\n", code: 0 });
  });

  it("serves several clients and passes input; the end of input reaches the process", async () => {
    const c = lab.container(["sh", "-c", "cat; echo end"], { OpenStdin: true, StdinOnce: true });
    await lab.runtime.create(lab.spec(c));
    const one = await lab.runtime.attach(c.id, { tty: false, stdin: true });
    const two = await lab.runtime.attach(c.id, { tty: false, stdin: false });
    const [a, b] = [collect(one), collect(two)];
    await lab.runtime.start(c.id);
    const text = "x".repeat(50_000);
    one.write(Buffer.from(`${text}\n`));
    one.endInput();
    await Promise.all([one.ended, two.ended]);
    expect(a.text().stdout).toBe(`${text}\nend\n`);
    expect(b.text().stdout).toBe(`${text}\nend\n`);
    expect((await lab.exit(c)).exitCode).toBe(0);
  });

  it("leaves stdin open for the next client where it is not to be closed", async () => {
    const c = lab.container(["cat"], { OpenStdin: true, StdinOnce: false });
    await lab.run(c);
    const one = await lab.runtime.attach(c.id, { tty: false, stdin: true });
    const a = collect(one);
    one.write(Buffer.from("1\n"));
    await expect.poll(() => a.text().stdout).toBe("1\n");
    one.close();
    const two = await lab.runtime.attach(c.id, { tty: false, stdin: true });
    const b = collect(two);
    two.write(Buffer.from("2\n"));
    await expect.poll(() => b.text().stdout).toBe("2\n");
    two.close();
    expect((await lab.runtime.probe(c.id)).state).toBe("running");
  });

  it("loses nothing of a large output", async () => {
    const c = lab.container(["sh", "-c", "seq 1 300000"]);
    const { stdout } = await lab.output(c);
    const expected = Array.from({ length: 300_000 }, (_, i) => `${i + 1}\n`).join("");
    expect(createHash("md5").update(stdout).digest("hex")).toBe(createHash("md5").update(expected).digest("hex"));
    expect((await logText(lab.runtime.logs(c, allLogs))).stdout).toBe(expected);
  });

  it("gives a terminal that can be resized, and logs it", async () => {
    const c = lab.container(["sh"], { Tty: true, OpenStdin: true, StdinOnce: true });
    await lab.runtime.create(lab.spec(c));
    const session = await lab.runtime.attach(c.id, { tty: true, stdin: true });
    const out = collect(session);
    await lab.runtime.start(c.id);
    await lab.runtime.resize(c.id, 40, 100);
    session.write(Buffer.from("stty size; tty; echo $TERM\n"));
    await expect.poll(() => out.text().stdout).toMatch(/40 100\r\n\/dev\/(console|pts\/0)\r\nxterm\r\n/);
    session.write(Buffer.from("exit 6\n"));
    expect((await lab.exit(c)).exitCode).toBe(6);
    await session.ended;
    expect((await logText(lab.runtime.logs(c, allLogs))).stdout).toContain("40 100\r\n");
    await expect(lab.runtime.resize(c.id, 1, 1)).rejects.toMatchObject({ status: 409 });
  });

  it("to an ended container ends at once", async () => {
    const c = lab.container(["true"]);
    await lab.run(c);
    await lab.exit(c);
    await (await lab.runtime.attach(c.id, { tty: false, stdin: false })).ended;
  });
});
