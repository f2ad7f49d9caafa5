import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ClusterHost, ClusterLab } from "../cluster/lab.js";
import { checks } from "../lib/checks.js";
import { eventually } from "../lib/run.js";
import type { Space } from "../lib/space.js";

// The two-host text: an overlay with etcd, containers on both hosts, the way of a packet, the outside. One story, from top to bottom.

let lab: ClusterLab;
let one: ClusterHost;
let two: ClusterHost;
let outside: Space;
let id: string;
const loop = ["sh", "-c", "while true; do sleep 3600; done"];
const d1 = (...args: string[]) => one.engine.out(...args);
const d2 = (...args: string[]) => two.engine.out(...args);
const stored = async (kind: string) => [...(await lab.stored())].filter(([key]) => key.startsWith(`/docker/${kind}/`));
const members = async (host: ClusterHost) => {
  const [network] = JSON.parse(await host.engine.out("network", "inspect", "demo")) as [
    { Containers: Record<string, { Name: string }> },
  ];
  return Object.values(network.Containers)
    .map((c) => c.Name)
    .sort();
};

beforeAll(async () => {
  lab = await ClusterLab.open(2);
  [one, two] = lab.hosts as [ClusterHost, ClusterHost];
  outside = await lab.topology.host("out", 20);
}, 60_000);
afterAll(() => lab?.close(), 60_000);

describe("docker network create -d overlay demo", () => {
  beforeAll(async () => {
    id = await d1("network", "create", "-d", "overlay", "demo");
    await eventually(async () => (await two.engine.docker(["network", "inspect", "demo"])).code === 0);
  });
  checks(
    ["prints an id", async () => id, /^[0-9a-f]{64}$/],
    [
      "both hosts are known in the store",
      async () => (await stored("nodes")).map(([key]) => key).sort(),
      ["/docker/nodes/192.168.205.10:2375", "/docker/nodes/192.168.205.11:2375"],
    ],
    [
      "is there on the other host, global",
      () => d2("network", "ls", "--filter", "name=demo", "--format", "{{.ID}} {{.Driver}} {{.Scope}}"),
      /^[0-9a-f]{12} overlay global$/,
    ],
    [
      "has the first subnet of 10/8",
      () => d2("network", "inspect", "-f", "{{json .IPAM.Config}}", "demo"),
      '[{"Subnet":"10.0.0.0/24","Gateway":"10.0.0.1"}]',
    ],
    [
      "is one key in the store",
      async () => (await stored("network/v1.0/network")).map(([key]) => key),
      () => [`/docker/network/v1.0/network/${id}`],
    ],
    [
      "whose value has the known fields",
      async () => {
        const v = JSON.parse((await stored("network/v1.0/network"))[0]![1]) as Record<string, unknown>;
        return [v["addrSpace"], v["name"], v["networkType"], v["scope"], v["ipamType"], v["persist"], v["inDelete"]];
      },
      ["GlobalDefault", "demo", "overlay", "global", "default", true, false],
    ],
    [
      "makes nothing on a host without a container",
      () => one.space.out("ip -o link").then((t) => /docker_gwbridge|vxlan/.test(t)),
      false,
    ],
  );
});

