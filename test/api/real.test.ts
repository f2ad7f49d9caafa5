import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Docker from "dockerode";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EngineLab } from "../engine/harness.js";
import { sleep, until } from "../lib/run.js";
import { INSPECT_PARTS, keysOf, run } from "./helpers.js";

const lab = new EngineLab("api");
const d = (...args: string[]) => lab.docker(...args);
const linkspan = (...args: string[]) =>
  run(new URL("../../bin/linkspan", import.meta.url).pathname, args, { env: { DOCKER_HOST: `unix://${lab.socket}` } });
const json = async (path: string) => (await lab.api("GET", path)).json as Record<string, unknown>;
const golden = JSON.parse(readFileSync(new URL("./golden/docker-inspect.json", import.meta.url), "utf8")) as Record<
  string,
  unknown
>[];
const forever = ["sleep", "600"];

beforeAll(async () => {
  await lab.start();
  await d("run", "-d", "--name", "one", "-p", "8080:80", "--label", "a=b", "busybox", ...forever);
}, 60_000);
afterAll(() => lab.close(), 60_000);

/** A client program fed with `input`, which ends. */
function fed(input: string, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return run("docker", ["-H", `unix://${lab.socket}`, ...args], { stdin: input });
}

describe("shapes of the real engine", () => {
  it("inspect: real Docker's keys in its order, its addresses and ports", async () => {
    const mine = await json("/containers/one/json");
    const real = golden[0]!;
    const keys = (o: unknown, path: string[]) => keysOf(o, ...path).filter((k) => k !== "ExposedPorts");
    for (const path of INSPECT_PARTS) expect(keys(mine, path), path.join(".")).toEqual(keys(real, path));
    expect(mine["NetworkSettings"]).toMatchObject({
      Gateway: "172.17.0.1",
      IPAddress: "172.17.0.2",
      IPPrefixLen: 16,
      MacAddress: "02:42:ac:11:00:02",
      Ports: {
        "80/tcp": [
          { HostIp: "0.0.0.0", HostPort: "8080" },
          { HostIp: "::", HostPort: "8080" },
        ],
      },
      Networks: { bridge: { IPAMConfig: null, Links: null, Aliases: null, DriverOpts: null } },
    });
    expect(mine["HostConfig"]).toMatchObject({ NetworkMode: "default" });
  });
  it("a stopped container shows no addresses, and its status tells the exit", async () => {
    await d("run", "-d", "--name", "two", "busybox", ...forever);
    await d("stop", "-t", "0", "two");
    const settings = (await json("/containers/two/json"))["NetworkSettings"] as Record<string, unknown>;
    expect([
      settings["IPAddress"],
      settings["Gateway"],
      settings["IPPrefixLen"],
      settings["MacAddress"],
      settings["Ports"],
    ]).toEqual(["", "", 0, "", {}]);
    expect(await d("ps", "-a", "-f", "name=two", "--format", "{{.Status}}")).toMatch(/^Exited \(137\) .* ago$/);
    await d("rm", "two");
  });
  it("ps, port, ls and inspect of networks in the CLI's own words", async () => {
    expect(await d("ps", "--format", "{{.Image}} {{.Command}} {{.Ports}} {{.Names}}")).toBe(
      'busybox "sleep 600" 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp one',
    );
    expect(await d("port", "one", "80")).toBe("0.0.0.0:8080\n[::]:8080");
    expect(await d("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}")).toBe(
      "bridge bridge local\nhost host local\nnone null local",
    );
    const bridge = await json("/networks/bridge");
    expect(Object.keys(bridge).join()).toBe(
      "Name,Id,Created,Scope,Driver,EnableIPv6,IPAM,Internal,Attachable,Ingress,ConfigFrom,ConfigOnly,Containers,Options,Labels",
    );
    expect(Object.values(bridge["Containers"] as object)).toMatchObject([
      { Name: "one", IPv4Address: "172.17.0.2/16", IPv6Address: "" },
    ]);
    expect(await d("ps", "-q", "-f", "label=a=b", "-f", "publish=80", "-f", "network=bridge", "-f", "ancestor=busybox")).toMatch(
      /^[0-9a-f]{12}$/,
    );
    expect(await d("info", "--format", "{{.ServerErrors}} {{.ContainersRunning}} {{index .Plugins.Network 0}}")).toBe(
      "[] 1 bridge",
    );
    expect(await d("system", "df", "--format", "{{.Type}} {{.TotalCount}}")).toContain("Containers 1");
  });
});

