import { afterEach, beforeEach, expect, test } from "vitest";
import { type KernelObject, type Link, type NftElement, objectKey } from "../../src/plan/objects.js";
import type { Drift } from "../../src/plan/port.js";
import { sleep } from "../lib/run.js";
import { type Lab, openLab } from "./lab.js";

let lab: Lab;
let drifts: Drift[];
let stop: () => void;
beforeEach(async () => {
  lab = await openLab();
  drifts = [];
  stop = lab.kernel.watch((drift) => drifts.push(drift));
  // The watch is on when the thread has answered what came after it.
  await lab.kernel.hostLinks();
});
afterEach(async () => {
  stop();
  await lab.close();
});

const bridge: Link = { kind: "link", ns: "", type: "bridge", name: "docker0", mtu: 1500, up: true };
const veth: Link = {
  kind: "link",
  ns: "",
  type: "veth",
  name: "veth1",
  mtu: 1500,
  up: true,
  master: "docker0",
  peer: { ns: "c1", name: "eth0", up: true, mac: "02:42:ac:11:00:02" },
};
const gateway: KernelObject = { kind: "addr", ns: "", dev: "docker0", address: "172.17.0.1/16" };
const address: KernelObject = { kind: "addr", ns: "c1", dev: "eth0", address: "172.17.0.2/16" };
const route: KernelObject = { kind: "route", ns: "c1", dst: "0.0.0.0/0", dev: "eth0", via: "172.17.0.1" };
const table: KernelObject = {
  kind: "nftTable",
  ns: "",
  family: "inet",
  table: "linkspan",
  hash: "h",
  text: "set s { type inet_service; }\nchain c { accept\n }\n",
};
const element = (n: number): NftElement => ({
  kind: "nftElement",
  ns: "",
  family: "inet",
  table: "linkspan",
  set: "s",
  key: [{ type: "inet_service", value: n }],
});

/** What is told about a change, within two seconds. */
async function driftAfter(action: () => unknown): Promise<string[]> {
  drifts.length = 0;
  action();
  for (let i = 0; i < 200 && drifts.length === 0; i++) await sleep(10);
  await sleep(60);
  return [...new Set(drifts.flatMap((d) => d.keys))];
}

async function build(): Promise<void> {
  await lab.put(bridge, gateway, { kind: "netns", name: "c1" }, veth, {
    kind: "link",
    ns: "c1",
    type: "loopback",
    name: "lo",
    up: true,
  });
  await lab.put(address, route, table, element(1));
}

test("our own changes are no drift: building, changing, ten thousand elements, removing", async () => {
  await build();
  await lab.apply([{ op: "put", object: { ...veth, mtu: 1400 } as Link, was: veth }]);
  await lab.put(...Array.from({ length: 10_000 }, (_, i) => element(i + 2)));
  await sleep(150);
  await lab.put(table, element(1));
  await sleep(100);
  await lab.remove(route, address, veth, { kind: "netns", name: "c1" }, gateway, bridge, table);
  await sleep(200);
  expect(drifts).toEqual([]);
});

test("changes by others are told, with the key of what changed", async () => {
  await build();
  await sleep(150);
  expect(drifts).toEqual([]);
  expect(await driftAfter(() => lab.host("ip", "link", "set", "veth1", "down"))).toContain(objectKey(veth));
  expect(await driftAfter(() => lab.host("ip", "addr", "del", "172.17.0.1/16", "dev", "docker0"))).toContain(objectKey(gateway));
  expect(await driftAfter(() => lab.host("nft", "flush", "ruleset"))).toEqual([objectKey(table)]);
  expect(await driftAfter(() => lab.host("ip", "link", "del", "veth1"))).toContain(objectKey(veth));
});

test("changes inside a container's namespace are told", async () => {
  await build();
  await sleep(100);
  expect(await driftAfter(() => lab.inside("c1", "ip", "route", "del", "default"))).toContain(objectKey(route));
  expect(await driftAfter(() => lab.inside("c1", "ip", "addr", "del", "172.17.0.2/16", "dev", "eth0"))).toContain(
    objectKey(address),
  );
  expect(await driftAfter(() => lab.inside("c1", "ip", "link", "set", "eth0", "down"))).toContain(objectKey(veth));
  expect(await driftAfter(() => lab.inside("c1", "ip", "link", "del", "eth0"))).toContain(objectKey(veth));
});

test("what is not ours is nobody's drift", async () => {
  await build();
  await sleep(100);
  drifts.length = 0;
  lab.host("ip", "link", "add", "other0", "type", "bridge");
  lab.host("ip", "addr", "add", "192.0.2.1/24", "dev", "other0");
  lab.host("ip", "link", "set", "other0", "up");
  lab.host("ip", "link", "del", "other0");
  lab.host("nft", "add", "table", "ip", "filter");
  lab.inside("c1", "ip", "link", "add", "x", "type", "bridge");
  await sleep(200);
  expect(drifts).toEqual([]);
});

test("a link that somebody makes with our mark is told", async () => {
  await build();
  await sleep(100);
  const keys = await driftAfter(() => lab.host("ip", "link", "add", "fake0", "group", String(0x4c00), "type", "bridge"));
  expect(keys).toContain("link||fake0");
});
