import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Etcd3 } from "etcd3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openEtcdCluster } from "../../src/cluster/etcd.js";
import { type Cluster, ClusterConflict, ClusterUnavailable } from "../../src/cluster/index.js";
import { keysOf } from "../../src/cluster/keys.js";
import { Mirror } from "../../src/cluster/mirror.js";
import { transactionOf } from "../../src/cluster/txn.js";
import { encodeEndpoint, encodeNetwork } from "../../src/cluster/values.js";
import type { Endpoint, Network } from "../../src/model/network.js";
import type { Change } from "../../src/model/state.js";
import { endpointRecord, networkRecord } from "../lib/records.js";
import { sleep, until } from "../lib/run.js";
import { etcdArguments } from "./etcd-arguments.js";

// Real etcd on loopback; two hosts are two clients. Read from top to bottom: the tests tell one story.

const dir = mkdtempSync(join(tmpdir(), "lst-etcd-"));
let client: number;
let peer: number;
let etcd: ChildProcess;

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
const eventually = (what: () => boolean, ms = 8_000) => until(what.toString(), what, ms);

async function startEtcd(): Promise<void> {
  const peerUrl = `http://127.0.0.1:${peer}`;
  etcd = spawn("etcd", etcdArguments(join(dir, "data"), [`http://127.0.0.1:${client}`], peerUrl), { stdio: "ignore" });
  const probe = new Etcd3({ hosts: `http://127.0.0.1:${client}` });
  for (let i = 0; i < 100; i++) {
    if (
      await probe
        .get("x")
        .exists()
        .then(
          () => true,
          () => false,
        )
    )
      break;
    await sleep(100);
  }
  probe.close();
}

interface Host {
  readonly cluster: Cluster;
  readonly seen: Map<string, unknown>;
  readonly own: Map<string, Endpoint>;
  readonly lost: string[];
}
async function host(name: string): Promise<Host> {
  const seen = new Map<string, unknown>();
  const own = new Map<string, Endpoint>();
  const lost: string[] = [];
  const cluster = await openEtcdCluster(
    {
      hosts: [`127.0.0.1:${client}`],
      prefix: "docker",
      advertise: `10.0.0.${name}:2375`,
      address: `10.0.0.${name}`,
      hostname: `h${name}`,
      nodeId: `node${name}`,
      now: () => new Date().toISOString(),
      cacheFile: join(dir, `cache-${name}`),
      log: { info: () => {}, warn: () => {} },
    },
    {
      onChanges: (changes) => {
        for (const c of changes)
          c.value === undefined ? seen.delete(`${c.kind}:${c.id}`) : seen.set(`${c.kind}:${c.id}`, c.value);
      },
      onLost: (ids) => lost.push(...ids),
      own: () => own.values(),
      onAvailability: () => {},
    },
  );
  return { cluster, seen, own, lost };
}

const network = (id: string, name: string, subnet: string): Network =>
  networkRecord({
    id,
    name,
    driver: "overlay",
    scope: "global",
    vni: 256,
    pools: [{ family: 4, subnet, gateway: subnet.replace("0/24", "1"), aux: {}, userSubnet: false }],
  });
const endpoint = (id: string, node: string, name: string, ipv4: string): Endpoint =>
  endpointRecord({ id, networkId: "n1", name, ipv4, hostIfname: `veth${id}`, node });
/** As the engine does it: the model has the endpoint before the store is asked, and gives it up when that refuses. */
async function put(h: Host, e: Endpoint): Promise<void> {
  h.own.set(e.id, e);
  try {
    await h.cluster.commit([{ kind: "endpoint", id: e.id, value: e }]);
  } catch (error) {
    h.own.delete(e.id);
    throw error;
  }
}
const change = (n: Network): Change => ({ kind: "network", id: n.id, value: n });

