import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  firewallEndpointObjects,
  firewallHostObjects,
  firewallLinkObjects,
  firewallNetworkObjects,
} from "../../src/drivers/firewall.js";
import { type Kernel, startKernel } from "../../src/kernel/index.js";
import { type KernelObject, objectKey } from "../../src/plan/objects.js";
import { stderrLog } from "../lib/log.js";
import { bridgeNetwork, HOST4, Lab } from "./lab.js";
import { mappings } from "./matrix.js";

const lab = new Lab("k");
const net = bridgeNetwork("a", "lsta", 17);
let kernel: Kernel;
let objects: KernelObject[];

beforeAll(async () => {
  lab.addHost();
  lab.addBridge(net);
  const allow = ["10.0.0.0/9", "fd00::/17"];
  const ports = [...mappings(), ...mappings().map((m) => ({ ...m, hostPort: m.hostPort + 1000, allow }))];
  const [web, peer] = [lab.addContainer(net, "web", 2, { ports, exposedPorts: ["80/tcp"] }), lab.addContainer(net, "peer", 3)];
  objects = [
    ...firewallHostObjects({}),
    ...firewallNetworkObjects(net, {}),
    ...firewallEndpointObjects(net, web.endpoint, {}),
    ...firewallEndpointObjects(net, peer.endpoint, {}),
    ...firewallLinkObjects(peer.endpoint, web.endpoint),
  ];
  const log = stderrLog();
  kernel = await startKernel({ execRoot: lab.dir, instance: "7e57", hostNetns: `/run/netns/${lab.host}`, log });
});
afterAll(async () => {
  await kernel?.close();
  lab.close();
});

const nft = (): string => execFileSync("ip", ["netns", "exec", lab.host, "nft", "list", "ruleset"], { encoding: "utf8" });
const put = (object: KernelObject) => ({ op: "put", object }) as const;

describe("the engine's kernel layer", () => {
  it("takes every object of the firewall, and shows it as it was put", async () => {
    const tables = objects.filter((o) => o.kind === "nftTable");
    const { failures } = await kernel.apply([tables.map(put), objects.filter((o) => o.kind !== "nftTable").map(put)]);
    expect(failures).toEqual([]);
    const seen = new Map((await kernel.observe({ scope: "nft" })).map((o) => [objectKey(o), o]));
    const wanted = objects.filter((o) => o.kind === "nftElement");
    expect(wanted.filter((o) => !seen.has(objectKey(o))).map(objectKey)).toEqual([]);
    for (const element of wanted) expect(seen.get(objectKey(element))).toEqual(element);
    for (const table of tables) expect(seen.get(objectKey(table))).toMatchObject({ hash: table.hash });
    expect([...seen.values()].filter((o) => o.kind === "nftElement")).toHaveLength(wanted.length);
  });

  it("and nft reads it back", () => {
    const text = nft();
    expect(text).toContain('"lsta" comment "network a" : goto to_nat_nat');
    expect(text).toContain(`tcp . 8080 comment "web" : 172.17.0.2 . 80`);
    expect(text).toContain(`${HOST4} . udp . 8082 comment "web" : 172.17.0.2 . 82`);
  });

  it("and takes every element away again", async () => {
    const elements = objects.filter((o) => o.kind === "nftElement");
    const { failures } = await kernel.apply([elements.map((object) => ({ op: "delete", object }) as const)]);
    expect(failures).toEqual([]);
    expect((await kernel.observe({ scope: "nft" })).filter((o) => o.kind === "nftElement")).toEqual([]);
  });
});
