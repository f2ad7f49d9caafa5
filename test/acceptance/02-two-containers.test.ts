import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks } from "../lib/checks.js";
import { Lab } from "../lib/lab.js";
import { eventually, sleep } from "../lib/run.js";

let lab: Lab;
const ids: Record<string, string> = {};
const short = (name: string) => ids[name]!.slice(0, 12);

beforeAll(async () => {
  lab = await Lab.open();
});
afterAll(() => lab?.close());

describe("docker run -d", () => {
  it("prints the id", async () => {
    ids["test01"] = await lab.start("test01", "busybox", ...Lab.idle);
    expect(ids["test01"]).toMatch(/^[0-9a-f]{64}$/);
  });
  it("shows the container in docker ps, the command shortened", async () => {
    const table = await lab.out("ps");
    expect(table).toMatch(/^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES$/m);
    expect(table).toMatch(new RegExp(`^${short("test01")} +busybox +"/bin/sh -c 'while t…" +.* ago +Up .* +test01$`, "m"));
  });
  it("puts the newest first", async () => {
    ids["test02"] = await lab.start("test02", "busybox", ...Lab.idle);
    expect(await lab.out("ps", "--format", "{{.Names}}")).toBe("test02\ntest01");
  });
});

describe.each([
  { name: "test01", n: 2 },
  { name: "test02", n: 3 },
])("$name has the address 172.17.0.$n", ({ name, n }) => {
  let addresses: string;
  let routes: string;
  let port: string;
  beforeAll(async () => {
    addresses = await lab.inside(short(name), "ip", "a");
    routes = await lab.inside(name, "ip", "route");
    port = await lab.hostPort(name);
  });
  checks(
    ["two links", () => [...addresses.matchAll(/^\d+: ([^@:]+)/gm)].map((match) => match[1]), ["lo", "eth0"]],
    ["lo with its address", () => addresses, /inet 127\.0\.0\.1\/8 scope host lo/],
    [
      "eth0 up, and a peer elsewhere",
      () => addresses,
      /^\d+: eth0@if\d+: <BROADCAST,MULTICAST,UP,LOWER_UP,M-DOWN> mtu 1500 qdisc noqueue/m,
    ],
    ["a MAC made of the address", () => addresses, new RegExp(`link/ether 02:42:ac:11:00:0${n} brd ff:ff:ff:ff:ff:ff`)],
    ["the address, with broadcast", () => addresses, new RegExp(`inet 172.17.0.${n}/16 brd 172.17.255.255 scope global eth0`)],
    ["no IPv6 on a network without it", () => addresses.includes("inet6"), false],
    ["a default route and the connected one, no others", () => routes.trim().split("\n").length, 2],
    ["default via docker0", () => routes, /^default via 172\.17\.0\.1 dev eth0/m],
    [
      "the connected route with its source",
      () => routes,
      new RegExp(`^172.17.0.0/16 dev eth0 scope link +src 172.17.0.${n}`, "m"),
    ],
    ["the same for route(8)", () => lab.inside(name, "route"), /^default +172\.17\.0\.1 +0\.0\.0\.0 +UG +0 +0 +0 eth0/m],
    [
      "and for ifconfig(8)",
      () => lab.inside(name, "ifconfig", "eth0"),
      new RegExp(`inet addr:172.17.0.${n} +Bcast:172.17.255.255 +Mask:255.255.0.0`),
    ],
    ["ifconfig shows the MAC", () => lab.inside(name, "ifconfig", "eth0"), new RegExp(`HWaddr 02:42:AC:11:00:0${n}`)],
    ["the short id as host name", () => lab.inside(name, "hostname"), () => short(name)],
    [
      "itself in /etc/hosts",
      () => lab.inside(name, "cat", "/etc/hosts"),
      () => new RegExp(`^172.17.0.${n}\\s+${short(name)}$`, "m"),
    ],
    ["localhost in /etc/hosts", () => lab.inside(name, "cat", "/etc/hosts"), /^127\.0\.0\.1\tlocalhost$/m],
    [
      "no resolver of ours: the default bridge has no names",
      async () => (await lab.inside(name, "cat", "/etc/resolv.conf")).includes("127.0.0.11"),
      false,
    ],
    [
      "the peer is a veth on docker0, up",
      async () => lab.host.out(`ip -o link show ${port}`),
      /^\d+: veth[0-9a-f]{7}@if\d+: .*master docker0 state UP/,
    ],
    ["the peer names the other namespace", async () => lab.host.out(`ip -o link show ${port}`), /link-netns/],
    ["the peer has no address", async () => lab.host.out(`ip -4 addr show ${port}`), ""],
  );
  it("both ends point at each other", async () => {
    const [index, peer] = (await lab.inside(name, "cat", "/sys/class/net/eth0/ifindex", "/sys/class/net/eth0/iflink")).split(
      "\n",
    );
    expect(await lab.host.out(`ip -o link show ${port}`)).toMatch(new RegExp(`^${peer}: ${port}@if${index}: `));
  });
});

