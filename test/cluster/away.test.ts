import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../lib/run.js";
import { ip } from "../lib/space.js";
import { type ClusterHost, ClusterLab } from "./lab.js";

// Death and return: of etcd, of engines, of a whole host. Read from top to bottom: the tests tell one story.

let lab: ClusterLab;
let [a, b, c]: ClusterHost[] = [];

beforeAll(async () => {
  lab = await ClusterLab.open(3);
  [a, b, c] = lab.hosts as [ClusterHost, ClusterHost, ClusterHost];
  await a.network("demo", { IPAM: { Config: [{ Subnet: "10.9.0.0/24" }] } });
  await a.network("net", { Driver: "routed" });
  for (const [host, name] of [
    [a, "one"],
    [b, "two"],
    [c, "three"],
  ] as const) {
    await host.run(name, { network: "demo" });
    await host.must("POST", "/networks/net/connect", { Container: name });
  }
}, 90_000);
afterAll(() => lab?.close(), 60_000);

const pings = async (host: ClusterHost, from: string, target: string) =>
  (await host.engine.docker(["exec", from, "ping", "-c1", "-W1", target])).code === 0;
const nodes = async (host: ClusterHost) =>
  (
    (await host.must("GET", "/linkspan/nodes")) as {
      Nodes: { Name: string; Status: string; Address: string; Endpoints: number }[];
    }
  ).Nodes;
const status = async (host: ClusterHost, name: string) => (await nodes(host)).find((n) => n.Name === name)?.Status;

describe("while etcd is away", () => {
  test("an engine that is killed and starts again takes its containers over, with their names and ways to others", async () => {
    await lab.killStore();
    expect(await pings(a!, "one", "two")).toBe(true);
    await b!.engine.kill();
    await b!.engine.start();
    expect(await pings(b!, "two", "one")).toBe(true);
    expect(await pings(b!, "two", "three")).toBe(true);
    expect(await pings(a!, "one", await b!.address4("two", "net"))).toBe(true);
    expect((await b!.engine.api("GET", "/networks/demo")).status).toBe(200);
  }, 60_000);

  test("a restart policy waits for it", async () => {
    await lab.startStore();
    await a!.must("POST", "/containers/create?name=steady", {
      Image: "busybox",
      Cmd: ["sleep", "100000"],
      HostConfig: { NetworkMode: "demo", RestartPolicy: { Name: "always" } },
    });
    expect(await eventually(() => a!.start("steady").then(() => true), 20_000)).toBe(true);
    await lab.killStore();
    await a!.engine.powerLoss();
    await a!.engine.start();
    await lab.startStore();
    expect(await eventually(async () => (await a!.inspect("steady")).State.Status === "running", 20_000)).toBe(true);
    await a!.remove("steady");
    await a!.engine.api("POST", "/containers/one/start");
    await lab.killStore();
  }, 90_000);

  test("what needs the cluster is refused, what does not goes on, and nothing of a refusal remains", async () => {
    await expect(b!.run("late", { network: "demo" })).rejects.toThrow(/500 .*etcd cluster is unavailable/);
    await expect(a!.network("more")).rejects.toThrow(/500 .*etcd cluster is unavailable/);
    await b!.run("local", { network: "bridge" });
    await b!.must("POST", "/networks/net/disconnect", { Container: "two" });
    await b!.remove("local");
    await b!.remove("late");
  }, 30_000);

  test("and when it is back all hosts know what was done meanwhile", async () => {
    await lab.startStore();
    await a!.create("again", { network: "demo" });
    const started = async () => {
      await a!.start("again");
      return true;
    };
    expect(await eventually(started, 20_000)).toBe(true);
    expect(
      await eventually(
        async () => [...(await lab.stored()).keys()].filter((key) => key.includes("/endpoint/")).length === 6,
        10_000,
      ),
    ).toBe(true);
    await a!.remove("again");
    for (const host of lab.hosts) expect(await eventually(async () => (await host.differences()).length === 0)).toBe(true);
  }, 60_000);
});

