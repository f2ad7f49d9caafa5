import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { KernelObject, Link } from "../../src/plan/objects.js";
import { fails, GROUP, type Lab, openLab } from "./lab.js";

let lab: Lab;
beforeEach(async () => {
  lab = await openLab();
});
afterEach(async () => {
  await lab.close();
});

const bridge = (name = "docker0"): Link => ({
  kind: "link",
  ns: "",
  type: "bridge",
  name,
  mtu: 1500,
  mac: "02:42:00:00:00:01",
  up: true,
});
type Veth = Link & { type: "veth" };
const veth = (n = 1): Veth => ({
  kind: "link",
  ns: "",
  type: "veth",
  name: `veth${n}`,
  mtu: 1500,
  up: true,
  master: "docker0",
  peer: { ns: `c${n}`, name: "eth0", mac: `02:42:ac:11:00:0${n + 1}`, up: true, mtu: 1500 },
});
/** The batches of one attach. */
const endpoint = (n = 1): KernelObject[][] => [
  [{ kind: "netns", name: `c${n}` }],
  [veth(n), { kind: "link", ns: `c${n}`, type: "loopback", name: "lo", up: true }],
  [
    { kind: "addr", ns: `c${n}`, dev: "eth0", address: `172.17.0.${n + 1}/16`, broadcast: "172.17.255.255" },
    { kind: "route", ns: `c${n}`, dst: "0.0.0.0/0", dev: "eth0", via: "172.17.0.1" },
  ],
];
const attach = async (n = 1) => {
  const result = await lab.apply(...endpoint(n).map((batch) => batch.map((object) => ({ op: "put" as const, object }))));
  expect(result.failures).toEqual([]);
  return result;
};
const gateway: KernelObject = { kind: "addr", ns: "", dev: "docker0", address: "172.17.0.1/16", broadcast: "172.17.255.255" };
const indexOf = (name: string): string => lab.host("ip", "-o", "link", "show", name).split(":")[0]!;

test("an attached endpoint: addresses, routes, marks; it reaches its gateway; every attach takes the same system calls", async () => {
  await lab.put(bridge(), gateway);
  const first = await attach(1);
  const second = await attach(2);
  // The first one opens procfs as well.
  expect((await attach(3)).syscalls).toBe(second.syscalls);
  expect(first.syscalls).toBeLessThan(32);
  expect(second.syscalls).toBe(18);
  expect(
    lab
      .inside("c1", "ip", "route")
      .split("\n")
      .map((line) => line.trim()),
  ).toEqual(["default via 172.17.0.1 dev eth0 proto 76", "172.17.0.0/16 dev eth0 proto kernel scope link src 172.17.0.2", ""]);
  expect(lab.inside("c1", "ip", "-d", "addr", "show", "dev", "eth0")).toMatch(
    /inet 172\.17\.0\.2\/16 brd 172\.17\.255\.255 scope global.* eth0/,
  );
  expect(lab.inside("c1", "ip", "link", "show", "eth0")).toMatch(
    /eth0@if\d+: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500.*group 19457/,
  );
  expect(lab.host("ip", "link", "show", "veth1")).toMatch(/master docker0 state UP .*group 19456/);
  expect(lab.host("ip", "addr", "show", "veth1")).not.toContain("inet6");
  expect(lab.inside("c1", "ping", "-c1", "-W2", "172.17.0.1")).toContain("1 received");
  expect(lab.inside("c1", "ping", "-c1", "-W2", "172.17.0.3")).toContain("1 received");
});

test("a removed link is out of sight when apply returns, and its name can be used at once; many go together", async () => {
  await lab.put(bridge(), gateway);
  await attach(1);
  await lab.remove(veth(1));
  expect(fails(() => lab.host("ip", "link", "show", "veth1"))).toBe(true);
  expect(fails(() => lab.inside("c1", "ip", "link", "show", "eth0"))).toBe(true);
  await lab.put(veth(1));
  expect(lab.host("ip", "link", "show", "veth1")).toContain("master docker0");
  const many = Array.from(
    { length: 40 },
    (_, i): Link => ({ ...veth(1), name: `v${i}`, peer: { ns: "", name: `w${i}`, up: true } }),
  );
  await lab.put(...many);
  const started = performance.now();
  const result = await lab.apply([...many, veth(1), bridge()].map((object) => ({ op: "delete", object })));
  expect(result.failures).toEqual([]);
  expect(performance.now() - started).toBeLessThan(1500);
  expect(lab.host("ip", "-br", "link").trim().split("\n")).toHaveLength(1);
});