describe("docker0 with two ports", () => {
  checks(
    [
      "brctl shows both",
      async () => [...(await lab.host.out("brctl show docker0")).matchAll(/veth[0-9a-f]{7}$/gm)].map(String).sort(),
      async () => [await lab.hostPort("test01"), await lab.hostPort("test02")].sort(),
    ],
    ["it is up", () => lab.host.out("ip link show docker0"), /<BROADCAST,MULTICAST,UP,LOWER_UP>.* state UP/],
    [
      "its MAC is its bridge id: it does not follow the ports",
      async () => /8000\.([0-9a-f]{12})/.exec(await lab.host.out("brctl show docker0"))![1],
      async () => /ether (\S+)/.exec(await lab.host.out("ip link show docker0"))![1]!.replaceAll(":", ""),
    ],
    [
      "the forwarding table knows test01's MAC",
      () => lab.host.out("bridge fdb show br docker0"),
      async () => new RegExp(`^02:42:ac:11:00:02 dev ${await lab.hostPort("test01")} `, "m"),
    ],
    [
      "the forwarding table knows test02's MAC",
      () => lab.host.out("bridge fdb show br docker0"),
      async () => new RegExp(`^02:42:ac:11:00:03 dev ${await lab.hostPort("test02")} `, "m"),
    ],
  );
});