describe("streams of the real engine", () => {
  it("run -i: stdin to its end, both outputs, the exit code", async () => {
    const ran = await fed("abc\n", "run", "-i", "--rm", "busybox", "sh", "-c", "cat; echo err >&2; exit 5");
    expect(ran).toEqual({ code: 5, stdout: "abc\n", stderr: "err\n" });
  });
  it("exec -i: stdin to its end; a megabyte through and back", async () => {
    expect(await fed("abc\n", "exec", "-i", "one", "cat")).toEqual({ code: 0, stdout: "abc\n", stderr: "" });
    const big = "0123456789abcdef".repeat(65536);
    const back = await fed(big, "exec", "-i", "one", "cat");
    expect(back.stdout.length).toBe(big.length);
    expect(back.stdout === big).toBe(true);
  });
  it("a terminal: exec -it by a pseudo terminal", async () => {
    const ran = await run("sh", [
      "-c",
      `printf 'echo $((6*7)); tty\\nexit\\n' | script -qec "docker -H unix://${lab.socket} exec -it one sh" /dev/null`,
    ]);
    expect(ran.stdout).toMatch(/42[\s\S]*\/dev\/pts\//);
  });
  it("logs: apart, tail, timestamps, follow until the end", async () => {
    await d("run", "--name", "lg", "busybox", "sh", "-c", "echo to-out; echo to-err >&2");
    expect(await fed("", "logs", "lg")).toMatchObject({ stdout: "to-out\n", stderr: "to-err\n" });
    expect((await fed("", "logs", "-t", "lg")).stdout).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z to-out\n$/);
    expect((await fed("", "logs", "-n", "0", "lg")).stdout).toBe("");
    await d("rm", "lg");
    await d("run", "-d", "--name", "fl", "busybox", "sh", "-c", "echo a; sleep 0.5; echo b");
    expect((await fed("", "logs", "-f", "fl")).stdout).toBe("a\nb\n");
    await d("rm", "-f", "fl");
  });
  it("events of a run, in order, while they happen", async () => {
    const watcher = execFile("docker", ["-H", `unix://${lab.socket}`, "events", "-f", "container=ev", "--format", "{{.Action}}"]);
    let seen = "";
    watcher.stdout?.on("data", (t: string) => {
      seen += t;
    });
    await sleep(300);
    await d("run", "--rm", "--name", "ev", "busybox", "true");
    await until("destroy is seen", () => seen.includes("destroy"));
    watcher.kill();
    const order = seen
      .trim()
      .split("\n")
      .filter((a) => ["create", "start", "die", "destroy"].includes(a));
    expect(order).toEqual(["create", "start", "die", "destroy"]);
  });
  it("stats and top", async () => {
    expect(await d("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "one")).toBe("one 1");
    expect(await d("top", "one")).toContain("sleep 600");
  });
  it("cp there and back, diff", async () => {
    const dir = join(lab.directory, "cp");
    mkdirSync(dir, { recursive: true });
    writeFileSync(join(dir, "in"), "hello");
    await d("cp", join(dir, "in"), "one:/tmp/in");
    await d("cp", "one:/tmp/in", join(dir, "out"));
    expect(readFileSync(join(dir, "out"), "utf8")).toBe("hello");
    expect(await d("diff", "one")).toContain("A /tmp/in");
    expect((await fed("", "cp", "one:/nosuch", dir)).stderr).toMatch(/Could not find the file \/nosuch in container/);
  });
});

describe("dockerode on the real engine", () => {
  const client = () => new Docker({ socketPath: lab.socket });
  it("create, attach, start, wait, logs, remove", async () => {
    const docker = client();
    const container = await docker.createContainer({
      Image: "busybox",
      Cmd: ["sh", "-c", "read x; echo got $x; exit 9"],
      OpenStdin: true,
      StdinOnce: true,
      AttachStdin: true,
    });
    const stream = await container.attach({ stream: true, stdin: true, stdout: true, stderr: true, hijack: true });
    const got: Buffer[] = [];
    stream.on("data", (c: Buffer) => got.push(c));
    const waiting = container.wait({ condition: "next-exit" });
    await container.start();
    stream.write("it\n");
    await once(stream, "end");
    expect(await waiting).toMatchObject({ StatusCode: 9 });
    expect(Buffer.concat(got).subarray(8).toString()).toBe("got it\n");
    expect(((await container.logs({ stdout: true })) as Buffer).subarray(8).toString()).toBe("got it\n");
    await container.remove();
    await expect(container.inspect()).rejects.toMatchObject({ statusCode: 404 });
  });
  it("networks: create, connect by alias, inspect, prune", async () => {
    const docker = client();
    const network = await docker.createNetwork({ Name: "dn", Labels: { x: "y" } });
    await network.connect({ Container: "one", EndpointConfig: { Aliases: ["first"] } });
    const inspected = (await network.inspect()) as { Containers: object; Labels: object };
    expect(Object.values(inspected.Containers)).toMatchObject([{ Name: "one" }]);
    const aliases = (
      (await json("/containers/one/json"))["NetworkSettings"] as { Networks: Record<string, { Aliases: string[] }> }
    ).Networks["dn"]?.Aliases;
    expect(aliases?.[0]).toBe("first");
    expect(aliases?.[1]).toMatch(/^[0-9a-f]{12}$/);
    expect(await docker.pruneNetworks()).toEqual({ NetworksDeleted: null });
    await network.disconnect({ Container: "one" });
    expect(await docker.pruneNetworks()).toEqual({ NetworksDeleted: ["dn"] });
  });
});

describe("beyond Docker", () => {
  it("linkspan port changes what a running container publishes", async () => {
    expect((await linkspan("port", "one")).stdout).toBe("80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n");
    const changed = await linkspan("port", "one", "-p", "127.0.0.1:9090:80", "--allow", "192.168.77.0/24");
    expect(changed).toMatchObject({ code: 0, stdout: "80/tcp -> 127.0.0.1:9090\n" });
    expect(await d("port", "one")).toBe("80/tcp -> 127.0.0.1:9090");
    expect(await linkspan("port", "one", "--clear")).toMatchObject({ code: 0, stdout: "" });
  });
  it("linkspan explain, verify, version", async () => {
    expect((await linkspan("explain", "one")).stdout).toMatch(/ip (netns|link) add/);
    expect(await linkspan("verify")).toMatchObject({ code: 0, stdout: "all is as it should be\n" });
    expect((await linkspan("version")).stdout).toMatch(/API version: +1\.50/);
    expect(await linkspan("node", "ls")).toMatchObject({ code: 1, stderr: expect.stringContaining("not part of a cluster") });
  });
});
