import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { LogOptions } from "../../src/containers/contract.js";
import { allLogs, Lab, logText } from "./lab.js";

const lab = new Lab();
beforeAll(() => lab.open());
afterAll(() => lab.close());

const written = (lines: readonly string[]) => {
  const c = lab.container(["true"]);
  const path = lab.runtime.logPath(c.id);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, lines.map((line) => `${line}\n`).join(""));
  return { c, path };
};
const at = (second: number, stream: string, tag: string, text: string) =>
  `2024-01-01T00:00:${String(second).padStart(2, "0")}.5${"0".repeat(8)}+00:00 ${stream} ${tag} ${text}`;

describe("logs", () => {
  const lines = [
    at(1, "stdout", "F", "one"),
    at(2, "stderr", "F", "two"),
    at(3, "stdout", "P", "thr"),
    at(3, "stdout", "F", "ee"),
    at(4, "stdout", "F", ""),
    "garbage",
    at(5, "stdout", "P", "no newline"),
  ];
  const read = async (options: Partial<LogOptions>) => logText(lab.runtime.logs(written(lines).c, { ...allLogs, ...options }));

  it("join partial records and choose streams", async () => {
    expect(await read({})).toEqual({ stdout: "one\nthree\n\nno newline", stderr: "two\n" });
    expect(await read({ stderr: false })).toEqual({ stdout: "one\nthree\n\nno newline", stderr: "" });
  });

  it("put one timestamp before each line", async () => {
    expect((await read({ timestamps: true })).stdout).toBe(
      "2024-01-01T00:00:01.500000000Z one\n2024-01-01T00:00:03.500000000Z three\n2024-01-01T00:00:04.500000000Z \n2024-01-01T00:00:05.500000000Z no newline",
    );
  });

  it("begin and end at a time", async () => {
    const base = Date.parse("2024-01-01T00:00:00Z") / 1000;
    expect(await read({ since: base + 3 })).toEqual({ stdout: "three\n\nno newline", stderr: "" });
    expect(await read({ until: base + 2.6 })).toEqual({ stdout: "one\n", stderr: "two\n" });
  });

  it("give the last lines", async () => {
    expect(await read({ tail: 0 })).toEqual({ stdout: "", stderr: "" });
    expect(await read({ tail: 1 })).toEqual({ stdout: "no newline", stderr: "" });
    expect(await read({ tail: 2 })).toEqual({ stdout: "\nno newline", stderr: "" });
    expect(await read({ tail: 3 })).toEqual({ stdout: "three\n\nno newline", stderr: "" });
    expect(await read({ tail: 4 })).toEqual({ stdout: "three\n\nno newline", stderr: "two\n" });
    expect(await read({ tail: 1, stdout: false })).toEqual({ stdout: "", stderr: "two\n" });
    expect(await read({ tail: 99 })).toEqual({ stdout: "one\nthree\n\nno newline", stderr: "two\n" });
    const many = written(Array.from({ length: 50_000 }, (_, i) => at(1, "stdout", "F", `line ${i} ${"x".repeat(i % 200)}`)));
    const text = (await logText(lab.runtime.logs(many.c, { ...allLogs, tail: 3000 }))).stdout.trim().split("\n");
    expect(text.length).toBe(3000);
    expect(text[0]).toContain("line 47000 ");
  });

  it("follow until the container ends", async () => {
    const c = lab.container(["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done"]);
    await lab.run(c);
    const times: number[] = [];
    let text = "";
    for await (const chunk of lab.runtime.logs(c, { ...allLogs, follow: true })) {
      times.push(performance.now());
      text += chunk.data.toString();
    }
    expect(text).toBe("1\n2\n3\n");
    expect(times[2]! - times[0]!).toBeGreaterThan(250);
    await lab.runtime.cleanup(c.id);
  });

  it("follow an ended container: what is there, then the end", async () => {
    const { c, path } = written(lines.slice(0, 1));
    appendFileSync(path, `${at(2, "stdout", "F", "x")}\n`);
    expect(await logText(lab.runtime.logs(c, { ...allLogs, follow: true }))).toEqual({ stdout: "one\nx\n", stderr: "" });
  });

  it("rotate at max-size, and can be followed over it", async () => {
    const c = lab.container(
      ["sh", "-c", "sleep 0.3; for i in $(seq 1 2000); do echo line $i; done; sleep 0.3; echo last"],
      {},
      { LogConfig: { Type: "json-file", Config: { "max-size": "20k" } } },
    );
    await lab.run(c);
    let text = "";
    for await (const chunk of lab.runtime.logs(c, { ...allLogs, follow: true })) text += chunk.data.toString();
    expect(text).toContain("last\n");
    const { size } = (await import("node:fs")).statSync(lab.runtime.logPath(c.id));
    expect(size).toBeLessThanOrEqual(22_000);
  });

  it("are refused with the driver none", async () => {
    const c = lab.container(["echo", "x"], {}, { LogConfig: { Type: "none", Config: {} } });
    expect((await lab.output(c)).stdout).toBe("x\n");
    expect(() => lab.runtime.logs(c, allLogs)).toThrow("configured logging driver does not support reading");
  });

  it("have a real time in UTC", async () => {
    const c = lab.container(["echo", "x"]);
    await lab.output(c);
    const { stdout } = await logText(lab.runtime.logs(c, { ...allLogs, timestamps: true }));
    const [, time = "", rest] = /^(\S{30}) (.*)$/s.exec(stdout) ?? [];
    expect(rest).toBe("x\n");
    expect(Math.abs(Date.parse(time) - Date.now())).toBeLessThan(60_000);
  });
});
