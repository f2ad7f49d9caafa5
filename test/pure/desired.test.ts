import { describe, expect, it } from "vitest";
import { allOwners, type DriverContext, desiredAll, desiredOf } from "../../src/drivers/index.js";
import { applyChanges, detach, type ModelState, removeNetwork } from "../../src/model/index.js";
import type { KernelObject } from "../../src/plan/index.js";
import { must, World } from "./world.js";

const ctx: DriverContext = { instance: "t", uplinkMtu: 1500, hostHasIPv6: true };
const own = (owner: string, state: ModelState, c = ctx) =>
  desiredOf(owner, state, c).filter(
    (o) => o.kind !== "nftElement" && o.kind !== "nftTable" && !(o.kind === "sysctl" && o.ns === ""),
  );
const find = <K extends KernelObject["kind"]>(objects: readonly KernelObject[], kind: K) =>
  objects.filter((o): o is Extract<KernelObject, { kind: K }> => o.kind === kind);

describe("a bridge network", () => {
  it("has a device with a stable MAC and the gateway's address", () => {
    const w = new World();
    const bridge = w.byName("bridge");
    const objects = own(`network:${bridge.id}`, w.state);
    expect(objects).toEqual([
      {
        kind: "link",
        ns: "",
        type: "bridge",
        name: "docker0",
        mtu: 1500,
        mac: expect.stringMatching(/^02:42(:[0-9a-f]{2}){4}$/),
        up: true,
      },
      { kind: "addr", ns: "", dev: "docker0", address: "172.17.0.1/16", broadcast: "172.17.255.255" },
    ]);
    expect(own(`network:${bridge.id}`, w.state)).toEqual(objects);
  });

  it("follows the uplink's MTU unless it has its own", () => {
    const w = new World();
    const [a, b] = [w.network({ Name: "a" }), w.network({ Name: "b", Options: { "com.docker.network.driver.mtu": "1400" } })];
    const mtu = (id: string) => find(own(`network:${id}`, w.state, { ...ctx, uplinkMtu: 1420 }), "link")[0]!.mtu;
    expect([mtu(a.id), mtu(b.id)]).toEqual([1420, 1400]);
  });

  it("has no address with inhibit_ipv4 or in isolated mode", () => {
    const w = new World();
    const a = w.network({ Name: "a", Options: { "com.docker.network.bridge.inhibit_ipv4": "true" } });
    const b = w.network({ Name: "b", Internal: true, Options: { "com.docker.network.bridge.gateway_mode_ipv4": "isolated" } });
    for (const n of [a, b]) expect(find(own(`network:${n.id}`, w.state), "addr")).toEqual([]);
    expect(w.run("c", b).defaultRoute4).toBe(false);
    expect(w.run("c", a).defaultRoute4).toBe(true);
  });

  it("grows by a second bridge on a trunk, which keeps isolated ports apart", () => {
    const w = new World();
    const n = w.network({ Name: "n", Options: { "com.docker.network.bridge.enable_icc": "false" } });
    applyChanges(w.state, [{ kind: "network", id: n.id, value: { ...n, segments: 2 } }]);
    const links = find(own(`network:${n.id}`, w.state), "link");
    expect(links.map((l) => [l.type, l.name, l.master])).toEqual([
      ["bridge", n.bridgeName, undefined],
      ["bridge", `b1-${n.id.slice(0, 11)}`, undefined],
      ["veth", `u1-${n.id.slice(0, 11)}`, n.bridgeName],
    ]);
    expect(links[2]).toMatchObject({ port: { isolated: true }, peer: { master: `b1-${n.id.slice(0, 11)}`, up: true } });
    expect(new Set(links.map((l) => l.mac)).size).toBe(3);
    for (const l of links) expect(l.name.length).toBeLessThan(16);
  });
});