test("a link is changed in place: its index stays", async () => {
  await lab.put(bridge(), bridge("docker1"), { kind: "netns", name: "c1" }, veth());
  const before = indexOf("veth1");
  const change = async (was: Link, object: Link) => {
    expect((await lab.apply([{ op: "put", object, was }])).failures).toEqual([]);
    return object;
  };
  let now: Link = veth();
  now = await change(now, { ...now, mtu: 1400, mac: "02:42:00:00:00:99" });
  expect(lab.host("ip", "link", "show", "veth1")).toMatch(/mtu 1400[\s\S]*02:42:00:00:00:99/);
  now = await change(now, { ...now, master: "docker1", port: { isolated: true, learning: false } });
  expect(lab.host("bridge", "-d", "link", "show", "dev", "veth1")).toMatch(/master docker1[\s\S]*learning off[\s\S]*isolated on/);
  now = await change(now, { ...now, port: { isolated: false, learning: true } });
  expect(lab.host("bridge", "-d", "link", "show", "dev", "veth1")).toMatch(/learning on[\s\S]*isolated off/);
  const { master: _, port: __, ...free } = now;
  now = await change(now, { ...free, up: false } as Link);
  expect(lab.host("ip", "link", "show", "veth1")).not.toMatch(/master|,UP/);
  now = await change(now, { ...now, peer: { ...(now as Veth).peer, mtu: 1300, mac: "02:42:00:00:00:77", up: false } } as Link);
  expect(lab.inside("c1", "ip", "link", "show", "eth0")).toMatch(/mtu 1300[\s\S]*state DOWN[\s\S]*02:42:00:00:00:77/);
  expect(indexOf("veth1")).toBe(before);
  const was = bridge();
  expect(
    (await lab.apply([{ op: "put", was, object: { ...was, mcastSnooping: false, ageingTimeSeconds: 10 } as Link }])).failures,
  ).toEqual([]);
  expect(lab.host("ip", "-d", "link", "show", "docker0")).toMatch(/ageing_time 1000 [\s\S]*mcast_snooping 0/);
});

test("what cannot be changed is replaced; what is there already becomes what is wanted", async () => {
  await lab.put(bridge(), { kind: "netns", name: "c1" }, { kind: "netns", name: "c2" }, veth());
  const moved: Link = { ...veth(), peer: { ...veth().peer, ns: "c2" } };
  expect((await lab.apply([{ op: "put", object: moved, was: veth() }])).failures).toEqual([]);
  expect(lab.inside("c2", "ip", "-br", "link")).toContain("eth0");
  expect(lab.inside("c1", "ip", "-br", "link")).not.toContain("eth0");
  const index = indexOf("veth1");
  await lab.put({ ...moved, mtu: 1234 });
  expect(indexOf("veth1")).toBe(index);
  expect(lab.host("ip", "link", "show", "veth1")).toContain("mtu 1234");
  // Another kind under the name, ours: made anew.
  await lab.put({ ...bridge("veth1") });
  expect(lab.host("ip", "-d", "link", "show", "veth1")).toContain("bridge");
  expect(lab.inside("c2", "ip", "-br", "link")).not.toContain("eth0");
});

