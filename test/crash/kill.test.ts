import { type ChildProcess, spawn } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EngineLab } from "../engine/harness.js";
import { generator } from "../lib/random.js";
import { sleep } from "../lib/run.js";

const ROUNDS = 8;
/** On a busy machine a round takes long: no new one is begun after this. */
const BUDGET_MS = 60_000;
const lab = new EngineLab("crash");
const d = (...args: string[]) => lab.docker(...args);

/** What clients do all day; each call may meet an engine that has just died. */
async function work(round: number, stop: () => boolean): Promise<void> {
  for (let i = 0; !stop(); i++) {
    const name = `w${round}x${i}`;
    const body = {
      Image: "busybox",
      Cmd: ["sleep", "600"],
      HostConfig: { PortBindings: { "80/tcp": [{ HostPort: String(20000 + ((round * 50 + i) % 9000)) }] } },
    };
    for (const [method, path, data] of [
      ["POST", "/networks/create", { Name: `n${name}` }],
      ["POST", `/containers/create?name=${name}`, body],
      ["POST", `/containers/${name}/start`],
      ["POST", `/networks/n${name}/connect`, { Container: name }],
      ["POST", `/networks/n${name}/disconnect`, { Container: name }],
      ["DELETE", `/containers/${name}?force=1`],
      ["DELETE", `/networks/n${name}`],
    ] as const) {
      if (stop()) return;
      await lab.api(method, path, data).catch(() => undefined);
    }
  }
}

/** Removes what the clients left when the engine died under them. */
async function tidy(): Promise<void> {
  const containers = (await lab.api("GET", "/containers/json?all=1")).json as { Id: string; Names: string[] }[];
  for (const c of containers) if (c.Names[0]!.startsWith("/w")) await lab.api("DELETE", `/containers/${c.Id}?force=1`);
  const networks = (await lab.api("GET", "/networks")).json as { Id: string; Name: string }[];
  for (const n of networks) if (n.Name.startsWith("nw")) await lab.api("DELETE", `/networks/${n.Id}`);
}

beforeAll(async () => {
  await lab.start();
  await d("network", "create", "steady");
  await d("run", "-d", "--name", "s1", "--network", "steady", "busybox", "sleep", "6000");
  await d("run", "-d", "--name", "s2", "--network", "steady", "-p", "8099:80", "busybox", "sleep", "6000");
});
afterAll(async () => {
  await lab.close();
}, 60_000);

describe("SIGKILL of the engine in the middle of its work", () => {
  it("leaves nothing behind, and running containers lose no packet", async () => {
    const next = generator(20260731);
    const target = await d("inspect", "-f", "{{.NetworkSettings.Networks.steady.IPAddress}}", "s2");
    const pid = await d("inspect", "-f", "{{.State.Pid}}", "s1");
    const ping: ChildProcess = spawn("nsenter", [`--net=/proc/${pid}/ns/net`, "ping", "-i", "0.01", "-q", target], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let report = "";
    ping.stdout!.on("data", (data: Buffer) => {
      report += data.toString();
    });
    const starts: number[] = [];
    const end = performance.now() + BUDGET_MS;
    try {
      for (let round = 0; round < ROUNDS && performance.now() < end; round++) {
        let stopped = false;
        const clients = [0, 1].map((n) => work(round * 2 + n, () => stopped));
        await sleep(300 + next() * 900);
        await lab.signal("SIGKILL");
        stopped = true;
        await Promise.all(clients);
        starts.push(await lab.start());
        expect(await lab.verify()).toEqual([]);
        await tidy();
        expect(await lab.verify()).toEqual([]);
        // Two steady containers have one namespace, one veth, one set of run files and one storage each; nothing else may be there.
        const left = lab.leftovers();
        for (const kind of ["netns", "run files", "storage"])
          expect(
            left.filter((l) => l.startsWith(kind)),
            `${kind} after round ${round}`,
          ).toHaveLength(2);
        expect(
          left.filter((l) => l.includes("veth")),
          `veths after round ${round}`,
        ).toHaveLength(2);
      }
    } finally {
      const ended = new Promise((resolve) => ping.once("close", resolve));
      ping.kill("SIGINT");
      await ended;
    }
    console.log(`engine starts after SIGKILL: ${starts.map((ms) => Math.round(ms)).join(", ")} ms`);
    const [, sent, received] = /([0-9]+) packets transmitted, ([0-9]+) received/.exec(report) ?? [];
    // The last request may be on its way when ping is told to end.
    expect(Number(sent) - Number(received)).toBeLessThanOrEqual(1);
    expect(Number(sent)).toBeGreaterThan(100);
    expect(await d("exec", "s1", "ping", "-c1", "-W2", "s2")).toContain("1 packets received");
    await d("rm", "-f", "s1", "s2");
    await d("network", "rm", "steady");
    expect(lab.leftovers()).toEqual([]);
  }, 180_000);
});