describe("a container of another host", () => {
  test("is taken out of a network by force, from anywhere", async () => {
    const { Id } = await b!.inspect("two");
    await a!.must("POST", "/networks/demo/disconnect", { Container: Id, Force: true });
    expect(await eventually(async () => !Object.hasOwn((await b!.inspect("two")).NetworkSettings.Networks, "demo"))).toBe(true);
    expect(
      await eventually(
        async () => ![...(await lab.stored())].some(([key, value]) => key.includes("/endpoint/") && value.includes('"two"')),
      ),
    ).toBe(true);
    await b!.must("POST", "/networks/demo/connect", { Container: "two" });
    expect(await eventually(() => pings(a!, "one", "two"))).toBe(true);
  }, 30_000);
});

describe("a host that dies", () => {
  test("is away when its lease has ended; its names and addresses stay", async () => {
    expect((await nodes(a!)).map((n) => `${n.Name} ${n.Status} ${n.Endpoints}`).sort()).toEqual([
      "host1 alive 2",
      "host2 alive 1",
      "host3 alive 2",
    ]);
    await c!.engine.powerLoss();
    expect(await eventually(async () => (await status(a!, "host3")) === "away", 30_000)).toBe(true);
    const address = (await lab.stored()).get([...(await lab.stored()).keys()].find((key) => /\/name\/.*\/three$/.test(key))!);
    expect(address).toBeDefined();
    await expect(a!.run("three", { network: "demo" })).rejects.toThrow(/name three already exists/);
    await a!.remove("three");
    expect((await a!.engine.docker(["exec", "one", "nslookup", "three"])).stdout).toMatch(/10\.9\.0\.\d+/);
    const gone = await b!.engine.api("DELETE", "/linkspan/nodes/host2");
    expect(gone.status).toBe(409);
  }, 60_000);

  test("returns under another address and is found there", async () => {
    await ip("-n", c!.space.name, "addr", "flush", "dev", "eth0");
    await ip("-n", c!.space.name, "addr", "add", "192.168.205.33/24", "dev", "eth0");
    await ip("-n", c!.space.name, "route", "replace", "default", "via", "192.168.205.1");
    await c!.engine.start("--cluster-advertise=192.168.205.33:2375");
    expect(
      await eventually(async () => (await nodes(a!)).some((n) => n.Address === "192.168.205.33" && n.Status === "alive"), 10_000),
    ).toBe(true);
    expect((await nodes(a!)).length).toBe(3);
    // No restart policy: its containers ended with the host, and what they had is free.
    await c!.start("three");
    for (const [host, from] of [
      [a!, "one"],
      [b!, "two"],
    ] as const)
      expect(await eventually(() => pings(host, from, "three"), 10_000)).toBe(true);
    expect(await eventually(async () => await pings(a!, "one", await c!.address4("three", "net")), 5_000)).toBe(true);
    for (const host of lab.hosts) expect(await host.differences()).toEqual([]);
  }, 60_000);

  test("is forgotten with all that it had when a person says so, and may still return", async () => {
    await c!.engine.kill();
    expect(await eventually(async () => (await status(a!, "host3")) === "away", 30_000)).toBe(true);
    await a!.must("DELETE", "/linkspan/nodes/host3");
    expect(await eventually(async () => (await nodes(b!)).length === 2)).toBe(true);
    expect([...(await lab.stored()).keys()].filter((key) => /\/name\/.*\/three$/.test(key))).toEqual([]);
    expect(await pings(a!, "one", "three")).toBe(false);
    await c!.engine.start("--cluster-advertise=192.168.205.33:2375");
    expect(await eventually(() => pings(a!, "one", "three"), 10_000)).toBe(true);
    expect(await eventually(async () => pings(a!, "one", await c!.address4("three", "net")), 5_000)).toBe(true);
    for (const host of lab.hosts) expect(await host.differences()).toEqual([]);
  }, 60_000);
});
