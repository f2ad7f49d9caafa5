import { readdirSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { EngineSide } from "./engine-side.js";
import { bridgeNetwork, HOST6, Lab } from "./lab.js";

const lab = new Lab("r");
const net = bridgeNetwork("a", "lsta", 17, { ipv6: false });
const ID = "a".repeat(64);
const PREFIX = `driver failed programming external connectivity on endpoint hp (${ID}): `;
const pair = (port: number, hostIps = ["0.0.0.0", "::"], proto = "tcp") =>
  hostIps.map((hostIp) => ({ proto, hostIp, hostPort: port, containerPort: 80 }));
const request = (first: number, last = first) => ({ proto: "tcp", containerPort: 80, hostIps: ["0.0.0.0", "::"], first, last });
let engine: EngineSide;
let target: { ipv4?: string };

beforeAll(async () => {
  lab.addHost();
  lab.addBridge(net);
  const web = lab.addContainer(net, "web", 2);
  target = { ipv4: web.endpoint.ipv4! };
  await lab.start(web.ns, "python3", "test/firewall/server.py", "web", "80");
  engine = await EngineSide.start(lab.host);
});
afterEach(() => engine.ask({ op: "release", id: ID }));
afterAll(async () => {
  await engine?.stop();
  lab.close();
});

const reserve = (mappings: unknown, name = "hp", id = ID) => engine.ask({ op: "reserve", id, name, mappings, target });
const probe = (ns: string, ...targets: [string, string, number][]) =>
  JSON.parse(lab.exec(ns, "python3", "test/firewall/probe.py", JSON.stringify(targets))) as (string | null)[];

describe("reserved host ports", () => {
  it("conflict with a host's process in Docker's words", async () => {
    const holder = await lab.start(lab.host, "python3", "test/firewall/server.py", "host", "9999");
    expect(await reserve(pair(9999))).toEqual({
      error: `${PREFIX}Error starting userland proxy: listen tcp4 0.0.0.0:9999: bind: address already in use`,
      status: 500,
    });
    expect(await reserve([...pair(9998), ...pair(9999, ["127.0.0.1"], "udp")])).toMatchObject({
      error: `${PREFIX}Error starting userland proxy: listen udp4 127.0.0.1:9999: bind: address already in use`,
    });
    // In the middle of a run: the port is named, and the others are free again.
    const run = pair(9900).map((m) => ({ ...m, count: 200 }));
    expect(await reserve(run)).toMatchObject({
      error: `${PREFIX}Error starting userland proxy: listen tcp4 0.0.0.0:9999: bind: address already in use`,
    });
    // Nothing of a refused set stays.
    expect(await reserve(pair(9998))).toMatchObject({ value: null });
    holder.removeAllListeners("exit");
    holder.kill("SIGKILL");
  });

  it("cannot be on an address that the host has not", async () => {
    expect(await reserve(pair(99, ["1.2.3.4"]))).toMatchObject({
      error: `${PREFIX}Error starting userland proxy: listen tcp4 1.2.3.4:99: bind: cannot assign requested address`,
      status: 500,
    });
    expect(await reserve(pair(99, ["fd00::99"]))).toMatchObject({
      error: `${PREFIX}Error starting userland proxy: listen tcp6 [fd00::99]:99: bind: cannot assign requested address`,
    });
  });

  it("conflict with each other, and are free again after release", async () => {
    expect(await reserve(pair(80))).toMatchObject({ value: null });
    expect(await reserve(pair(80), "web2", "b".repeat(64))).toEqual({
      error: `driver failed programming external connectivity on endpoint web2 (${"b".repeat(64)}): Bind for 0.0.0.0:80 failed: port is already allocated`,
      status: 500,
    });
    expect(await reserve(pair(80, ["127.0.0.1"]), "web3", "c".repeat(64))).toMatchObject({
      error: expect.stringContaining("listen tcp4 127.0.0.1:80: bind: address already in use"),
    });
    await engine.ask({ op: "release", id: ID });
    expect(await reserve(pair(80))).toMatchObject({ value: null });
  });

  it("cannot be stolen by a process of the host, and survive old connections", async () => {
    expect(await reserve([...pair(81), ...pair(82, undefined, "udp")])).toMatchObject({ value: null });
    expect(lab.try(lab.host, "python3", "test/firewall/server.py", "thief", "81")).toBe(false);
    expect(lab.try(lab.host, "python3", "test/firewall/server.py", "thief", "82")).toBe(false);
    // A connection whose TIME_WAIT is on the engine's side.
    expect(probe(lab.host, ["tcp", "::1", 81])).toEqual(["web 172.17.0.1"]);
    await engine.ask({ op: "release", id: ID });
    expect(await reserve(pair(81))).toMatchObject({ value: null });
  });

  it("a random or range port goes past the host's own", async () => {
    const holder = await lab.start(lab.host, "python3", "test/firewall/server.py", "host", "32768", "8000");
    const ask = (requests: unknown) => engine.ask({ op: "allocate", id: ID, name: "hp", requests, target, start: 0 });
    expect((await ask([request(0)])).value?.map((m) => m.hostPort)).toEqual([32769, 32769]);
    expect((await ask([request(8000, 8002)])).value?.map((m) => m.hostPort)).toEqual([8001, 8001]);
    expect((await ask([request(8000)])).error).toContain("listen tcp4 0.0.0.0:8000: bind: address already in use");
    holder.removeAllListeners("exit");
    holder.kill("SIGKILL");
  });

  it("relay what the kernel cannot translate: ::1, and IPv6 clients of a container without it", async () => {
    expect(await reserve([...pair(8080), ...pair(8080, undefined, "udp")])).toMatchObject({ value: null });
    const targets: [string, string, number][] = [
      ["tcp", "::1", 8080],
      ["udp", "::1", 8080],
      ["udp", "::1", 8080],
    ];
    expect(probe(lab.host, ...targets)).toEqual(["web 172.17.0.1", "web 172.17.0.1", "web 172.17.0.1"]);
    expect(probe(lab.outside, ["tcp", HOST6, 8080], ["udp", HOST6, 8080])).toEqual(["web 172.17.0.1", "web 172.17.0.1"]);
    await engine.ask({ op: "release", id: ID });
    expect(probe(lab.host, ...targets)).toEqual([null, null, null]);
  });

  it("relay only for whom the list names, and for the host", async () => {
    const mappings = pair(8080).map((m) => ({ ...m, allow: ["fd00:206::/32", "10.0.0.0/8"] }));
    expect(await reserve(mappings)).toMatchObject({ value: null });
    expect(probe(lab.outside, ["tcp", HOST6, 8080])).toEqual([null]);
    expect(probe(lab.host, ["tcp", "::1", 8080])).toEqual(["web 172.17.0.1"]);
  });

  it("work on a host without IPv6", async () => {
    lab.exec(lab.host, "sysctl", "-qw", "net.ipv6.conf.lo.disable_ipv6=1");
    expect(await reserve([...pair(8080), ...pair(8081, ["::"])])).toMatchObject({ value: null });
    lab.exec(lab.host, "sysctl", "-qw", "net.ipv6.conf.lo.disable_ipv6=0");
  });

  it("ten thousand: fast, one descriptor each, and no process", async () => {
    const engineOf = (pid: number) => readdirSync(`/proc/${pid}/fd`).length;
    const before = engineOf(engine.pid);
    const many = Array.from({ length: 10_000 }, (_, i) => pair(20_000 + i)).flat();
    const answer = await reserve(many);
    console.log(`reserve 10,000 ports: ${answer.ms?.toFixed(0)} ms, CPU ${answer.cpuMs?.toFixed(0)} ms`);
    expect(answer).toMatchObject({ value: null });
    // About 100 ms on an idle machine; CPU time doubles when the other hardware threads are busy.
    expect(answer.cpuMs).toBeLessThan(2000);
    expect(engineOf(engine.pid) - before).toBe(10_000);
    const released = await engine.ask({ op: "release", id: ID });
    console.log(`release 10,000 ports: ${released.ms?.toFixed(0)} ms, CPU ${released.cpuMs?.toFixed(0)} ms`);
    expect(engineOf(engine.pid)).toBe(before);
  });
});