describe("docker inspect", () => {
  it("of the network shows both containers", async () => {
    const { Containers } = await lab.inspectNetwork("bridge");
    const row = (name: string, n: number) => ({
      Name: name,
      EndpointID: expect.stringMatching(/^[0-9a-f]{64}$/),
      MacAddress: `02:42:ac:11:00:0${n}`,
      IPv4Address: `172.17.0.${n}/16`,
      IPv6Address: "",
    });
    expect(Containers).toEqual({ [ids["test01"]!]: row("test01", 2), [ids["test02"]!]: row("test02", 3) });
  });
  it("of network and container agree on the endpoint", async () => {
    const endpoint = (await lab.inspectNetwork("bridge")).Containers![ids["test01"]!]!.EndpointID;
    expect(await lab.out("inspect", "-f", "{{.NetworkSettings.EndpointID}}", "test01")).toBe(endpoint);
  });
  checks(
    ["the address by template", () => lab.out("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "test01"), "172.17.0.2"],
    [
      "the old, flat settings",
      async () => (await lab.inspect("test01")).NetworkSettings,
      expect.objectContaining({
        Gateway: "172.17.0.1",
        IPAddress: "172.17.0.2",
        IPPrefixLen: 16,
        MacAddress: "02:42:ac:11:00:02",
        Ports: {},
      }),
    ],
    [
      "the settings per network",
      async () => (await lab.inspect("test01")).NetworkSettings.Networks["bridge"],
      async () =>
        expect.objectContaining({
          Gateway: "172.17.0.1",
          IPAddress: "172.17.0.2",
          IPPrefixLen: 16,
          MacAddress: "02:42:ac:11:00:02",
          IPAMConfig: null,
          Links: null,
          Aliases: null,
          NetworkID: await lab.out("network", "inspect", "-f", "{{.Id}}", "bridge"),
        }),
    ],
    ["the mode that was not named", async () => (await lab.inspect("test01")).HostConfig.NetworkMode, /^(default|bridge)$/],
  );
});

describe("the two reach each other", () => {
  checks(
    [
      "test01 pings test02",
      () => lab.inside("test01", "ping", "-c1", "-W2", "172.17.0.3"),
      /64 bytes from 172\.17\.0\.3: seq=0 ttl=64/,
    ],
    [
      "test02 pings test01",
      () => lab.inside("test02", "ping", "-c1", "-W2", "172.17.0.2"),
      /64 bytes from 172\.17\.0\.2: seq=0 ttl=64/,
    ],
    [
      "arp knows the other's MAC",
      () => lab.inside("test01", "arp", "-n"),
      /\(172\.17\.0\.3\) at 02:42:ac:11:00:03 \[ether\] +on eth0/,
    ],
    ["ip neigh too", () => lab.inside("test01", "ip", "neigh"), /172\.17\.0\.3 dev eth0 lladdr 02:42:ac:11:00:03/],
    ["but not by name", async () => (await lab.exec("test01", "ping", "-c1", "-W1", "test02")).both, /bad address 'test02'/],
  );
});

describe("the path of a ping, watched on the ports of docker0", () => {
  const seen: Record<string, string> = {};

  beforeAll(async () => {
    await lab.sleeper("bystander");
    const ports = { test02: await lab.hostPort("test02"), bystander: await lab.hostPort("bystander") };
    const watchers = Object.entries(ports).map(([name, port]) => {
      const watcher = lab.host.spawn("tcpdump", ["-lnni", port, "arp or icmp"]);
      seen[name] = "";
      watcher.stdout.setEncoding("utf8").on("data", (text: string) => {
        seen[name] += text;
      });
      const listening = new Promise<void>((ready) =>
        watcher.stderr.on("data", (text: Buffer) => text.includes("listening on") && ready()),
      );
      return { watcher, listening };
    });
    await Promise.all(watchers.map((each) => each.listening));
    for (const name of ["test01", "test02"]) await lab.hostToolIn(name, "ip", "neigh", "flush", "dev", "eth0");
    await lab.inside("test01", "ping", "-c2", "-W2", "172.17.0.3");
    await eventually(async () => seen["test02"]!.includes("ICMP echo reply"));
    await sleep(200);
    for (const { watcher } of watchers) watcher.kill();
    await lab.docker("rm", "-f", "bystander");
  });
  checks(
    [
      "the ARP request reaches the one who is asked for",
      () => seen["test02"],
      /Request who-has 172\.17\.0\.3 tell 172\.17\.0\.2/,
    ],
    ["and everyone else: it is a broadcast", () => seen["bystander"], /Request who-has 172\.17\.0\.3 tell 172\.17\.0\.2/],
    ["the answer carries the MAC", () => seen["test02"], /Reply 172\.17\.0\.3 is-at 02:42:ac:11:00:03/],
    ["the echo request goes to its port", () => seen["test02"], /ICMP echo request/],
    ["and to no other", () => seen["bystander"]!.includes("ICMP echo request"), false],
  );
});

describe("host and outside", () => {
  checks(
    ["the host reaches the container", () => lab.host.pings("172.17.0.2"), true],
    ["the host learned its MAC", () => lab.host.out("ip neigh"), /172\.17\.0\.2 dev docker0 lladdr 02:42:ac:11:00:02/],
    ["the container reaches its gateway", () => lab.pings("test01", "172.17.0.1"), true],
    ["the container reaches the host's own address", () => lab.pings("test01", lab.host.ip), true],
    [
      "the container reaches the outside, one hop further",
      () => lab.inside("test01", "ping", "-c1", "-W2", lab.outside.ip),
      /ttl=63/,
    ],
    [
      "the outside sees the host's address",
      () => lab.fetchFrom("test01", `http://${lab.outside.ip}:8080/`),
      () => new RegExp(`^peer=${lab.host.ip}:\\d+$`),
    ],
    [
      "by the default route too",
      () => lab.fetchFrom("test01", `http://${lab.internet.ip}:8080/`),
      () => new RegExp(`^peer=${lab.host.ip}:\\d+$`),
    ],
    ["the container pings the internet", () => lab.pings("test01", lab.internet.ip), true],
    [
      "connection tracking shows the translation",
      () => lab.host.out("conntrack -L -p tcp"),
      () => new RegExp(`src=172.17.0.2 dst=${lab.outside.ip} .*src=${lab.outside.ip} dst=${lab.host.ip}`),
    ],
    ["the outside has no way to the container", () => lab.outside.pings("172.17.0.2", 1), false],
    [
      "an address that is nowhere does not answer",
      async () => (await lab.exec("test01", "ping", "-c1", "-W1", "203.0.113.9")).both,
      /100% packet loss|unreachable/,
    ],
  );
});