test("what is not ours is never touched", async () => {
  lab.host("ip", "link", "add", "docker0", "type", "bridge");
  lab.host("ip", "link", "add", "veth1", "type", "veth", "peer", "name", "x");
  lab.host("ip", "route", "add", "blackhole", "10.5.0.0/16");
  const before = lab.host("ip", "link");
  const result = await lab.apply([
    { op: "put", object: bridge() },
    { op: "put", object: gateway },
    { op: "put", object: { kind: "route", ns: "", dst: "10.5.0.0/16", type: "unreachable" } },
    { op: "delete", object: { ...bridge("x"), type: "veth", peer: { ns: "", name: "y", up: true } } as Link },
    { op: "delete", object: { ...veth() } },
  ]);
  expect(result.failures.map(({ index, code, operation, extAck }) => [index, code, operation, extAck])).toEqual([
    [0, "EEXIST", "link add docker0 type bridge", "the name docker0 is taken by a link that is not ours"],
    [1, "EPERM", "address add 172.17.0.1/16 dev docker0", "link docker0 is not ours"],
    [2, "EEXIST", "route add 10.5.0.0/16", undefined],
  ]);
  expect(lab.host("ip", "link")).toBe(before);
  expect(lab.host("ip", "route")).toContain("blackhole 10.5.0.0/16");
  const seen = await lab.kernel.observe({ scope: "all" });
  expect(seen).toEqual([]);
});

test("a failed op does not stop the others, and brings the kernel's own words", async () => {
  const result = await lab.apply(
    [
      { op: "put", object: bridge() },
      { op: "put", object: { ...bridge("docker1"), mtu: 20 } },
      { op: "put", object: veth() },
      { op: "put", object: { ...veth(), ns: "", name: "veth9", master: "nobridge", peer: { ns: "", name: "p9", up: true } } },
    ],
    [
      { op: "put", object: gateway },
      { op: "put", object: { kind: "route", ns: "", dst: "0.0.0.0/0", via: "10.0.0.1", dev: "docker0" } },
      { op: "put", object: { kind: "sysctl", ns: "", key: "net.ipv4.nothing", value: "1" } },
      { op: "put", object: { kind: "sysctl", ns: "", key: "net.ipv4.conf.all.../../../etc/x", value: "1" } },
      { op: "put", object: { kind: "addr", ns: "nowhere", dev: "eth0", address: "10.0.0.1/8" } },
    ],
  );
  const of = (batch: number, index: number) => result.failures.find((f) => f.batch === batch && f.index === index);
  expect(of(0, 1)).toMatchObject({ code: "EINVAL", operation: "link add docker1 type bridge" });
  expect(of(0, 1)?.extAck).toMatch(/mtu/i);
  expect(of(0, 2)).toMatchObject({ code: "ENOENT", operation: "link add veth1 type veth" });
  expect(of(0, 3)).toMatchObject({ code: "ENODEV" });
  expect(of(1, 1)).toMatchObject({
    operation: "route add 0.0.0.0/0 via 10.0.0.1 dev docker0",
    extAck: "Nexthop has invalid gateway",
  });
  expect(of(1, 2)).toMatchObject({ code: "ENOENT" });
  expect(of(1, 3)).toMatchObject({ code: "EINVAL" });
  expect(of(1, 4)).toMatchObject({ code: "ENOENT" });
  expect(result.failures).toHaveLength(7);
  expect(lab.host("ip", "-br", "addr", "show", "docker0")).toContain("172.17.0.1/16");
});

test("removing what is gone is done", async () => {
  const objects: KernelObject[] = [
    ...endpoint(1).flat(),
    bridge(),
    gateway,
    { kind: "neigh", ns: "", dev: "docker0", ip: "10.0.0.1", proxy: true },
    { kind: "fdb", ns: "", dev: "veth1", mac: "02:42:00:00:00:05", master: true },
    { kind: "rule", ns: "", family: 4, priority: 9, table: 100 },
    { kind: "route", ns: "", dst: "10.0.0.0/8", type: "blackhole" },
    { kind: "nftTable", ns: "", family: "inet", table: "linkspan", text: "", hash: "x" },
    { kind: "nftElement", ns: "c1", family: "inet", table: "linkspan", set: "s", key: [{ type: "mark", value: 1 }] },
  ];
  const result = await lab.apply(objects.toReversed().map((object) => ({ op: "delete", object })));
  // The set of an element that is to go may be gone with its table.
  expect(result.failures).toEqual([]);
});

test("a route of ours is replaced, also without knowing what was", async () => {
  await lab.put(bridge(), gateway, { kind: "route", ns: "", dst: "10.1.0.0/16", dev: "docker0", via: "172.17.0.5" });
  await lab.put({ kind: "route", ns: "", dst: "10.1.0.0/16", dev: "docker0", via: "172.17.0.6" });
  expect(lab.host("ip", "route", "show", "10.1.0.0/16")).toMatch(
    /^10\.1\.0\.0\/16 via 172\.17\.0\.6 dev docker0 proto 76[^\n]*\n$/,
  );
});

