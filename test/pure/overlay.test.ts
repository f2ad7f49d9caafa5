import { describe, expect, test } from "vitest";
import { type DriverContext, desiredOf } from "../../src/drivers/index.js";
import { applyChanges, emptyState } from "../../src/model/index.js";
import type { Endpoint, Network, Sandbox } from "../../src/model/network.js";
import { objectKey } from "../../src/plan/objects.js";
import { endpointRecord, networkRecord } from "../lib/records.js";

// Two hosts: node1 is this one (192.168.205.10), node2 the other (192.168.205.11).

const network = (driver: "overlay" | "routed", options: Record<string, string> = {}): Network =>
  networkRecord({
    id: "ab".repeat(32),
    name: "demo",
    driver,
    scope: "global",
    options,
    vni: 256,
    pools: [{ family: 4, subnet: "10.0.0.0/24", gateway: "10.0.0.1", aux: {}, userSubnet: false }],
  });
const sandbox: Sandbox = { id: "s1", containerId: "c1", netns: "s1", sysctls: {}, selfManaged: false, nextIfindex: 1 };
const endpoint = (id: string, ip: string, node?: string): Endpoint =>
  endpointRecord({
    id,
    networkId: "ab".repeat(32),
    sandboxId: node ? `remote-${id}` : "s1",
    containerId: `c-${id}`,
    name: id,
    mac: `02:42:0a:00:00:0${ip.at(-1)}`,
    ipv4: ip,
    ...(node ? { node, hostIfname: "" } : {}),
  });
const ctx: DriverContext = {
  instance: "t",
  uplinkMtu: 1500,
  hostHasIPv6: true,
  nodeId: "node1",
  underlayAddress: "192.168.205.10",
  connectedSubnets: ["192.168.205.0/24"],
};

function state(n: Network, endpoints: readonly Endpoint[], meta: Record<string, unknown> = {}) {
  const s = emptyState();
  applyChanges(s, [
    { kind: "network", id: n.id, value: n },
    { kind: "sandbox", id: "s1", value: sandbox },
    {
      kind: "meta",
      id: "node:node2",
      value: { id: "node:node2", value: { id: "node2", address: "192.168.205.11", alive: true } },
    },
    ...Object.entries(meta).map(([id, value]) => ({ kind: "meta" as const, id, value: { id, value } })),
    ...endpoints.map((e) => ({ kind: "endpoint" as const, id: e.id, value: e })),
  ]);
  return s;
}
const keys = (objects: readonly Parameters<typeof objectKey>[0][]) => objects.map(objectKey).sort();

describe("overlay", () => {
  const n = network("overlay");
  test("a host without endpoints of it has nothing of it, whatever others have", () => {
    const s = state(n, [endpoint("far", "10.0.0.3", "node2")]);
    expect(desiredOf(`network:${n.id}`, s, ctx)).toEqual([]);
    expect(desiredOf("endpoint:far", s, ctx)).toEqual([]);
  });
  test("with the first endpoint: a namespace, a bridge, a VXLAN device, and one row per endpoint elsewhere", () => {
    const s = state(n, [endpoint("far", "10.0.0.3", "node2"), endpoint("near", "10.0.0.2")]);
    expect(keys(desiredOf(`network:${n.id}`, s, ctx))).toEqual([
      "addr|ov-abababababab|br0|10.0.0.1/24",
      "link|ov-abababababab|br0",
      "link|ov-abababababab|lo",
      "link|ov-abababababab|vxlan0",
      "netns|ov-abababababab",
      "nftElement||inet|linkspan|tunnels|4789",
      "nftTable|ov-abababababab|bridge|linkspan",
      "sysctl|ov-abababababab|net.bridge.bridge-nf-call-arptables",
      "sysctl|ov-abababababab|net.bridge.bridge-nf-call-ip6tables",
      "sysctl|ov-abababababab|net.bridge.bridge-nf-call-iptables",
    ]);
    expect(desiredOf("endpoint:far", s, ctx)).toEqual([
      { kind: "fdb", ns: "ov-abababababab", dev: "vxlan0", mac: "02:42:0a:00:00:03", dst: "192.168.205.11" },
      { kind: "neigh", ns: "ov-abababababab", dev: "vxlan0", ip: "10.0.0.3", mac: "02:42:0a:00:00:03" },
    ]);
  });
  test("containers get the underlay's MTU less the tunnel's bytes", () => {
    const s = state(n, [endpoint("near", "10.0.0.2")]);
    const veth = desiredOf("endpoint:near", s, ctx).find((o) => o.kind === "link");
    expect(veth).toMatchObject({ mtu: 1450, peer: { mtu: 1450, name: "eth0" } });
  });
});

describe("routed", () => {
  const blocks = (n: Network) => ({ [`block:${n.id}:10.0.0.0/26`]: "node1", [`block:${n.id}:10.0.0.64/26`]: "node2" });
  test("a container has a /32 and leaves by 169.254.1.1", () => {
    const n = network("routed");
    const s = state(n, [{ ...endpoint("near", "10.0.0.2"), defaultRoute4: true }], blocks(n));
    const objects = desiredOf("endpoint:near", s, ctx);
    expect(objects).toContainEqual({ kind: "addr", ns: "s1", dev: "eth0", address: "10.0.0.2/32" });
    expect(objects).toContainEqual({ kind: "route", ns: "s1", dst: "0.0.0.0/0", via: "169.254.1.1", dev: "eth0" });
    expect(objects).toContainEqual({ kind: "route", ns: "", dst: "10.0.0.2/32", dev: "veth0000001" });
  });
  test("another host's block is reached directly on a common link, through the tunnel elsewhere or when asked to", () => {
    const direct = network("routed");
    expect(desiredOf(`network:${direct.id}`, state(direct, [], blocks(direct)), ctx)).toContainEqual({
      kind: "route",
      ns: "",
      dst: "10.0.0.64/26",
      via: "192.168.205.11",
    });
    const far = { ...ctx, connectedSubnets: ["192.168.99.0/24"] };
    const routes = desiredOf(`network:${direct.id}`, state(direct, [], blocks(direct)), far);
    expect(routes).toContainEqual({
      kind: "route",
      ns: "",
      dst: "10.0.0.64/26",
      via: "10.0.0.64",
      dev: "lsv-ababababab",
      onlink: true,
    });
    expect(routes.find((o) => o.kind === "fdb")).toMatchObject({ dst: "192.168.205.11" });
    const forced = network("routed", { mode: "vxlan" });
    expect(
      desiredOf(`network:${forced.id}`, state(forced, [], blocks(forced)), ctx).some(
        (o) => o.kind === "link" && o.type === "vxlan",
      ),
    ).toBe(true);
  });
  test("an own block is a black hole but for its containers", () => {
    const n = network("routed");
    expect(desiredOf(`network:${n.id}`, state(n, [], blocks(n)), ctx)).toContainEqual({
      kind: "route",
      ns: "",
      dst: "10.0.0.0/26",
      type: "blackhole",
    });
  });
});