describe("two hosts and one etcd", () => {
  let a: Host;
  let b: Host;
  beforeAll(async () => {
    client = await freePort();
    peer = await freePort();
    await startEtcd();
    a = await host("1");
    b = await host("2");
  });
  afterAll(async () => {
    await a.cluster.close();
    await b.cluster.close();
    etcd.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  });

  test("both see both, alive", async () => {
    await eventually(
      () => a.cluster.nodes().filter((n) => n.alive).length === 2 && b.cluster.nodes().filter((n) => n.alive).length === 2,
    );
  });

  test("a network made on one is there on the other, and its value is the one that people know", async () => {
    await a.cluster.commit([change(network("n1", "demo", "10.0.0.0/24"))]);
    await eventually(() => b.seen.has("network:n1"));
    const etcdClient = new Etcd3({ hosts: `http://127.0.0.1:${client}` });
    const value = (await etcdClient.get("/docker/network/v1.0/network/n1").json()) as Record<string, unknown>;
    etcdClient.close();
    expect(value).toMatchObject({
      addrSpace: "GlobalDefault",
      enableIPv6: false,
      name: "demo",
      networkType: "overlay",
      scope: "global",
      ipamType: "default",
      persist: true,
      inDelete: false,
    });
    expect(value["ipamV4Info"]).toBe(
      '[{"IPAMData":"{\\"AddressSpace\\":\\"GlobalDefault\\",\\"Gateway\\":\\"10.0.0.1/24\\",\\"Pool\\":\\"10.0.0.0/24\\"}","PoolID":"GlobalDefault/10.0.0.0/24"}]',
    );
  });

  test("of two networks with one name, or two at the same moment, one wins", async () => {
    await expect(b.cluster.commit([change(network("n2", "demo", "10.0.1.0/24"))])).rejects.toMatchObject({ what: "network" });
    const results = await Promise.allSettled([
      a.cluster.commit([change(network("n3", "x", "10.0.1.0/24"))]),
      b.cluster.commit([change(network("n4", "y", "10.0.1.0/24"))]),
    ]);
    expect(results.filter((r) => r.status === "fulfilled")).toHaveLength(1);
    expect((results.find((r) => r.status === "rejected") as PromiseRejectedResult).reason).toBeInstanceOf(ClusterConflict);
  });

  test("addresses and names are claimed once, whoever comes first", async () => {
    const results = await Promise.allSettled([
      put(a, endpoint("e1", "node1", "one", "10.0.0.2")),
      put(b, endpoint("e2", "node2", "two", "10.0.0.2")),
    ]);
    expect(results.filter((r) => r.status === "fulfilled")).toHaveLength(1);
    const loser = results[0].status === "rejected" ? a : b;
    expect((results.find((r) => r.status === "rejected") as PromiseRejectedResult).reason).toMatchObject({ what: "address" });
    await put(loser, endpoint("e5", loser === a ? "node1" : "node2", "three", "10.0.0.3"));
    const winner = loser === a ? b : a;
    await eventually(() => winner.seen.has("endpoint:e5"));
    await expect(put(winner, endpoint("e6", winner === a ? "node1" : "node2", "three", "10.0.0.9"))).rejects.toMatchObject({
      what: "name",
    });
  });

  test("a network with endpoints is not removed, not even in a race", async () => {
    await put(a, endpoint("e7", "node1", "seven", "10.0.0.7"));
    // whether b has seen e7 already or not: its own look or the guard on the members key must catch it
    await expect(b.cluster.commit([{ kind: "network", id: "n1", value: undefined }])).rejects.toMatchObject({ what: "endpoint" });
  });

  test("etcd away: the mirror stays, decisions are refused, withdrawals wait; etcd back: all agree again", async () => {
    etcd.kill("SIGKILL");
    await eventually(() => !a.cluster.available && !b.cluster.available);
    await expect(a.cluster.commit([change(network("n9", "late", "10.0.9.0/24"))])).rejects.toBeInstanceOf(ClusterUnavailable);
    expect(b.seen.has("endpoint:e7")).toBe(true);
    a.own.delete("e7");
    await a.cluster.commit([{ kind: "endpoint", id: "e7", value: undefined }]);
    await startEtcd();
    await eventually(() => a.cluster.available && b.cluster.available, 15_000);
    await eventually(() => !b.seen.has("endpoint:e7"));
    await put(a, endpoint("e8", "node1", "eight", "10.0.0.7"));
    await eventually(() => b.seen.has("endpoint:e8"));
  });

  test("an address of a routed network is refused while its block is not this host's", async () => {
    await a.cluster.commit([change({ ...network("r1", "routed", "10.0.20.0/24"), driver: "routed" })]);
    await eventually(() => b.seen.has("network:r1"));
    const block: Change = { kind: "meta", id: "block:r1:10.0.20.0/26", value: { id: "block:r1:10.0.20.0/26", value: "node1" } };
    const inBlock = { ...endpoint("e20", "node1", "twenty", "10.0.20.1"), networkId: "r1" };
    await expect(put(a, inBlock)).rejects.toMatchObject({ what: "block" });
    await a.cluster.commit([block]);
    await put(a, inBlock);
    // Another host, which has not heard of it or has not been heard yet.
    const elsewhere = { ...endpoint("e21", "node2", "other", "10.0.20.2"), networkId: "r1" };
    await expect(put(b, elsewhere)).rejects.toMatchObject({ what: "block" });
    a.own.delete("e20");
    await a.cluster.commit([{ kind: "endpoint", id: "e20", value: undefined }]);
    await a.cluster.commit([
      { kind: "network", id: "r1", value: undefined },
      { ...block, value: undefined },
    ]);
  });

  test("a removal that arrives late takes nothing from whoever has the name and the address by then", async () => {
    await put(a, endpoint("e9", "node1", "nine", "10.0.0.9"));
    await eventually(() => b.seen.has("endpoint:e9"));
    // What a would send again, had its first removal got no answer: decided while e9 was there.
    const mirror = new Mirror(keysOf("docker"), "node1");
    const raw = new Etcd3({ hosts: `http://127.0.0.1:${client}` });
    for (const [key, value] of Object.entries(await raw.getAll().prefix("/docker/").strings()))
      mirror.apply(key, value, 1, { own: false });
    const gone: Change = { kind: "endpoint", id: "e9", value: undefined };
    const late = transactionOf([gone], keysOf("docker"), mirror, { nodeId: "node1", address: "10.0.0.1" });
    a.own.delete("e9");
    await a.cluster.commit([gone]);
    await eventually(() => !b.seen.has("endpoint:e9"));
    await put(b, endpoint("e10", "node2", "nine", "10.0.0.9"));
    const claims = [keysOf("docker").name("n1", "nine"), keysOf("docker").address("n1", "10.0.0.9")];
    expect([...late.deletes]).toEqual(expect.arrayContaining(claims));
    const [guard] = late.guards;
    const answer = await raw
      .if(guard!.key, "Version", ">", 0)
      .then(...[...late.deletes].map((key) => raw.delete().key(key)))
      .commit();
    expect(answer.succeeded).toBe(false);
    expect(await Promise.all(claims.map((key) => raw.get(key).string()))).toEqual(["e10", "e10"]);
    raw.close();
    b.own.delete("e10");
    await b.cluster.commit([{ kind: "endpoint", id: "e10", value: undefined }]);
  });

  test("a network whose creation was given up for want of an answer is taken away if etcd makes it all the same", async () => {
    const late = network("n10", "ghost", "10.0.10.0/24");
    etcd.kill("SIGSTOP");
    await expect(a.cluster.commit([change(late)])).rejects.toBeInstanceOf(ClusterUnavailable);
    etcd.kill("SIGCONT");
    await eventually(() => a.cluster.available && b.cluster.available, 15_000);
    // Whether the transaction got through is etcd's luck: here it has.
    const raw = new Etcd3({ hosts: `http://127.0.0.1:${client}` });
    const keys = keysOf("docker");
    const record = [
      [keys.network("n10"), encodeNetwork(late)],
      [keys.networkName("ghost"), "n10"],
      [keys.members("n10"), "{}"],
    ] as const;
    await raw
      .if(keys.schema, "Version", ">", 0)
      .then(...record.map(([key, value]) => raw.put(key).value(value)))
      .commit();
    const left = async () => (await Promise.all(record.map(([key]) => raw.get(key).exists()))).filter(Boolean).length;
    await until("the network is gone from the store", async () => (await left()) === 0, 8_000);
    raw.close();
    await eventually(() => !a.seen.has("network:n10") && !b.seen.has("network:n10"));
    await b.cluster.commit([change(network("n11", "ghost", "10.0.10.0/24"))]);
    await b.cluster.commit([{ kind: "network", id: "n11", value: undefined }]);
  });

  test("an engine that starts without etcd knows what it knew", async () => {
    await sleep(700);
    await b.cluster.close();
    etcd.kill("SIGKILL");
    await sleep(100);
    b = await host("2");
    expect(b.cluster.available).toBe(false);
    expect(b.seen.has("network:n1") && b.seen.has("endpoint:e8")).toBe(true);
    await startEtcd();
    await eventually(() => b.cluster.available, 15_000);
  });

  test("an endpoint removed by another host is reported as lost", async () => {
    await eventually(() => a.cluster.available, 15_000);
    await b.cluster.removeEndpoint("n1", "e8");
    await eventually(() => a.lost.includes("e8"));
  });

  test("a store larger than one message of gRPC is read whole", async () => {
    const etcdClient = new Etcd3({ hosts: `http://127.0.0.1:${client}` });
    const names = Array.from({ length: 4_500 }, (_, i) => `p${i}`);
    for (let from = 0; from < names.length; from += 100) {
      const puts = names.slice(from, from + 100).map((id) => {
        const e = endpoint(id, "node9", id, `10.9.${Number(id.slice(1)) >> 8}.${Number(id.slice(1)) & 255}`);
        return etcdClient.put(`/docker/network/v1.0/endpoint/n1/${id}`).value(encodeEndpoint(e, "10.0.0.9"));
      });
      await etcdClient
        .if("/docker/network/v1.0/schema", "Version", ">", 0)
        .then(...puts)
        .commit();
    }
    etcdClient.close();
    const c = await host("3");
    expect(c.cluster.available).toBe(true);
    expect(names.filter((id) => !c.seen.has(`endpoint:${id}`))).toEqual([]);
    await c.cluster.close();
  });
});
