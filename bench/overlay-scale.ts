import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { DriverContext } from "../src/drivers/index.js";
import type { Change, Endpoint, Network } from "../src/model/index.js";

/**
 * What a cluster of 1,000 hosts with 100 containers each costs one host and etcd: computed with the real mirror, model, drivers and planner, without
 * a kernel. Writes docs/scale.md.
 */
const HOSTS = 1_000;
const PER_HOST = 100;
const NETWORKS = 1_000;
const load = async <T>(path: string): Promise<T> => (await import(new URL(`../${path}`, import.meta.url).href)) as T;
const { keysOf } = await load<typeof import("../src/cluster/keys.js")>("cluster/keys.js");
const { Mirror } = await load<typeof import("../src/cluster/mirror.js")>("cluster/mirror.js");
const { transactionOf } = await load<typeof import("../src/cluster/txn.js")>("cluster/txn.js");
const { encodeEndpoint, encodeNetwork } = await load<typeof import("../src/cluster/values.js")>("cluster/values.js");
const { desiredOf } = await load<typeof import("../src/drivers/index.js")>("drivers/index.js");
const { applyChanges, emptyState, plainNetwork } = await load<typeof import("../src/model/index.js")>("model/index.js");
const { objectKey, plan } = await load<typeof import("../src/plan/index.js")>("plan/index.js");

const keys = keysOf("docker");
const self = "node-0";
const hex = (n: number, digits: number) => n.toString(16).padStart(digits, "0");

const network = (i: number): Network => ({
  ...plainNetwork(hex(i, 64), "2026-01-01T00:00:00Z"),
  name: `net${i}`,
  driver: "overlay",
  scope: "global",
  vni: 256 + i,
  pools: [
    { family: 4, subnet: `10.${i >> 8}.${i & 255}.0/24`, gateway: `10.${i >> 8}.${i & 255}.1`, aux: {}, userSubnet: false },
  ],
});

/** Container n of the cluster: on host n / 100, on network n mod 1,000: each network has 100 members on 100 hosts. */
function endpoint(n: number): Endpoint {
  const i = n % NETWORKS;
  const member = Math.floor(n / NETWORKS) + 2;
  const node = `node-${Math.floor(n / PER_HOST)}`;
  return {
    id: hex(n, 64),
    networkId: hex(i, 64),
    sandboxId: hex(n, 64),
    containerId: hex(n, 64),
    name: `container${n}`,
    aliases: [hex(n, 12)],
    links: {},
    mac: `02:42:0a:${hex(i >> 8, 2)}:${hex(i & 255, 2)}:${hex(member, 2)}`,
    ipv4: `10.${i >> 8}.${i & 255}.${member}`,
    ifname: "eth0",
    hostIfname: `veth${hex(n, 7)}`,
    gatewayPriority: 0,
    defaultRoute4: false,
    defaultRoute6: false,
    ports: [],
    exposedPorts: ["80/tcp"],
    driverOpts: {},
    sequence: n,
    node,
  };
}

const collect = (): number => {
  (globalThis as { gc?: () => void }).gc?.();
  return process.memoryUsage().heapUsed / 2 ** 20;
};
const timed = <T>(body: () => T): { readonly ms: number; readonly value: T } => {
  const start = performance.now();
  const value = body();
  return { ms: performance.now() - start, value };
};

const mirror = new Mirror(keys, self);
const state = emptyState();
const context: DriverContext = {
  instance: "scale",
  uplinkMtu: 1500,
  hostHasIPv6: true,
  nodeId: self,
  underlayAddress: "10.250.0.1",
  state,
};
let revision = 1;
let storeBytes = 0;
const enter = (key: string, value: string | undefined): readonly Change[] => {
  storeBytes += value === undefined ? 0 : key.length + value.length;
  const { changes } = mirror.apply(key, value, revision++, { own: false });
  applyChanges(state, changes);
  return changes;
};

const before = collect();
const filled = timed(() => {
  for (let i = 0; i < HOSTS; i++)
    enter(
      keys.node(`node-${i}`),
      JSON.stringify({
        id: `node-${i}`,
        advertise: `10.250.${i >> 8}.${i & 255}:2375`,
        address: `10.250.${i >> 8}.${i & 255}`,
        hostname: `host${i}`,
      }),
    );
  for (let i = 0; i < NETWORKS; i++) enter(keys.network(hex(i, 64)), encodeNetwork(network(i)));
  for (let n = 0; n < HOSTS * PER_HOST; n++) {
    const e = endpoint(n);
    enter(keys.endpoint(e.networkId, e.id), encodeEndpoint(e, "10.250.0.2"));
    enter(keys.name(e.networkId, e.name), e.id);
    enter(keys.address(e.networkId, e.ipv4!), e.id);
  }
});
// This host's own 100, as it has them itself.
const own = Array.from({ length: PER_HOST }, (_, n) => endpoint(n));
applyChanges(
  state,
  own.flatMap((e): Change[] => {
    const { node: _, ...mine } = e;
    return [
      {
        kind: "sandbox",
        id: e.sandboxId,
        value: {
          id: e.sandboxId,
          containerId: e.containerId,
          netns: e.sandboxId.slice(52),
          sysctls: {},
          selfManaged: false,
          nextIfindex: 1,
        },
      },
      { kind: "endpoint", id: e.id, value: mine },
    ];
  }),
);
const memory = collect() - before;

