import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { until } from "../lib/run.js";
import { EngineLab } from "./harness.js";

const lab = new EngineLab("life");
const d = (...args: string[]) => lab.docker(...args);
const inspect = async (what: string, format: string) => d("inspect", "-f", format, what);

beforeAll(async () => {
  await lab.start();
});
afterAll(async () => {
  await lab.close();
}, 60_000);

describe("a container's life, by the docker CLI", () => {
  it("runs on the default bridge with the lowest free address, and gives it back", async () => {
    await d("run", "-d", "--name", "a1", "busybox", "sleep", "600");
    await d("run", "-d", "--name", "a2", "busybox", "sleep", "600");
    expect(await inspect("a1", "{{.NetworkSettings.IPAddress}}")).toBe("172.17.0.2");
    expect(await d("exec", "a1", "ping", "-c1", "-W2", "172.17.0.3")).toContain("1 packets received");
    await d("rm", "-f", "a1");
    await d("run", "-d", "--name", "a3", "busybox", "sleep", "600");
    expect(await inspect("a3", "{{.NetworkSettings.IPAddress}}")).toBe("172.17.0.2");
    await d("rm", "-f", "a2", "a3");
    expect(lab.leftovers()).toEqual([]);
  });

  it("tells exit codes, output and the reason why a command cannot start", async () => {
    const ended = await lab.try("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2; exit 3");
    expect(ended).toEqual({ code: 3, stdout: "out\n", stderr: "err\n" });
    const missing = await lab.try("run", "--name", "nocmd", "busybox", "nosuchcmd");
    expect(missing.code).toBe(127);
    expect(missing.stderr).toMatch(/executable file not found in \$PATH/);
    expect(await inspect("nocmd", "{{.State.Status}} {{.State.ExitCode}}")).toBe("created 127");
    await d("rm", "nocmd");
    expect(lab.leftovers()).toEqual([]);
  });

  it("connects and disconnects while running, names and routes follow", async () => {
    await d("network", "create", "n1");
    await d("run", "-d", "--name", "b1", "--network", "n1", "busybox", "sleep", "600");
    await d("run", "-d", "--name", "b2", "busybox", "sleep", "600");
    const address = await inspect("b1", "{{.NetworkSettings.Networks.n1.IPAddress}}");
    expect((await lab.try("exec", "b2", "ping", "-c1", "-W1", address)).code).not.toBe(0);
    await d("network", "connect", "n1", "b2");
    expect(await d("exec", "b2", "ping", "-c1", "-W2", "b1")).toContain("1 packets received");
    expect(await d("exec", "b1", "ping", "-c1", "-W2", "b2")).toContain("1 packets received");
    await d("network", "disconnect", "n1", "b2");
    expect(await d("exec", "b2", "ip", "-o", "link")).not.toContain("eth1");
    expect((await lab.try("network", "rm", "n1")).stderr).toMatch(/has active endpoints/);
    await d("rm", "-f", "b1", "b2");
    await d("network", "rm", "n1");
    expect(lab.leftovers()).toEqual([]);
  });

  it("restarts by policy with a new pause each time, and not after a stop", async () => {
    await d("run", "-d", "--restart", "always", "--name", "r1", "busybox", "sh", "-c", "sleep 0.1");
    await until("two restarts", async () => Number(await inspect("r1", "{{.RestartCount}}")) >= 2);
    await d("stop", "-t", "1", "r1");
    expect(await inspect("r1", "{{.State.Status}}")).toBe("exited");
    await d("run", "-d", "--restart", "on-failure:2", "--name", "r2", "busybox", "false");
    await until("given up", async () => (await inspect("r2", "{{.State.Status}} {{.RestartCount}}")) === "exited 2");
    await d("rm", "-f", "r1", "r2");
  });

  it("starts many at once, each with its own address", async () => {
    const names = Array.from({ length: 12 }, (_, i) => `many${i}`);
    await Promise.all(names.map((name) => d("run", "-d", "--name", name, "busybox", "sleep", "600")));
    const ips = (await d("inspect", "-f", "{{.NetworkSettings.IPAddress}}", ...names)).split("\n");
    expect(ips.sort()).toEqual(Array.from({ length: 12 }, (_, i) => `172.17.0.${i + 2}`).sort());
    await d("rm", "-f", ...names);
    expect(lab.leftovers()).toEqual([]);
    expect(await lab.verify()).toEqual([]);
  });

  it("leaves nothing of a start that fails", async () => {
    await d("run", "-d", "-p", "8080:80", "--name", "p1", "busybox", "sleep", "600");
    const clash = await lab.try("run", "-d", "-p", "8080:80", "--name", "p2", "busybox", "sleep", "600");
    expect(clash.stderr).toMatch(/endpoint p2 \([0-9a-f]{64}\): Bind for 0.0.0.0:8080 failed: port is already allocated/);
    expect(await d("ps", "-a", "-f", "name=p2", "--format", "{{.Status}}")).toBe("Created");
    await d("rm", "-f", "p1");
    await d("start", "p2");
    await d("rm", "-f", "p2");
    expect(lab.leftovers()).toEqual([]);
  });

  it("keeps named volumes and removes anonymous ones with rm -v", async () => {
    await d("run", "--name", "v1", "-v", "data:/data", "-v", "/anon", "busybox", "sh", "-c", "echo kept >/data/f");
    expect(await d("run", "--rm", "-v", "data:/data", "busybox", "cat", "/data/f")).toBe("kept");
    expect((await lab.try("volume", "rm", "data")).stderr).toMatch(/volume is in use/);
    expect((await d("volume", "ls", "-q")).split("\n")).toHaveLength(2);
    await d("rm", "-v", "v1");
    expect(await d("volume", "ls", "-q")).toBe("data");
    await d("volume", "rm", "data");
  });

  it("runs healthchecks", async () => {
    await d(
      "run",
      "-d",
      "--name",
      "h1",
      "--health-cmd",
      "test -f /ok",
      "--health-interval",
      "300ms",
      "--health-retries",
      "2",
      "busybox",
      "sleep",
      "600",
    );
    expect(await inspect("h1", "{{.State.Health.Status}}")).toBe("starting");
    await until("unhealthy", async () => (await inspect("h1", "{{.State.Health.Status}}")) === "unhealthy");
    await d("exec", "h1", "touch", "/ok");
    await until("healthy", async () => (await inspect("h1", "{{.State.Health.Status}}")) === "healthy");
    await d("rm", "-f", "h1");
  });

  it("copies in and out, shows what changed", async () => {
    await d("run", "-d", "--name", "c1", "busybox", "sleep", "600");
    await d("exec", "c1", "sh", "-c", "echo hello >/tmp/x");
    expect(await d("diff", "c1")).toContain("A /tmp/x");
    await d("cp", "c1:/tmp/x", `${lab.directory}/x.out`);
    await d("stop", "-t", "0", "c1");
    await d("cp", `${lab.directory}/x.out`, "c1:/tmp/y");
    await d("start", "c1");
    expect(await d("exec", "c1", "cat", "/tmp/y")).toBe("hello");
    await d("rm", "-f", "c1");
    expect(lab.leftovers()).toEqual([]);
  });
});
