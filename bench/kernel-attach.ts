import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "../src/base/log.js";
import type { KernelObject, NftElement } from "../src/plan/objects.js";
import type { Batch } from "../src/plan/port.js";

/**
 * The kernel layer by itself: attach and detach of an endpoint (namespace, veth pair, bridge port, lo and eth0 up, address, default
 * route) with a growing number of endpoints present, and elements of a map. Everything in a namespace of its own.
 */

/** Compiled, this file stands in dist/bench beside dist/kernel. */
const load = async <T>(path: string): Promise<T> => (await import(new URL(`../${path}`, import.meta.url).href)) as T;
const { startKernel } = await load<typeof import("../src/kernel/index.js")>("kernel/index.js");
const { makeNamespace, removeNamespace } = await load<typeof import("../src/kernel/namespaces.js")>("kernel/namespaces.js");

const COUNTS = [1, 100, 500, 1000];
const SAMPLES = 30;
const quiet = () => undefined;
const log: Logger = { debug: quiet, info: quiet, warn: console.error, error: console.error };

// On a tmpfs like the engine's own /run: on a disk the pins of the namespaces cost more than the namespaces.
const root = mkdtempSync("/run/lsb-kernel-");
const hostNetns = join(root, "host");
makeNamespace(hostNetns, () => undefined);
const kernel = await startKernel({ execRoot: root, group: 0x4c00, hostNetns, log });

const bridge: KernelObject = { kind: "link", ns: "", type: "bridge", name: "docker0", mtu: 1500, up: true };
const off = (ns: string, dev: string): KernelObject => ({
  kind: "sysctl",
  ns,
  key: `net.ipv6.conf.${dev}.disable_ipv6`,
  value: "1",
});

function endpoint(n: number): KernelObject[][] {
  const ns = `c${n}`;
  const ip = `172.17.${(n + 2) >> 8}.${(n + 2) & 255}`;
  return [
    [{ kind: "netns", name: ns }, off(ns, "all")],
    [
      { kind: "link", ns, type: "loopback", name: "lo", up: true },
      {
        kind: "link",
        ns: "",
        type: "veth",
        name: `veth${n}`,
        mtu: 1500,
        up: true,
        master: "docker0",
        peer: { ns, name: "eth0", mtu: 1500, up: true },
      },
    ],
    [
      { kind: "addr", ns, dev: "eth0", address: `${ip}/16`, broadcast: "172.17.255.255" },
      { kind: "route", ns, dst: "0.0.0.0/0", dev: "eth0", via: "172.17.0.1" },
    ],
  ];
}

const put = (batches: KernelObject[][]): Batch[] => batches.map((batch) => batch.map((object) => ({ op: "put", object })));
const remove = ([first, second]: KernelObject[][]): Batch[] =>
  [second!.slice(1), first!.slice(0, 1)].map((batch) => batch.map((object) => ({ op: "delete", object })));

async function timed(batches: readonly Batch[]): Promise<{ readonly ms: number; readonly syscalls: number }> {
  const started = performance.now();
  const { failures, syscalls } = await kernel.apply(batches);
  const ms = performance.now() - started;
  if (failures.length > 0) throw new Error(JSON.stringify(failures[0]));
  return { ms, syscalls };
}

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1]!;

try {
  await timed(put([[bridge], [off("", "docker0")], [{ kind: "addr", ns: "", dev: "docker0", address: "172.17.0.1/16" }]]));
  let present = 0;
  for (const count of COUNTS) {
    for (; present < count - 1; present++) await timed(put(endpoint(present)));
    const attach: number[] = [];
    const detach: number[] = [];
    let syscalls = 0;
    for (let i = 0; i < SAMPLES; i++) {
      const done = await timed(put(endpoint(5000)));
      attach.push(done.ms);
      syscalls = done.syscalls;
      detach.push((await timed(remove(endpoint(5000)))).ms);
    }
    console.log(
      `endpoints ${count}: attach p50 ${median(attach).toFixed(2)} ms (${syscalls} system calls), detach p50 ${median(detach).toFixed(2)} ms`,
    );
  }
  await elements();
} finally {
  await kernel.apply(
    Array.from({ length: 1000 }, (_, i) => remove(endpoint(i))).reduce<Batch[]>(
      ([links = [], namespaces = []], [l, n]) => [
        [...links, ...l!],
        [...namespaces, ...n!],
      ],
      [],
    ),
  );
  await kernel.close();
  removeNamespace(hostNetns);
  rmSync(root, { recursive: true, force: true });
}

async function elements(): Promise<void> {
  const text = "map ports { type inet_proto . inet_service : ipv4_addr . inet_service; }\n";
  await timed(put([[{ kind: "nftTable", ns: "", family: "inet", table: "bench", hash: "bench", text }]]));
  const element = (n: number): NftElement => ({
    kind: "nftElement",
    ns: "",
    family: "inet",
    table: "bench",
    set: "ports",
    key: [
      { type: "inet_proto", value: "tcp" },
      { type: "inet_service", value: n },
    ],
    data: [
      { type: "ipv4_addr", value: "172.17.0.2" },
      { type: "inet_service", value: 80 },
    ],
    comment: `endpoint ${n}`,
  });
  const all = Array.from({ length: 10_000 }, (_, i) => element(i + 1));
  const bulk: number[] = [];
  const one: number[] = [];
  for (let i = 0; i < 7; i++) {
    bulk.push((await timed(put([all]))).ms);
    for (let n = 0; n < 10; n++) one.push((await timed(put([[element(20_000 + i * 10 + n)]]))).ms);
    await timed([all.map((object) => ({ op: "delete", object }))]);
  }
  console.log(`10,000 elements p50 ${median(bulk).toFixed(1)} ms; one more p50 ${median(one).toFixed(3)} ms`);
}