const present = new Set(own.map((e) => e.networkId));
const remote = [...state.endpoints.values()].filter((e) => e.node !== undefined && present.has(e.networkId));
const whole = timed(() =>
  [...present]
    .flatMap((id) => [...desiredOf(`network:${id}`, state, context)])
    .concat(remote.flatMap((e) => [...desiredOf(`endpoint:${e.id}`, state, context)])),
);
const planned = timed(() => plan(whole.value, []));
const unique = new Set(whole.value.map(objectKey)).size;

/** One endpoint elsewhere comes and goes again: what the watch tells, through mirror, model, drivers and planner. */
function event(e: Endpoint): number {
  const start = performance.now();
  for (const value of [encodeEndpoint(e, "10.250.0.2"), undefined]) {
    const was = [...desiredOf(`endpoint:${e.id}`, state, context)];
    enter(keys.endpoint(e.networkId, e.id), value);
    plan([...desiredOf(`endpoint:${e.id}`, state, context)], was);
    mirror.passed(revision);
  }
  return ((performance.now() - start) / 2) * 1_000;
}
const fresh = (networkId: string, n: number): Endpoint => ({
  ...endpoint(n),
  id: hex(9_000_000 + n, 64),
  networkId,
  name: `fresh${n}`,
  ipv4: "10.0.0.250",
});
const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1]!;
const here = median(Array.from({ length: 2_000 }, (_, n) => event(fresh([...present][n % present.size]!, 50_000 + n))));
const elsewhere = median(Array.from({ length: 2_000 }, (_, n) => event(fresh(hex(500 + (n % 400), 64), 50_000 + n))));
const copy = timed(() => JSON.stringify(mirror.snapshot()));

const one = fresh(own[0]!.networkId, 77);
const transaction = transactionOf([{ kind: "endpoint", id: one.id, value: one }], keys, mirror, {
  nodeId: self,
  address: "10.250.0.1",
});
const transactionBytes = [...transaction.puts].reduce((sum, [k, v]) => sum + k.length + v.length, 0);
const fmt = (n: number, digits = 0) => n.toLocaleString("en", { maximumFractionDigits: digits });

const rows: readonly (readonly [string, string])[] = [
  ["endpoints in the cluster", fmt(HOSTS * PER_HOST)],
  ["networks; members of each, on as many hosts", `${fmt(NETWORKS)}; ${fmt((HOSTS * PER_HOST) / NETWORKS)}`],
  ["networks that one host is on", fmt(present.size)],
  ["kernel objects of overlays on one host (one forwarding and one neighbour entry per endpoint elsewhere)", fmt(unique)],
  [
    "memory for mirror and model on one host",
    `${fmt(memory)} MiB (${fmt((memory * 1024) / (HOSTS * PER_HOST), 1)} KiB per endpoint)`,
  ],
  ["reading and entering the whole store at the start", `${fmt(filled.ms)} ms`],
  ["computing all that the kernel should hold", `${fmt(whole.ms)} ms`],
  ["planning all of it for an empty kernel", `${fmt(planned.ms)} ms`],
  ["one endpoint comes or goes on a network that the host is on", `${fmt(here)} µs`],
  ["one endpoint comes or goes on a network that it is not on", `${fmt(elsewhere)} µs`],
  ["the copy on disk", `${fmt(copy.value.length / 2 ** 20, 1)} MiB, ${fmt(copy.ms)} ms, at most 1/20 of the time`],
  ["etcd: content", `${fmt(storeBytes / 2 ** 20)} MiB, ${fmt(HOSTS * PER_HOST * 3 + NETWORKS * 3 + HOSTS * 2)} keys`],
  [
    "etcd: one container start",
    `1 transaction of ${transaction.guards.length} comparisons and ${transaction.puts.size} puts, ${fmt(transactionBytes)} bytes`,
  ],
  ["etcd: told to the watches for it", `${fmt((transactionBytes * HOSTS) / 2 ** 20, 1)} MiB in all (${fmt(HOSTS)} hosts)`],
  [
    "etcd: with 10 starts and 10 ends a second in the cluster",
    `20 transactions/s, about ${fmt((transactionBytes * HOSTS * 15) / 2 ** 20)} MiB/s of watches in all, ${fmt((transactionBytes * 15) / 1024)} KiB/s to each host`,
  ],
  ["etcd: leases kept alive", `${fmt(HOSTS / 5)} messages/s (every 5 s of 15)`],
];
const text = `# A thousand hosts

What a cluster of ${fmt(HOSTS)} hosts with ${PER_HOST} containers each costs. Computed by \`node --expose-gc dist/bench/overlay-scale.js\` with the mirror, the model,
the drivers and the planner that the engine runs; the kernel and etcd themselves take no part. Written by that script; not edited by hand.

| what | cost |
|---|---|
${rows.map(([what, cost]) => `| ${what} | ${cost} |`).join("\n")}

Work per event does not grow with the cluster: it is that endpoint's own objects. What grows is memory, with the number of endpoints, and the
watches, with hosts × changes: beyond some hundred changes a second etcd's fan-out is what a larger cluster has to divide by prefix.
`;
const path = fileURLToPath(new URL("../../docs/scale.md", import.meta.url));
writeFileSync(path, text);
console.log(text);
