import { afterEach, beforeEach, expect, test } from "vitest";
import { bridgeTable, inetTable } from "../../src/drivers/firewall-text.js";
import { plan } from "../../src/plan/diff.js";
import type { KernelObject, Link, Sysctl } from "../../src/plan/objects.js";
import { type Lab, openLab } from "./lab.js";

let lab: Lab;
beforeEach(async () => {
  lab = await openLab();
});
afterEach(async () => {
  await lab.close();
  expect(lab.warnings).toEqual([]);
});

/** Applies the plan for `desired`, and wants the plan after it empty; then that for nothing, and wants nothing left. */
async function roundTrip(desired: readonly KernelObject[]): Promise<void> {
  const sysctls = desired.filter((o): o is Sysctl => o.kind === "sysctl");
  const observe = () => lab.kernel.observe({ scope: "all", sysctls });
  const result = await lab.kernel.apply(plan(desired, await observe()));
  expect(result.failures).toEqual([]);
  expect(plan(desired, await observe())).toEqual([]);
  // Again from the beginning, as after a crash that lost what was observed: all is there, nothing fails, nothing changes.
  expect((await lab.kernel.apply(plan(desired, []))).failures).toEqual([]);
  expect(plan(desired, await observe())).toEqual([]);
  const removal = await lab.kernel.apply(plan([], await observe()));
  expect(removal.failures).toEqual([]);
  expect((await observe()).filter((o) => o.kind !== "sysctl")).toEqual([]);
  // And once more: what is gone already is no failure.
  expect((await lab.kernel.apply(plan([], desired))).failures).toEqual([]);
}

const bridge: Link = {
  kind: "link",
  ns: "",
  type: "bridge",
  name: "docker0",
  mtu: 1450,
  mac: "02:42:11:22:33:44",
  up: true,
  mcastSnooping: false,
  ageingTimeSeconds: 60,
  nfCallIptables: true,
};
const netns: KernelObject = { kind: "netns", name: "c1" };
const veth = (n: number, more: Partial<Link> = {}): Link =>
  ({
    kind: "link",
    ns: "",
    type: "veth",
    name: `veth${n}`,
    mtu: 1450,
    up: true,
    master: "docker0",
    peer: { ns: `c${n}`, name: "eth0", mac: `02:42:ac:11:00:0${n}`, up: true, mtu: 1450 },
    ...more,
  }) as Link;

test("namespace, loopback, bridge, veth with all port flags", async () => {
  await roundTrip([
    netns,
    { kind: "link", ns: "c1", type: "loopback", name: "lo", up: true },
    bridge,
    veth(1, { port: { isolated: true, hairpin: true, learning: false, flood: false, neighSuppress: true, locked: true } }),
  ]);
});

test("a pair within the host, both ends ports; a pair between two pinned namespaces", async () => {
  const second: Link = { ...bridge, name: "docker1", mac: "02:42:11:22:33:45" };
  await roundTrip([
    bridge,
    second,
    veth(1, { peer: { ns: "", name: "trunk", up: true, mtu: 1450, master: "docker1" } } as Partial<Link>),
    netns,
    { kind: "netns", name: "ov" },
    { ...bridge, ns: "ov", name: "br0" },
    { ...veth(1), ns: "ov", name: "vethx", master: "br0" },
    { ...veth(1), ns: "ov", name: "vethy", master: "br0", peer: { ns: "c1", name: "eth1", up: false } } as Link,
  ]);
});

test("addresses and routes of both families", async () => {
  await roundTrip([
    netns,
    bridge,
    veth(1),
    { kind: "addr", ns: "", dev: "docker0", address: "172.17.0.1/16", broadcast: "172.17.255.255" },
    { kind: "addr", ns: "", dev: "docker0", address: "fd00:17::1/64", nodad: true },
    { kind: "addr", ns: "", dev: "docker0", address: "fe80::1/64", nodad: true },
    { kind: "addr", ns: "c1", dev: "eth0", address: "172.17.0.2/16", broadcast: "172.17.255.255" },
    { kind: "addr", ns: "c1", dev: "eth0", address: "10.9.9.9/32", scope: "host" },
    { kind: "addr", ns: "c1", dev: "eth0", address: "fd00:17::2/64", nodad: true },
    { kind: "route", ns: "c1", dst: "0.0.0.0/0", dev: "eth0", via: "172.17.0.1" },
    { kind: "route", ns: "c1", dst: "::/0", dev: "eth0", via: "fd00:17::1" },
    { kind: "route", ns: "c1", dst: "10.1.0.0/16", dev: "eth0", via: "172.17.0.1", src: "172.17.0.2", metric: 77 },
    { kind: "route", ns: "c1", dst: "10.2.0.0/16", dev: "eth0" },
    { kind: "route", ns: "c1", dst: "10.3.0.0/16", dev: "eth0", via: "192.0.2.1", onlink: true, table: 1000 },
    { kind: "route", ns: "c1", dst: "10.4.0.0/16", dev: "eth0", via: "fd00:17::1" },
    { kind: "route", ns: "", dst: "10.5.0.0/16", type: "blackhole" },
    { kind: "route", ns: "", dst: "10.6.0.0/16", type: "unreachable", metric: 5 },
    { kind: "route", ns: "", dst: "fd00:5::/64", type: "blackhole" },
    { kind: "route", ns: "", dst: "fd00:6::/64", dev: "docker0", metric: 2000 },
  ]);
});

