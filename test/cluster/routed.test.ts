import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../lib/run.js";
import { type ClusterHost, ClusterLab } from "./lab.js";

// Three engines: host1 and host2 on one link, host3 behind a router. Read from top to bottom.

let lab: ClusterLab;
let [a, b, c]: ClusterHost[] = [];

beforeAll(async () => {
  lab = await ClusterLab.open(2);
  [a, b] = lab.hosts as [ClusterHost, ClusterHost];
  c = await lab.addRoutedHost(206);
}, 60_000);
afterAll(() => lab?.close(), 60_000);

const pings = async (host: ClusterHost, from: string, target: string): Promise<boolean> =>
  (await host.inside(from, "ping", "-c1", "-W1", target)).code === 0;
const reaches = (host: ClusterHost, from: string, target: string) => eventually(() => pings(host, from, target), 3_000);

describe("a routed network", () => {
  test("is made on one host and is there on all", async () => {
    await a!.network("calico", {
      Driver: "routed",
      IPAM: { Config: [{ Subnet: "10.50.0.0/22" }, { Subnet: "fd50::/64" }] },
      EnableIPv6: true,
    });
    for (const host of [b!, c!])
      expect(await eventually(async () => (await host.engine.api("GET", "/networks/calico")).status === 200)).toBe(true);
  });

  test("gives each container a /32 of its host's block, with 169.254.1.1 as the next hop", async () => {
    for (const [host, name] of [
      [a!, "wa"],
      [a!, "wa2"],
      [b!, "wb"],
      [c!, "wc"],
    ] as const)
      await host.run(name, { network: "calico" });
    const blocks = new Set<string>();
    for (const [host, name] of [
      [a!, "wa"],
      [b!, "wb"],
      [c!, "wc"],
    ] as const) {
      const ip = await host.address4(name, "calico");
      blocks.add(ip.replace(/\d+$/, (last) => String(Math.floor(Number(last) / 64) * 64)));
    }
    expect(blocks.size).toBe(3);
    const { stdout: addresses } = await a!.inside("wa", "ip", "-4", "-o", "addr", "show", "eth0");
    expect(addresses).toContain(`${await a!.address4("wa", "calico")}/32`);
    const { stdout: routes } = await a!.inside("wa", "ip", "-4", "route");
    expect(routes.trim().replaceAll(" proto 76", "").split(/ *\n/)).toEqual([
      "default via 169.254.1.1 dev eth0",
      "169.254.1.1 dev eth0 scope link",
    ]);
    expect((await a!.inspect("wa")).NetworkSettings.Networks["calico"]!.Gateway).toBe("169.254.1.1");
  });

  test("reaches all its containers by address and name, directly on the link, by the tunnel behind the router", async () => {
    const all = [
      [a!, "wa"],
      [a!, "wa2"],
      [b!, "wb"],
      [c!, "wc"],
    ] as const;
    for (const [host, from] of all)
      for (const [other, to] of all) {
        if (from === to) continue;
        expect(await reaches(host, from, await other.address4(to, "calico")), `${from} to ${to}`).toBe(true);
        expect((await host.engine.docker(["exec", from, "ping", "-c1", "-W2", to])).code, `${from} to ${to} by name`).toBe(0);
      }
    const { stdout } = await a!.space.run("ip", ["-4", "route"]);
    expect(stdout).toMatch(/10\.50\.\d+\.\d+\/26 via 192\.168\.205\.11 dev eth0/);
    expect(stdout).toMatch(/10\.50\.\d+\.\d+\/26 via 10\.50\.\d+\.\d+ dev lsv-\w+ .*onlink/);
  });

  test("in IPv6 too", async () => {
    const six = async (host: ClusterHost, name: string) =>
      (await host.inspect(name)).NetworkSettings.Networks["calico"]!.GlobalIPv6Address;
    for (const [host, from, to, other] of [
      [a!, "wa", "wa2", a!],
      [a!, "wa", "wb", b!],
      [b!, "wb", "wc", c!],
      [c!, "wc", "wa", a!],
    ] as const)
      expect(await reaches(host, from, await six(other, to)), `${from} to ${to}`).toBe(true);
  });

  test("carries packets of the tunnel's full size", async () => {
    const target = await c!.address4("wc", "calico");
    expect((await a!.inside("wa", "ping", "-c1", "-W2", "-M", "do", "-s", "1422", target)).code).toBe(0);
  });

  test("lets a container send from its own address only", async () => {
    const mine = await a!.address4("wa", "calico");
    const neighbour = await a!.address4("wa2", "calico");
    const target = await b!.address4("wb", "calico");
    await a!.inside("wa", "ip", "addr", "add", `${neighbour}/32`, "dev", "lo");
    expect((await a!.inside("wa", "ping", "-c1", "-W1", "-I", neighbour, target)).code).not.toBe(0);
    expect((await a!.inside("wa", "ping", "-c1", "-W1", "-I", mine, target)).code).toBe(0);
  });

  test("is closed to other networks, leads outside under the host's address, and publishes ports", async () => {
    await b!.network("other", { Driver: "routed" });
    await b!.run("ob", { network: "other" });
    await a!.network("br", { Driver: "bridge" });
    await a!.run("ba", { network: "br" });
    const [wa, wb, ob] = [await a!.address4("wa", "calico"), await b!.address4("wb", "calico"), await b!.address4("ob", "other")];
    const forbidden = [
      [b!, "ob", wb],
      [b!, "ob", wa],
      [b!, "wb", ob],
      [a!, "wa", ob],
      [a!, "ba", wa],
      [a!, "ba", wb],
    ] as const;
    expect(await Promise.all(forbidden.map(([host, from, to]) => pings(host, from, to)))).toEqual(forbidden.map(() => false));
    await lab.internet();
    expect(await pings(a!, "wa", "198.51.100.10")).toBe(true);
    await a!.run("web", {
      network: "calico",
      ports: { "80/tcp": 8080 },
      command: ["sh", "-c", "mkdir -p /www; echo hello >/www/index.html; exec httpd -f -p 80 -h /www"],
    });
    expect(await eventually(async () => (await b!.space.fetch("http://192.168.205.10:8080/")) === "hello")).toBe(true);
    expect(await pings(b!, "ob", await a!.address4("web", "calico"))).toBe(false);
  });

  test("is what the store says on every host, and goes without a trace", async () => {
    for (const host of lab.hosts) expect(await host.differences()).toEqual([]);
    for (const [host, names] of [
      [a!, ["wa", "wa2", "ba", "web"]],
      [b!, ["wb", "ob"]],
      [c!, ["wc"]],
    ] as const)
      for (const name of names) await host.remove(name);
    await c!.must("DELETE", "/networks/calico");
    await c!.must("DELETE", "/networks/other");
    expect(
      await eventually(async () => !/10\.50|lsv-/.test(`${await a!.space.out("ip route")} ${await b!.space.out("ip -o link")}`)),
    ).toBe(true);
    const left = [...(await lab.stored()).keys()].filter((key) => !/\/(nodes|node|schema|pools)\b/.test(key));
    expect(left).toEqual([]);
    for (const host of lab.hosts) expect(await host.differences()).toEqual([]);
  });

  test("mode=host-gw and mode=vxlan are as asked", async () => {
    await a!.network("gw", { Driver: "routed", Options: { mode: "host-gw" } });
    await a!.network("tun", { Driver: "routed", Options: { mode: "vxlan" } });
    for (const n of ["gw", "tun"]) {
      await a!.run(`a-${n}`, { network: n });
      await b!.run(`b-${n}`, { network: n });
      expect(await reaches(a!, `a-${n}`, await b!.address4(`b-${n}`, n)), n).toBe(true);
    }
    const mtu = async (name: string) =>
      / mtu (\d+) /.exec((await a!.inside(name, "ip", "-o", "link", "show", "eth0")).stdout)?.[1];
    expect(await mtu("a-gw")).toBe("1500");
    expect(await mtu("a-tun")).toBe("1450");
    expect((await a!.space.out("ip -o link")).match(/lsv-/g)).toHaveLength(1);
  });

  test("takes another block when many containers start at once and the first one is full", async () => {
    await a!.network("many", { Driver: "routed", IPAM: { Config: [{ Subnet: "10.60.0.0/24" }] } });
    const names = Array.from({ length: 70 }, (_, i) => `m${i}`);
    await Promise.all(names.map((name) => a!.run(name, { network: "many", command: ["sleep", "1000"] })));
    const addresses = await Promise.all(names.map((name) => a!.address4(name, "many")));
    expect(new Set(addresses).size).toBe(70);
    expect([...(await lab.stored()).keys()].filter((key) => /\/block\/.*10\.60/.test(key))).toHaveLength(2);
    await Promise.all(names.map((name) => a!.remove(name)));
  }, 120_000);
});
