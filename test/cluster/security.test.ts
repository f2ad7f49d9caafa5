import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../lib/run.js";
import { type ClusterHost, ClusterLab } from "./lab.js";

let lab: ClusterLab;
let [a, b]: ClusterHost[] = [];

beforeAll(async () => {
  lab = await ClusterLab.open(2);
  [a, b] = lab.hosts as [ClusterHost, ClusterHost];
  await a.network("demo", { IPAM: { Config: [{ Subnet: "10.9.0.0/24" }] } });
  for (const [host, name, ip] of [
    [a, "one", "10.9.0.11"],
    [a, "two", "10.9.0.12"],
    [b, "far", "10.9.0.13"],
  ] as const)
    await host.run(name, { network: "demo", ip });
}, 60_000);
afterAll(() => lab?.close(), 60_000);

/** Counts what arrives at a container's eth0 in the name of an address, before anything else there sees it. */
async function countFrom(host: ClusterHost, name: string, address: string): Promise<() => Promise<number>> {
  await host.inside(
    name,
    "nft",
    `add table netdev forged
     add chain netdev forged in { type filter hook ingress device eth0 priority -500; }
     flush chain netdev forged in
     add rule netdev forged in ip saddr ${address} counter
     add rule netdev forged in arp saddr ip ${address} counter`,
  );
  return async () => {
    const { stdout } = await host.inside(name, "nft", "list", "chain", "netdev", "forged", "in");
    const counts = [...stdout.matchAll(/packets (\d+)/g)];
    expect(counts).toHaveLength(2);
    return counts.reduce((sum, [, n]) => sum + Number(n), 0);
  };
}

const pings = async (host: ClusterHost, from: string, ...args: string[]) =>
  (await host.inside(from, "ping", "-c1", "-W1", ...args)).code === 0;

describe("an overlay", () => {
  test("lets nobody speak under another's address, to the same host or to another", async () => {
    expect(await eventually(() => pings(a!, "one", "10.9.0.13"))).toBe(true);
    // As root in the namespace, with every capability: the container's own view of itself is not what counts.
    await a!.inside("one", "ip", "addr", "add", "10.9.0.99/32", "dev", "eth0");
    for (const target of ["10.9.0.12", "10.9.0.13"]) {
      const host = target === "10.9.0.12" ? a! : b!;
      const name = target === "10.9.0.12" ? "two" : "far";
      const forged = await countFrom(host, name, "10.9.0.99");
      expect(await pings(a!, "one", "-I", "10.9.0.99", target)).toBe(false);
      expect(await forged()).toBe(0);
      // Eventually: the forger's own kernel may still be failing the resolution that the forged ping began (neighbour(7)).
      expect(await eventually(() => pings(a!, "one", "-I", "10.9.0.11", target))).toBe(true);
    }
    await a!.inside("one", "ip", "addr", "del", "10.9.0.99/32", "dev", "eth0");
  });

  test("takes frames from the cluster's hosts only", async () => {
    const frame = await lab.topology.host("n80", 80);
    const dropped = async () => {
      const { stdout } = await b!.space.run("nft", ["list", "chain", "inet", "linkspan", "tunnelled"]);
      return Number(/packets (\d+)/.exec(stdout)?.[1]);
    };
    // A stranger on the underlay who knows all: the VNI, the MAC and the address.
    const vni = /"vni":(\d+)/.exec([...(await lab.stored())].find(([key]) => /\/network\/[0-9a-f]{64}$/.test(key))![1])![1]!;
    await frame.out(`ip link add vx type vxlan id ${vni} dstport 4789 local 192.168.205.80 remote ${b!.address}`);
    await frame.out("ip addr add 10.9.0.77/24 dev vx");
    await frame.out("ip link set vx up");
    await frame.out("ip neigh add 10.9.0.13 lladdr 02:42:0a:09:00:0d dev vx");
    const before = await dropped();
    const strange = await countFrom(b!, "far", "10.9.0.77");
    await frame.run("ping", ["-c3", "-i0.2", "-W1", "10.9.0.13"]);
    expect(await dropped()).toBeGreaterThanOrEqual(before + 3);
    expect(await strange()).toBe(0);
    expect(await pings(a!, "one", "10.9.0.13")).toBe(true);
  });

  test("is never unencrypted when encryption was asked for", async () => {
    const answer = await a!.engine.api("POST", "/networks/create", {
      Name: "secret",
      Driver: "overlay",
      Options: { encrypted: "" },
    });
    expect(answer.status).toBe(501);
    expect(answer.message).toContain("cannot encrypt");
    expect((await a!.engine.api("GET", "/networks/secret")).status).toBe(404);
  });
});