test("neighbours, proxies, forwarding entries, VXLAN, macvlan, rules, sysctls", async () => {
  await roundTrip([
    netns,
    { kind: "netns", name: "ov" },
    { ...bridge, ns: "ov", name: "br0" },
    bridge,
    {
      kind: "link",
      ns: "ov",
      type: "vxlan",
      name: "vxlan0",
      mtu: 1450,
      up: true,
      master: "br0",
      underlayNs: "",
      vni: 4097,
      dstPort: 4789,
      local: "192.0.2.7",
      learning: false,
      proxy: true,
      port: { learning: false },
    },
    {
      kind: "link",
      ns: "ov",
      type: "vxlan",
      name: "vxlan6",
      up: true,
      underlayNs: "",
      vni: 9,
      dstPort: 8472,
      local: "2001:db8::7",
    },
    {
      kind: "link",
      ns: "c1",
      type: "macvlan",
      name: "eth1",
      up: true,
      mac: "02:42:c0:a8:00:01",
      parent: "docker0",
      parentNs: "",
      mode: "bridge",
    },
    { ...veth(1), master: "docker0", peer: { ns: "c1", name: "eth0", up: true } } as Link,
    { kind: "neigh", ns: "ov", dev: "vxlan0", ip: "10.0.0.3", mac: "02:42:0a:00:00:03" },
    { kind: "neigh", ns: "ov", dev: "vxlan0", ip: "fd00::3", mac: "02:42:0a:00:00:03" },
    { kind: "neigh", ns: "", dev: "docker0", ip: "10.7.7.7", proxy: true },
    { kind: "neigh", ns: "", dev: "docker0", ip: "fd00::7", proxy: true },
    { kind: "fdb", ns: "ov", dev: "vxlan0", mac: "02:42:0a:00:00:03", dst: "192.0.2.8" },
    { kind: "fdb", ns: "ov", dev: "vxlan0", mac: "02:42:0a:00:00:04", dst: "192.0.2.8", master: true },
    { kind: "fdb", ns: "ov", dev: "vxlan0", mac: "00:00:00:00:00:00", dst: "192.0.2.8" },
    { kind: "fdb", ns: "ov", dev: "vxlan0", mac: "00:00:00:00:00:00", dst: "192.0.2.9" },
    { kind: "fdb", ns: "ov", dev: "vxlan6", mac: "02:42:0a:00:00:03", dst: "2001:db8::8" },
    { kind: "fdb", ns: "", dev: "veth1", mac: "02:42:0a:00:00:05", master: true },
    {
      kind: "rule",
      ns: "",
      family: 4,
      priority: 100,
      from: "10.0.0.0/24",
      to: "10.1.0.0/16",
      fwmark: 7,
      iif: "docker0",
      table: 1000,
    },
    { kind: "rule", ns: "c1", family: 6, priority: 101, from: "fd00::/64", table: 200 },
    { kind: "sysctl", ns: "", key: "net.ipv4.ip_forward", value: "1" },
    { kind: "sysctl", ns: "", key: "net.ipv4.conf.docker0.route_localnet", value: "1" },
    { kind: "sysctl", ns: "c1", key: "net.ipv4.ping_group_range", value: "0\t2147483647" },
  ]);
});

const TEXT = `
  set bridges { type ifname; }
  map from { type ifname : verdict; }
  map ports4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map ports6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
  set marks { type mark; }
  set macs { type ifname . ether_addr; }
  set big { typeof iifname . ether saddr . @th,64,128; }
  map snat4 { type ipv4_addr : ipv4_addr; }
  set wide { type ipv4_addr; flags interval; }
  set wide6 { type ipv6_addr; flags interval; }
  chain forward {
    type filter hook forward priority -10; policy accept;
    # a comment; with a semicolon { and a brace
    ct state established,related accept
    icmpv6 type { nd-router-advert, nd-redirect } counter drop; iifname vmap @from
    ip saddr @wide log prefix "a; b" \\
      accept
  }
  chain to_nat { accept
  }
  chain empty { }
`;