describe("a container on each host", () => {
  beforeAll(async () => {
    await d1("run", "-d", "--name", "test1", "--net", "demo", "busybox", ...loop);
    await d2("run", "-d", "--name", "test2", "--net", "demo", "busybox", ...loop);
  }, 30_000);
  checks(
    [
      "eth0 is on the overlay",
      () => d1("exec", "test1", "ifconfig", "eth0"),
      /02:42:0A:00:00:02[\s\S]*inet addr:10\.0\.0\.2 +Bcast:10\.0\.0\.255 +Mask:255\.255\.255\.0[\s\S]*MTU:1450/,
    ],
    [
      "eth1 is the way out",
      () => d1("exec", "test1", "ifconfig", "eth1"),
      /inet addr:172\.18\.0\.2 +Bcast:172\.18\.255\.255 +Mask:255\.255\.0\.0[\s\S]*MTU:1500/,
    ],
    ["with the default route", () => d1("exec", "test1", "ip", "route"), /^default via 172\.18\.0\.1 dev eth1/],
    [
      "docker_gwbridge is a network of the host",
      () => d1("network", "ls", "--filter", "name=docker_gwbridge", "--format", "{{.Driver}} {{.Scope}}"),
      "bridge local",
    ],
    ["the other host counts on", () => d2("exec", "test2", "ip", "-4", "-o", "addr", "show", "eth0"), /10\.0\.0\.3\/24/],
    [
      "the first ping is not lost",
      () => d1("exec", "test1", "ping", "-c3", "-W2", "10.0.0.3").then((t) => t.match(/bytes from/g)?.length),
      3,
    ],
    ["by name", () => d1("exec", "test1", "ping", "-c1", "-W2", "test2"), /PING test2 \(10\.0\.0\.3\)[\s\S]*ttl=64/],
    ["and back", () => d2("exec", "test2", "ping", "-c1", "-W2", "test1"), /PING test1 \(10\.0\.0\.2\)/],
    ["the address has a name", () => d1("exec", "test1", "nslookup", "10.0.0.3"), /test2\.demo/],
    ["full-size packets pass", () => d1("exec", "test1", "ping", "-c1", "-W2", "-s", "1422", "10.0.0.3"), /1430 bytes from/],
    [
      "the hosts file ends with the overlay's address",
      () => d1("exec", "test1", "tail", "-1", "/etc/hosts"),
      /^10\.0\.0\.2\t[0-9a-f]{12}$/,
    ],
    [
      "inspect shows both, on either host",
      async () => [await members(one), await members(two)],
      [
        ["test1", "test2"],
        ["test1", "test2"],
      ],
    ],
    ["the host itself is not on the overlay", () => one.space.pings("10.0.0.2", 1), false],
  );

  it("a name is taken on all hosts", async () => {
    const ran = await two.engine.docker(["run", "-d", "--name", "test1", "--net", "demo", "busybox", ...loop]);
    expect(ran.code).toBe(125);
    expect(ran.both).toMatch(/endpoint with name test1 already exists/);
    await d2("rm", "test1");
  });

  it("packets travel as VXLAN between the hosts", async () => {
    const capture = one.space.run("timeout", ["3", "tcpdump", "-lnni", "eth0", "-c4", "udp", "port", "4789"]);
    await eventually(() =>
      one.engine.docker(["exec", "test1", "ping", "-c4", "-i0.3", "-W1", "test2"]).then((r) => r.code === 0),
    );
    expect((await capture).stdout).toMatch(
      /192\.168\.205\.10\.\d+ > 192\.168\.205\.11\.4789: VXLAN, flags \[I\] \(0x08\), vni \d+[\s\S]*10\.0\.0\.2 > 10\.0\.0\.3: ICMP echo request/,
    );
  });

  it("the outside is reached by way of docker_gwbridge, and reaches published ports", async () => {
    expect((await one.engine.docker(["exec", "test1", "ping", "-c1", "-W2", outside.ip])).code).toBe(0);
    await d1(
      "run",
      "-d",
      "--name",
      "pub",
      "-p",
      "8080:80",
      "--net",
      "demo",
      "busybox",
      "sh",
      "-c",
      "mkdir /www; echo hello >/www/index.html; exec httpd -f -p 80 -h /www",
    );
    expect(await eventually(async () => (await outside.fetch("http://192.168.205.10:8080/")) === "hello")).toBe(true);
    expect(await d2("exec", "test2", "wget", "-qO-", "http://pub/")).toBe("hello");
    await d1("rm", "-f", "pub");
  });
});

describe("the end", () => {
  it("a network with containers elsewhere is not removed", async () => {
    await d2("rm", "-f", "test2");
    const ran = await two.engine.docker(["network", "rm", "demo"]);
    expect(ran.code).toBe(1);
    expect(ran.stderr).toMatch(/has active endpoints/);
  });

  it("with the last container all traces go, on both hosts and in the store", async () => {
    await d1("rm", "-f", "test1");
    expect(one.overlayNamespaces()).toEqual([]);
    await d2("network", "rm", "demo");
    expect(await eventually(async () => (await one.engine.docker(["network", "inspect", "demo"])).code !== 0)).toBe(true);
    expect((await stored("network/v1.0")).filter(([key]) => !/\/(node|schema|pools)\b/.test(key))).toEqual([]);
    for (const host of lab.hosts) expect(await host.differences()).toEqual([]);
  });
});
