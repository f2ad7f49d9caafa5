import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type DriverContext, desiredAll } from "../../src/drivers/index.js";
import { applyChanges, detach } from "../../src/model/index.js";
import { type Batch, explain, type KernelObject, plan } from "../../src/plan/index.js";
import { World } from "../pure/world.js";

/**
 * What explain() says is run as it is, in a namespace that stands for the host, by real iproute2, nft and sysctl; then the kernel is
 * asked. The commands for links, addresses and routes are also kept in *.sh files, for people to read.
 */
const HOST = `lstg${process.pid}`;
const NS = (n: number) => `${HOST}c${n}`;
const ctx: DriverContext = { instance: "t", uplinkMtu: 1500, hostHasIPv6: true };

beforeAll(() => {
  sh(`ip netns add ${HOST}`);
});

afterAll(() => {
  for (const name of [HOST, NS(1), NS(2)]) spawnSync("ip", ["netns", "delete", name]);
});

function sh(command: string): string {
  const done = spawnSync("bash", ["-ec", command], { encoding: "utf8" });
  if (done.status !== 0) throw new Error(`${done.stderr}\n${command}`);
  return done.stdout;
}

/** Runs commands on the "host". */
function host(script: string): string {
  const done = spawnSync("nsenter", [`--net=/run/netns/${HOST}`, "bash", "-e"], { encoding: "utf8", input: script });
  if (done.status !== 0) throw new Error(`${done.stderr}\n${script}`);
  return done.stdout;
}

const json = (command: string) => JSON.parse(host(command)) as Record<string, unknown>[];
const plain = (objects: readonly KernelObject[]) =>
  objects.filter((o) => o.kind !== "nftTable" && o.kind !== "nftElement" && !isBridgeNetfilter(o));
const isBridgeNetfilter = (o: KernelObject) => o.kind === "sysctl" && o.ns === "";

/** Names that are the same in every run, for the files. */
const readable = (batches: readonly Batch[]) => explain(batches).replaceAll(HOST, "host-");

describe("explain", () => {
  const w = new World();
  let before: readonly KernelObject[] = [];

  it("builds two containers on two networks", async () => {
    const plainNetwork = w.network({ Name: "plain", Options: { "com.docker.network.bridge.name": "br-plain" } });
    const six = w.network({
      Name: "six",
      EnableIPv6: true,
      IPAM: { Config: [{ Subnet: "fd00:99::/64" }, { Subnet: "10.99.0.0/24", Gateway: "10.99.0.254" }] },
      Options: {
        "com.docker.network.bridge.enable_icc": "false",
        "com.docker.network.bridge.name": "br.six",
        "com.docker.network.driver.mtu": "1400",
      },
    });
    const s1 = w.sandbox("test01", { netns: NS(1) });
    const s2 = w.sandbox("test02", { netns: NS(2), sysctls: { "net.ipv4.conf.all.log_martians": "1" } });
    w.join(s1.id, plainNetwork);
    w.join(s2.id, plainNetwork);
    w.join(s1.id, six);
    before = desiredAll(w.state, ctx);
    await expect(readable(plan(plain(before), []))).toMatchFileSnapshot("two-containers.sh");
    host(explain(plan(before, [])));

    const address = json(`ip -j -n ${NS(1)} addr show eth0`)[0] as {
      address: string;
      mtu: number;
      operstate: string;
      addr_info: { local: string; prefixlen: number; broadcast?: string }[];
    };
    expect([address.address, address.mtu, address.operstate]).toEqual(["02:42:ac:12:00:02", 1500, "UP"]);
    expect(address.addr_info).toMatchObject([{ local: "172.18.0.2", prefixlen: 16, broadcast: "172.18.255.255" }]);
    expect(json(`ip -j -n ${NS(1)} route show default`)).toMatchObject([{ gateway: "172.18.0.1", dev: "eth0" }]);
    expect(json(`ip -j -6 -n ${NS(1)} route show default`)).toMatchObject([{ gateway: "fd00:99::1", dev: "eth1" }]);
    expect(json(`ip -j -n ${NS(2)} addr show dev lo`)).toMatchObject([{ addr_info: [{ local: "127.0.0.1" }] }]);
    expect(host("sysctl -n net.ipv4.ip_forward net.ipv6.conf.br/six.accept_ra")).toBe("1\n0\n");
    expect(host(`ip netns exec ${NS(2)} sysctl -n net.ipv4.ping_group_range net.ipv4.conf.all.log_martians`)).toBe(
      "0\t2147483647\n1\n",
    );
    const ports = json("bridge -j -d link show") as { master: string; isolated: boolean }[];
    expect(ports.map((p) => [p.master, p.isolated]).sort()).toEqual([
      ["br-plain", false],
      ["br-plain", false],
      ["br.six", true],
    ]);
    expect(host(`ip netns exec ${NS(1)} ping -c1 -W2 172.18.0.3`)).toContain("1 received");
    expect(host(`ip netns exec ${NS(1)} ping -c1 -W2 fd00:99::1`)).toContain("1 received");
  });

  it("changes in place, and moves the default route", async () => {
    const e = [...w.state.endpoints.values()].find(
      (x) => x.sandboxId === [...w.state.sandboxes.values()][0]!.id && x.ifname === "eth0",
    )!;
    applyChanges(w.state, detach(w.state, e).changes);
    const after = desiredAll(w.state, { ...ctx, uplinkMtu: 1450 });
    await expect(readable(plan(plain(after), plain(before)))).toMatchFileSnapshot("disconnect-and-mtu.sh");
    host(explain(plan(after, before)));
    before = after;
    expect(json(`ip -j -n ${NS(1)} route show default`)).toMatchObject([{ gateway: "10.99.0.254", dev: "eth1" }]);
    expect(json(`ip -j -n ${NS(2)} link show eth0`)).toMatchObject([{ mtu: 1450 }]);
    expect(json("ip -j link show br-plain")).toMatchObject([{ mtu: 1450 }]);
  });

  it("takes all of it away", async () => {
    await expect(readable(plan([], plain(before)))).toMatchFileSnapshot("take-away.sh");
    host(explain(plan([], before)));
    expect((json("ip -j link show") as { ifname: string }[]).map((l) => l.ifname)).toEqual(["lo"]);
    expect(host("nft list ruleset")).toBe("");
    expect(sh("ip netns list")).not.toContain(NS(1));
  });
});

