import { spawn } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sleep, until } from "../lib/run.js";
import { EngineLab } from "./harness.js";

const lab = new EngineLab("again");
const d = (...args: string[]) => lab.docker(...args);
const inspect = (what: string, format: string) => d("inspect", "-f", format, what);

beforeAll(async () => {
  await lab.start();
  await d("network", "create", "keep");
  await d(
    "run",
    "-d",
    "--name",
    "k1",
    "--restart",
    "always",
    "--network",
    "keep",
    "-p",
    "8095:80",
    "busybox",
    "httpd",
    "-f",
    "-p",
    "80",
  );
  await d("run", "-d", "--name", "k2", "--network", "keep", "busybox", "sleep", "6000");
});
afterAll(async () => {
  await lab.close();
}, 60_000);

describe("the engine goes and comes back", () => {
  it("after SIGKILL containers have lived on, names are answered within a second, ports and exits are known", async () => {
    const pid = await inspect("k2", "{{.State.Pid}}");
    await d("run", "-d", "--name", "short", "--network", "keep", "busybox", "sh", "-c", "sleep 2; exit 7");
    // Asks for a name every 50 ms, from inside a container, the whole time.
    const asking = spawn(
      "nsenter",
      [
        ...[`--net=/proc/${pid}/ns/net`, "node", "-e"],
        `const d=require("dgram");const q=Buffer.from("123401000001000000000000026b310000010001","hex");let last=performance.now(),gap=0,n=0;
         const s=d.createSocket("udp4");s.on("message",()=>{const t=performance.now();gap=Math.max(gap,t-last);last=t;n++});s.on("error",()=>{});
         setInterval(()=>s.send(q,53,"127.0.0.11"),20);process.on("SIGINT",()=>{console.log(JSON.stringify({gap,n}));process.exit()})`,
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    let answers = "";
    asking.stdout.on("data", (data: Buffer) => {
      answers += data.toString();
    });
    await sleep(1000);
    await lab.signal("SIGKILL");
    const killed = performance.now();
    await lab.start();
    const served = performance.now() - killed;
    await sleep(500);
    asking.kill("SIGINT");
    await new Promise((resolve) => asking.once("close", resolve));
    const { gap, n } = JSON.parse(answers) as { gap: number; n: number };
    console.log(`names were away for ${Math.round(gap)} ms (the API answered after ${Math.round(served)} ms)`);
    expect(n).toBeGreaterThan(20);
    expect(gap).toBeLessThan(served + 200);
    expect(await inspect("k2", "{{.State.Pid}}")).toBe(pid);
    expect(lab.host("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m2", "http://192.168.77.10:8095/nosuch")).toBe(
      "404",
    );
    const clash = await lab.try("run", "--rm", "-p", "8095:80", "busybox", "true");
    expect(clash.stderr).toMatch(/port is already allocated/);
    await until(
      "the exit is known",
      async () => (await inspect("short", "{{.State.Status}} {{.State.ExitCode}}")) === "exited 7",
    );
    await d("rm", "short");
    expect(await lab.verify()).toEqual([]);
  });

  it("after an exit while it was away, the policy acts and the record is right", async () => {
    const pid = Number(await inspect("k1", "{{.State.Pid}}"));
    await d("run", "-d", "--name", "gone", "--network", "keep", "busybox", "sh", "-c", "sleep 1; exit 5");
    await lab.signal("SIGKILL");
    process.kill(pid, "SIGKILL");
    await sleep(1500);
    await lab.start();
    expect(await inspect("gone", "{{.State.Status}} {{.State.ExitCode}}")).toBe("exited 5");
    expect(await inspect("k1", "{{.State.Running}}")).toBe("true");
    expect(Number(await inspect("k1", "{{.State.Pid}}"))).not.toBe(pid);
    await d("rm", "gone");
    expect(await lab.verify()).toEqual([]);
    expect(lab.leftovers().filter((l) => l.startsWith("netns"))).toHaveLength(2);
  });

  it("after a clean stop and start: always runs, no policy stays down, endpoints were withdrawn", async () => {
    const id = await d("network", "inspect", "-f", "{{.Id}}", "keep");
    await lab.signal("SIGTERM");
    expect(lab.host("ip", "-o", "link")).not.toMatch(/veth[0-9a-f]{7}/);
    await lab.start();
    expect(await d("network", "inspect", "-f", "{{.Id}}", "keep")).toBe(id);
    expect(await d("ps", "-f", "name=k1", "--format", "{{.Status}}")).toMatch(/^Up/);
    expect(await d("ps", "-a", "-f", "name=k2", "--format", "{{.Status}}")).toMatch(/^Exited \(137\)/);
    await until("port served", () => {
      try {
        return lab.host("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m2", "http://192.168.77.10:8095/x") === "404";
      } catch {
        return false;
      }
    });
    await d("start", "k2");
    expect(await d("exec", "k2", "ping", "-c1", "-W2", "k1")).toContain("1 packets received");
    await d("rm", "-f", "k1", "k2");
    await d("network", "rm", "keep");
    expect(lab.leftovers()).toEqual([]);
  }, 60_000);
});