test("a bridge keeps its MTU whatever its ports do", async () => {
  const mtu = () => /mtu (\d+)/.exec(lab.host("ip", "link", "show", "docker0"))?.[1];
  await lab.put({ ...bridge(), mtu: 1450 }, { kind: "netns", name: "c1" }, { ...veth(), mtu: 1300 });
  expect(mtu()).toBe("1450");
  await lab.remove(veth());
  expect(mtu()).toBe("1450");
});

test("a namespace whose making was cut short by a crash is made", async () => {
  const path = lab.kernel.namespacePath("c1");
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, "");
  await lab.put({ kind: "netns", name: "c1" });
  expect(await lab.kernel.observe({ scope: "namespaces", names: ["c1"] })).toMatchObject([
    { kind: "netns", name: "c1" },
    { kind: "link", type: "loopback", up: false },
  ]);
  const stale = lab.kernel.namespacePath("c2");
  writeFileSync(stale, "");
  expect((await lab.kernel.observe({ scope: "all" })).filter((o) => o.kind === "netns")).toHaveLength(1);
  expect(existsSync(stale)).toBe(false);
});

test("links that a crash left in the middle of their removal are seen as leftovers, and their names can be used", async () => {
  await lab.put(bridge());
  lab.host("ip", "link", "set", "docker0", "group", String(GROUP + 2));
  const [seen] = await lab.kernel.observe({ scope: "all" });
  expect(seen).toMatchObject({ kind: "link", name: "docker0" });
  await lab.put(bridge());
  expect(lab.host("ip", "link", "show", "docker0")).toContain(`group ${GROUP}`);
  lab.host("ip", "link", "set", "docker0", "group", String(GROUP + 2));
  await lab.remove(bridge());
  expect(await lab.kernel.observe({ scope: "all" })).toEqual([]);
});

test("the scope of one container tells its pair, and only what belongs to it", async () => {
  await lab.put(bridge(), gateway);
  await attach(1);
  await attach(2);
  const seen = await lab.kernel.observe({ scope: "namespaces", names: ["c2", "no-such"] });
  expect(
    seen.map((o) => `${o.kind} ${"name" in o ? o.name : "dst" in o ? o.dst : "address" in o ? o.address : ""}`).sort(),
  ).toEqual(["addr 172.17.0.3/16", "link lo", "link veth2", "netns c2", "route 0.0.0.0/0"]);
  expect(seen.find((o) => o.kind === "link" && o.type === "veth")).toMatchObject({
    ns: "",
    master: "docker0",
    peer: veth(2).peer,
  });
});

test("the host's links and routes, ours and others'", async () => {
  lab.host("ip", "link", "add", "up0", "type", "bridge");
  lab.host("ip", "addr", "add", "192.0.2.5/24", "dev", "up0");
  lab.host("ip", "link", "set", "up0", "up");
  lab.host("ip", "route", "add", "default", "via", "192.0.2.1");
  await lab.put(bridge(), { kind: "route", ns: "", dst: "10.1.0.0/16", dev: "docker0" });
  const links = await lab.kernel.hostLinks();
  expect(links.find((l) => l.name === "up0")).toMatchObject({ ours: false, type: "bridge", up: true });
  expect(links.find((l) => l.name === "up0")?.addresses).toContain("192.0.2.5/24");
  expect(links.find((l) => l.name === "docker0")).toMatchObject({ ours: true, mtu: 1500, mac: "02:42:00:00:00:01" });
  expect(links.find((l) => l.name === "lo")).toMatchObject({ type: "loopback" });
  const routes = await lab.kernel.hostRoutes();
  expect(routes).toContainEqual({ dst: "0.0.0.0/0", dev: "up0", via: "192.0.2.1", ours: false });
  expect(routes).toContainEqual({ dst: "192.0.2.0/24", dev: "up0", ours: false });
  expect(routes).toContainEqual({ dst: "10.1.0.0/16", dev: "docker0", ours: true });
});