describe("explain of every kind of object", () => {
  const objects: readonly KernelObject[] = [
    { kind: "netns", name: NS(1) },
    {
      kind: "link",
      ns: "",
      name: "br0",
      type: "bridge",
      mcastSnooping: false,
      nfCallIptables: true,
      ageingTimeSeconds: 10,
      up: true,
    },
    { kind: "link", ns: "", name: "br1", type: "bridge", up: true },
    {
      kind: "link",
      ns: "",
      name: "t0",
      type: "veth",
      up: true,
      master: "br0",
      port: { hairpin: true, learning: false, flood: false, neighSuppress: true, locked: false },
      peer: { ns: "", name: "t1", up: true, master: "br1" },
    },
    {
      kind: "link",
      ns: NS(1),
      name: "vx0",
      type: "vxlan",
      underlayNs: "",
      vni: 256,
      dstPort: 4789,
      local: "127.0.0.1",
      proxy: true,
      mtu: 1450,
      up: true,
    },
    { kind: "link", ns: NS(1), name: "mv0", type: "macvlan", parent: "br1", parentNs: "", mode: "bridge", up: true },
    { kind: "addr", ns: NS(1), dev: "mv0", address: "10.5.0.1/24", broadcast: "10.5.0.255" },
    { kind: "addr", ns: "", dev: "br0", address: "169.254.1.1/32", scope: "link" },
    { kind: "route", ns: NS(1), dst: "10.6.0.0/16", via: "10.5.0.9", dev: "mv0", metric: 7, table: 100 },
    { kind: "route", ns: NS(1), dst: "10.8.0.0/16", via: "169.254.1.1", dev: "mv0", src: "10.5.0.1", onlink: true },
    { kind: "route", ns: NS(1), dst: "10.7.0.0/16", type: "blackhole" },
    { kind: "route", ns: "", dst: "10.9.0.2/32", dev: "br0", scope: "link" },
    { kind: "rule", ns: NS(1), family: 4, priority: 99, from: "10.5.0.0/24", fwmark: 5, iif: "mv0", table: 100 },
    { kind: "rule", ns: NS(1), family: 6, priority: 98, to: "fd00::/64", table: 100 },
    { kind: "neigh", ns: NS(1), dev: "vx0", ip: "10.0.0.3", mac: "02:42:0a:00:00:03" },
    { kind: "neigh", ns: "", dev: "br0", ip: "169.254.1.9", proxy: true },
    { kind: "fdb", ns: NS(1), dev: "vx0", mac: "02:42:0a:00:00:03", dst: "192.168.205.11" },
    { kind: "fdb", ns: NS(1), dev: "vx0", mac: "00:00:00:00:00:00", dst: "192.168.205.11" },
    { kind: "fdb", ns: NS(1), dev: "vx0", mac: "00:00:00:00:00:00", dst: "192.168.205.12" },
    { kind: "fdb", ns: "", dev: "t0", mac: "02:42:0a:00:00:09", master: true },
    { kind: "sysctl", ns: NS(1), key: "net.ipv4.ping_group_range", value: "0\t99" },
    {
      kind: "nftTable",
      ns: NS(1),
      family: "inet",
      table: "t",
      hash: "abc",
      text: "\tmap ports { type inet_proto . inet_service : ipv4_addr . inet_service; }\n\tset ifs { type ifname; }\n\tmap v { type ipv6_addr : verdict; }\n\tchain x { }\n",
    },
    {
      kind: "nftElement",
      ns: NS(1),
      family: "inet",
      table: "t",
      set: "ports",
      key: [
        { type: "inet_proto", value: "tcp" },
        { type: "inet_service", value: 8080 },
      ],
      data: [
        { type: "ipv4_addr", value: "172.17.0.2" },
        { type: "inet_service", value: 80 },
      ],
      comment: "web of test01",
    },
    {
      kind: "nftElement",
      ns: NS(1),
      family: "inet",
      table: "t",
      set: "ifs",
      key: [{ type: "ifname", value: "br-1" }],
      restricts: true,
    },
    {
      kind: "nftElement",
      ns: NS(1),
      family: "inet",
      table: "t",
      set: "v",
      key: [{ type: "ipv6_addr", value: "fd00::2" }],
      data: [{ type: "verdict", value: "goto x" }],
    },
  ];

  it("is taken by the kernel, forwards and backwards", async () => {
    const up = plan(objects, []);
    await expect(readable(up)).toMatchFileSnapshot("every-kind.sh");
    host(explain(up));
    expect(json(`ip -j -d -n ${NS(1)} link show vx0`)).toMatchObject([
      { mtu: 1450, linkinfo: { info_data: { id: 256, port: 4789, learning: false } } },
    ]);
    expect(json(`ip -j -n ${NS(1)} route show table 100`)).toMatchObject([
      { dst: "10.6.0.0/16", gateway: "10.5.0.9", metric: 7 },
    ]);
    const fdb = json(`bridge -j -n ${NS(1)} fdb show dev vx0`) as { mac: string; dst?: string }[];
    expect(
      fdb
        .filter((f) => f.dst !== undefined)
        .map((f) => `${f.mac} ${f.dst}`)
        .sort(),
    ).toEqual(["00:00:00:00:00:00 192.168.205.11", "00:00:00:00:00:00 192.168.205.12", "02:42:0a:00:00:03 192.168.205.11"]);
    const changed = objects.map((o): KernelObject => {
      if (o.kind === "link" && o.name === "t0" && o.type === "veth")
        return { ...o, master: "br1", port: { isolated: true }, peer: { ...o.peer, master: "br0", mtu: 1300 } };
      if (o.kind === "nftElement" && o.set === "ports")
        return {
          ...o,
          data: [
            { type: "ipv4_addr", value: "172.17.0.3" },
            { type: "inet_service", value: 81 },
          ],
        };
      if (o.kind === "addr" && o.dev === "br0") return { ...o, scope: "global" };
      return o;
    });
    const change = plan(changed, objects);
    await expect(readable(change)).toMatchFileSnapshot("every-kind-changed.sh");
    host(explain(change));
    expect(host(`ip netns exec ${NS(1)} nft list map inet t ports`)).toContain(
      'tcp . 8080 comment "web of test01" : 172.17.0.3 . 81',
    );
    const down = plan([], changed);
    await expect(readable(down)).toMatchFileSnapshot("every-kind-removed.sh");
    host(explain(down));
    expect((json("ip -j link show") as { ifname: string }[]).map((l) => l.ifname)).toEqual(["lo"]);
  });
});
