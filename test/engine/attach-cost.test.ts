import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createLogger } from "../../src/base/log.js";
import { containerSysctls } from "../../src/drivers/index.js";
import { Committer } from "../../src/engine/commit.js";
import { Converger } from "../../src/engine/converge.js";
import { type Kernel, startKernel } from "../../src/kernel/index.js";
import { attach, createNetwork, emptyState, LOCAL_ADDRESS_POOLS, removeSandbox, type Sandbox } from "../../src/model/index.js";
import type { ApplyResult, Batch } from "../../src/plan/port.js";

/**
 * What an attach asks of the kernel, counted: an exact number, so that a call too many is seen however loaded the machine is. `strace -f` on
 * bench/attach.ts shows the same, from the file that pins the namespace to the last answer: the pin 2; the veth pair and its indexes 3; the sysctl
 * of its port 3; its port up 2; eth0 up, address and route 2; elements 2. Where no namespace is in store: the namespace and its socket 6; its three
 * sysctls 15; lo is in one send with another.
 */
const SYSTEM_CALLS = 14;
const WITHOUT_STORE = 35;
const NS = `lstac${process.pid % 100_000}`;
const root = mkdtempSync("/run/lst-ac-");
const state = emptyState();
const applied: ApplyResult[] = [];
const batchesSeen: (readonly Batch[])[] = [];
let kernel: Kernel;
let committer: Committer;
let converger: Converger;

const id = () => randomBytes(32).toString("hex");

beforeAll(async () => {
  execFileSync("ip", ["netns", "add", NS]);
  const log = createLogger({ level: "warn", write: (line) => process.stderr.write(line), now: () => "" });
  kernel = await startKernel({
    execRoot: root,
    instance: "ac",
    hostNetns: `/run/netns/${NS}`,
    log,
    spares: { count: 16, sysctls: containerSysctls(true) },
  });
  const counting = Object.assign(Object.create(kernel) as Kernel, {
    apply: async (batches: readonly Batch[]) => {
      const result = await kernel.apply(batches);
      applied.push(result);
      batchesSeen.push(batches);
      return result;
    },
  });
  converger = new Converger({ state, kernel: counting, log, context: { instance: "t", uplinkMtu: 1500, hostHasIPv6: true } });
  const store = { load: async () => ({ changes: [], damaged: [] }), commit: async () => undefined, close: async () => undefined };
  committer = new Committer(state, store, converger);
  await converger.convergeAll();
  const decided = createNetwork(
    state,
    { Name: "net", Driver: "bridge", IPAM: { Config: [{ Subnet: "10.44.0.0/16" }] } },
    { id: id(), created: "", hostRoutes: [], addressPools: LOCAL_ADDRESS_POOLS, drivers: new Set(["bridge"]) },
  );
  if (!decided.ok) throw new Error(decided.error.message);
  await committer.transact(decided.value.changes, decided.value.owners);
});
afterAll(async () => {
  const all = [...state.sandboxes.keys()].map((sandbox) => removeSandbox(state, sandbox));
  await committer?.transact(
    all.flatMap((d) => d.changes),
    all.flatMap((d) => d.owners),
  );
  converger?.stop();
  await kernel?.close();
  execFileSync("ip", ["netns", "del", NS]);
  rmSync(root, { recursive: true, force: true });
});

async function attachOne(sequence: number): Promise<void> {
  const containerId = id();
  const sandbox: Sandbox = {
    id: containerId,
    containerId,
    netns: containerId.slice(0, 12),
    sysctls: {},
    selfManaged: false,
    nextIfindex: 0,
  };
  const network = [...state.networks.values()][0]!;
  const request = { network: "net", aliases: [], links: null, driverOpts: null };
  const join = { network, request, ports: [], exposedPorts: [], endpointId: id(), random: randomBytes(16) };
  const decision = attach(state, { containerId, containerName: containerId.slice(0, 12), sandbox, joins: [join], sequence });
  if (!decision.ok) throw new Error(decision.error.message);
  await committer.transact(decision.value.changes, decision.value.owners);
}

it("an attach takes one exchange with the kernel thread and a fixed number of system calls, however many are there", async () => {
  await attachOne(0);
  const rested = async (sequence: number) => {
    await new Promise((done) => setTimeout(done, 300));
    applied.length = 0;
    batchesSeen.length = 0;
    await attachOne(sequence);
    expect(applied).toEqual([{ failures: [], syscalls: SYSTEM_CALLS }]);
    return batchesSeen[0]!.flat().length;
  };
  const objects = await rested(1);
  applied.length = 0;
  for (let sequence = 2; sequence < 30; sequence++) await attachOne(sequence);
  expect(applied).toHaveLength(28);
  expect(new Set(applied.map(({ syscalls }) => syscalls))).toEqual(new Set([SYSTEM_CALLS, WITHOUT_STORE]));
  expect(await rested(60)).toBe(objects);
});