describe("a container", () => {
  it("has a namespace with Docker's sysctls, and those of the user", () => {
    const w = new World();
    const s = w.sandbox("c", { sysctls: { "net.ipv4.ip_unprivileged_port_start": "1024", "net.core.somaxconn": "99" } });
    expect(desiredOf(`sandbox:${s.id}`, w.state, ctx)).toEqual([
      { kind: "netns", name: s.netns },
      { kind: "link", ns: s.netns, name: "lo", type: "loopback", up: true },
      { kind: "sysctl", ns: s.netns, key: "net.ipv4.ip_unprivileged_port_start", value: "1024" },
      { kind: "sysctl", ns: s.netns, key: "net.ipv4.ping_group_range", value: "0\t2147483647" },
      { kind: "sysctl", ns: s.netns, key: "net.ipv6.conf.all.disable_ipv6", value: "1" },
      { kind: "sysctl", ns: s.netns, key: "net.core.somaxconn", value: "99" },
    ]);
  });

  it("has a veth, an address and a default route", () => {
    const w = new World();
    const e = w.run("test01", w.byName("bridge"));
    const ns = w.state.sandboxes.get(e.sandboxId)!.netns;
    expect(own(`endpoint:${e.id}`, w.state)).toEqual([
      {
        kind: "link",
        ns: "",
        type: "veth",
        name: e.hostIfname,
        mtu: 1500,
        up: true,
        master: "docker0",
        peer: { ns, name: "eth0", mac: "02:42:ac:11:00:02", up: true, mtu: 1500 },
      },
      { kind: "addr", ns, dev: "eth0", address: "172.17.0.2/16", broadcast: "172.17.255.255" },
      { kind: "route", ns, dst: "0.0.0.0/0", via: "172.17.0.1", dev: "eth0" },
    ]);
  });

  it("has IPv6 where its network has", () => {
    const w = new World();
    const e = w.run("s6", w.network({ Name: "six", EnableIPv6: true, IPAM: { Config: [{ Subnet: "fd00:99::/64" }] } }));
    const ns = w.state.sandboxes.get(e.sandboxId)!.netns;
    const objects = own(`endpoint:${e.id}`, w.state);
    expect(objects).toContainEqual({ kind: "addr", ns, dev: "eth0", address: "fd00:99::2/64", nodad: true });
    expect(objects).toContainEqual({ kind: "route", ns, dst: "::/0", via: "fd00:99::1", dev: "eth0" });
    expect(objects).toContainEqual({ kind: "sysctl", ns, key: "net.ipv6.conf.eth0.disable_ipv6", value: "0" });
    // A host without IPv6 still runs it, on IPv4.
    expect(find(own(`endpoint:${e.id}`, w.state, { ...ctx, hostHasIPv6: false }), "addr").map((a) => a.address)).toEqual([
      "172.18.0.2/16",
    ]);
  });

  it("has nothing of the kind on host and none", () => {
    const w = new World();
    const s = w.sandbox("h", { netns: "" });
    const e = w.join(s.id, w.byName("host"));
    const n = w.run("n", w.byName("none"));
    expect([e.mac, e.ifname, e.ipv4]).toEqual(["", "", undefined]);
    for (const owner of [`sandbox:${s.id}`, `endpoint:${e.id}`, `endpoint:${n.id}`])
      expect(desiredOf(owner, w.state, ctx)).toEqual([]);
  });
});

it("owners that are gone have nothing; all owners together have everything", () => {
  const w = new World();
  const n = w.network({ Name: "n" });
  const e = w.run("c", n);
  expect(allOwners(w.state)).toContain(`endpoint:${e.id}`);
  expect(desiredAll(w.state, ctx)).toEqual(allOwners(w.state).flatMap((o) => desiredOf(o, w.state, ctx)));
  applyChanges(w.state, detach(w.state, e).changes);
  applyChanges(w.state, must(removeNetwork(w.state, n)).changes);
  expect(desiredOf(`endpoint:${e.id}`, w.state, ctx)).toEqual([]);
  expect(desiredOf(`network:${n.id}`, w.state, ctx)).toEqual([]);
});