test("a table with sets and maps of every type; its elements", async () => {
  const element = { kind: "nftElement", ns: "", family: "inet", table: "linkspan" } as const;
  await roundTrip([
    { kind: "nftTable", ns: "", family: "inet", table: "linkspan", text: TEXT, hash: "0123abcd" },
    { kind: "nftTable", ns: "", family: "bridge", table: "linkspan", text: "chain a { }", hash: "ff" },
    { ...element, set: "bridges", key: [{ type: "ifname", value: "docker0" }], comment: "network bridge" },
    { ...element, set: "bridges", key: [{ type: "ifname", value: "br-0123456789ab" }] },
    { ...element, set: "from", key: [{ type: "ifname", value: "docker0" }], data: [{ type: "verdict", value: "goto to_nat" }] },
    { ...element, set: "from", key: [{ type: "ifname", value: "docker1" }], data: [{ type: "verdict", value: "drop" }] },
    {
      ...element,
      set: "ports4",
      key: [
        { type: "inet_proto", value: "udp" },
        { type: "inet_service", value: 53 },
      ],
      data: [
        { type: "ipv4_addr", value: "172.17.0.2" },
        { type: "inet_service", value: 5353 },
      ],
      comment: "web/1.2:x y-z_",
    },
    {
      ...element,
      set: "ports6",
      key: [
        { type: "inet_proto", value: "tcp" },
        { type: "inet_service", value: 80 },
      ],
      data: [
        { type: "ipv6_addr", value: "fd00::2" },
        { type: "inet_service", value: 8080 },
      ],
    },
    { ...element, set: "marks", key: [{ type: "mark", value: 0xdeadbeef }] },
    {
      ...element,
      set: "macs",
      key: [
        { type: "ifname", value: "veth1" },
        { type: "ether_addr", value: "02:42:ac:11:00:02" },
      ],
    },
    {
      ...element,
      set: "big",
      key: [
        { type: "ifname", value: "veth1" },
        { type: "ether_addr", value: "02:42:ac:11:00:02" },
        { type: "integer128", value: "0xfe80000000000000004200fffe000002" },
      ],
    },
    {
      ...element,
      set: "snat4",
      key: [{ type: "ipv4_addr", value: "10.0.0.1" }],
      data: [{ type: "ipv4_addr", value: "192.0.2.1" }],
    },
    { ...element, set: "wide", key: [{ type: "ipv4_addr", value: "10.0.0.0/8" }] },
    { ...element, set: "wide", key: [{ type: "ipv4_addr", value: "192.0.2.1" }] },
    { ...element, set: "wide", key: [{ type: "ipv4_addr", value: "192.0.2.7-192.0.2.12" }] },
    { ...element, set: "wide6", key: [{ type: "ipv6_addr", value: "fd00::/8" }] },
  ]);
});

test("tables and elements inside a container's namespace", async () => {
  await roundTrip([
    netns,
    {
      kind: "nftTable",
      ns: "c1",
      family: "ip",
      table: "linkspan",
      text: "set s { type ipv4_addr; }\nchain c { accept\n }",
      hash: "aa",
    },
    { kind: "nftElement", ns: "c1", family: "ip", table: "linkspan", set: "s", key: [{ type: "ipv4_addr", value: "10.0.0.1" }] },
  ]);
});

test("the firewall's own tables, with elements of their sets", async () => {
  const bridgeElement = { kind: "nftElement", ns: "", family: "bridge", table: "linkspan" } as const;
  await roundTrip([
    inetTable({ closeForeignForwarding: true }),
    bridgeTable(),
    { ...bridgeElement, set: "ports", key: [{ type: "ifname", value: "veth1" }] },
    {
      ...bridgeElement,
      set: "target6",
      key: [
        { type: "ifname", value: "veth1" },
        { type: "ether_addr", value: "02:42:ac:11:00:02" },
        { type: "integer128", value: "0xfe80000000000000004200fffe000002" },
      ],
    },
    {
      kind: "nftElement",
      ns: "",
      family: "inet",
      table: "linkspan",
      set: "to",
      key: [{ type: "ifname", value: "docker0" }],
      data: [{ type: "verdict", value: "goto to_nat_nat" }],
    },
  ]);
});
