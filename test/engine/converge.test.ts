import { describe, expect, it } from "vitest";
import { desiredAll } from "../../src/drivers/index.js";
import { Committer } from "../../src/engine/commit.js";
import { Converger } from "../../src/engine/converge.js";
import {
  attach,
  type Change,
  createNetwork,
  emptyState,
  LOCAL_ADDRESS_POOLS,
  type Network,
  removeSandbox,
  type Sandbox,
} from "../../src/model/index.js";
import { type KernelObject, objectKey, SimulatedKernel } from "../../src/plan/index.js";
import type { ApplyResult, Batch } from "../../src/plan/port.js";
import { stderrLog } from "../lib/log.js";
import { sleep } from "../lib/run.js";

const log = stderrLog("error");
const hex = (n: number) => n.toString(16).padStart(64, "0");
const context = { instance: "t", uplinkMtu: 1500, hostHasIPv6: true };

/** Counts what crosses the boundary, and refuses what a test wants refused. */
class WatchedKernel extends SimulatedKernel {
  ops = 0;
  observations = 0;
  refuse: (o: KernelObject) => boolean = () => false;
  override async apply(batches: readonly Batch[]): Promise<ApplyResult> {
    this.ops += batches.flat().length;
    const refused = batches.flat().filter((op) => op.op === "put" && this.refuse(op.object));
    const rest = batches.map((b) => b.filter((op) => !refused.includes(op)));
    const result = await super.apply(rest);
    return {
      ...result,
      failures: [
        ...result.failures,
        ...refused.map((op) => ({ op, batch: 0, index: 0, errno: 12, code: "ENOMEM", extAck: "no", operation: "link add" })),
      ],
    };
  }
  override observe(...args: Parameters<SimulatedKernel["observe"]>) {
    this.observations++;
    return super.observe(...args);
  }
}

function setUp(objects: readonly KernelObject[] = []) {
  const kernel = new WatchedKernel(objects);
  const state = emptyState();
  const converger = new Converger({ state, kernel, log, context });
  const stored: Change[][] = [];
  const store = {
    load: async () => ({ changes: [], damaged: [] }),
    commit: async (c: readonly Change[]) => void stored.push([...c]),
    mayRefuse: () => false,
    close: async () => undefined,
  };
  const committer = new Committer(state, store, converger);
  return { kernel, state, converger, committer, stored, store };
}
type Lab = ReturnType<typeof setUp>;

async function network({ state, committer }: Lab, n: number): Promise<Network> {
  const decision = createNetwork(
    state,
    { Name: `net${n}` },
    {
      id: hex(n),
      created: "2026-01-01T00:00:00Z",
      hostRoutes: [],
      addressPools: LOCAL_ADDRESS_POOLS,
      drivers: new Set(["bridge"]),
    },
  );
  if (!decision.ok) throw new Error(decision.error.message);
  await committer.transact(decision.value.changes, decision.value.owners);
  return decision.value.network;
}

function joining({ state }: Lab, net: Network, n: number) {
  const sandbox: Sandbox = {
    id: hex(1000 + n),
    containerId: hex(2000 + n),
    netns: `ns${n}`,
    sysctls: {},
    selfManaged: false,
    nextIfindex: 0,
  };
  const random = Uint8Array.from({ length: 16 }, (_, i) => (n >> (8 * (i % 3))) & 255);
  const decision = attach(state, {
    containerId: sandbox.containerId,
    containerName: `c${n}`,
    sandbox,
    sequence: n,
    joins: [
      {
        network: net,
        request: { network: net.name, aliases: [], links: null, driverOpts: null },
        ports: [],
        exposedPorts: [],
        endpointId: hex(3000 + n),
        random,
      },
    ],
  });
  if (!decision.ok) throw new Error(decision.error.message);
  return decision.value;
}
const join = async (lab: Lab, net: Network, n: number) => {
  const decision = joining(lab, net, n);
  await lab.committer.transact(decision.changes, decision.owners);
};
const leave = async (lab: Lab, n: number) => {
  const decision = removeSandbox(lab.state, hex(1000 + n));
  await lab.committer.transact(decision.changes, decision.owners);
};
const keys = (objects: readonly KernelObject[]) => [...new Set(objects.filter((o) => o.kind !== "sysctl").map(objectKey))].sort();
const expectConverged = (lab: Lab) => expect(keys(lab.kernel.contents())).toEqual(keys(desiredAll(lab.state, context)));

describe("a transaction", () => {
  /** Takes the place of the store's next commit; the result lets it end. */
  const held = ({ store, stored }: Lab) => {
    let end: (error?: Error) => void = () => undefined;
    const ended = new Promise<void>((resolve, reject) => {
      end = (error) => (error === undefined ? resolve() : reject(error));
    });
    const before = store.commit;
    store.commit = async (changes) => {
      store.commit = before;
      await ended;
      stored.push([...changes]);
    };
    return end;
  };

  it("has the kernel at work while the store writes, and is done when both are", async () => {
    const lab = setUp();
    await lab.converger.convergeAll();
    const net = await network(lab, 1);
    const end = held(lab);
    let done = false;
    const joined = join(lab, net, 1).then(() => {
      done = true;
    });
    await sleep(20);
    expect(lab.kernel.contents()).toContainEqual({ kind: "netns", name: "ns1" });
    expect(done).toBe(false);
    end();
    await joined;
    expectConverged(lab);
  });

  it("leaves the kernel alone until the store has agreed, where others may refuse", async () => {
    const lab = setUp();
    await lab.converger.convergeAll();
    const net = await network(lab, 1);
    lab.store.mayRefuse = () => true;
    const end = held(lab);
    const joined = join(lab, net, 1);
    await sleep(20);
    expect(lab.kernel.contents()).not.toContainEqual({ kind: "netns", name: "ns1" });
    end();
    await joined;
    expectConverged(lab);
  });

  for (const [who, fault] of [
    ["store", "disk full"],
    ["kernel", "link add: ENOMEM: no"],
  ] as const)
    it(`is taken back whole when the ${who} refuses, with what was made beside it`, async () => {
      const lab = setUp();
      await lab.converger.convergeAll();
      const net = await network(lab, 1);
      await join(lab, net, 1);
      const before = keys(lab.kernel.contents());
      const end = held(lab);
      if (who === "kernel") lab.kernel.refuse = (o) => o.kind === "addr" && o.ns === "ns2";
      const decision = joining(lab, net, 2);
      const named: number[] = [];
      const transacted = lab.committer.transact(decision.changes, decision.owners, {
        beside: async () => void named.push(lab.state.endpoints.size),
      });
      setTimeout(() => end(who === "store" ? new Error(fault) : undefined), 20);
      await expect(transacted).rejects.toThrow(fault);
      expect(lab.state.sandboxes.size).toBe(1);
      expect(keys(lab.kernel.contents())).toEqual(before);
      // Once with the change, and at the end without it.
      expect(named).toEqual([2, 1]);
      lab.kernel.refuse = () => false;
      await join(lab, net, 2);
      expectConverged(lab);
    });
});

describe("convergence", () => {
  it("makes, changes and takes away, owner by owner, without looking at the kernel", async () => {
    const lab = setUp();
    await lab.converger.convergeAll();
    const looks = lab.kernel.observations;
    const net = await network(lab, 1);
    await join(lab, net, 1);
    await join(lab, net, 2);
    expectConverged(lab);
    await leave(lab, 1);
    expectConverged(lab);
    expect(lab.kernel.observations).toBe(looks);
    expect(await lab.converger.verify()).toEqual([]);
  });

  it("costs an attach the same with 1 and with 300 endpoints present", async () => {
    const lab = setUp();
    await lab.converger.convergeAll();
    const net = await network(lab, 1);
    const cost = async (n: number) => {
      const before = lab.kernel.ops;
      await join(lab, net, n);
      return lab.kernel.ops - before;
    };
    await cost(1);
    const early = await cost(2);
    for (let n = 3; n < 300; n++) await join(lab, net, n);
    expect(await cost(300)).toBe(early);
  });

  it("takes back what the kernel refuses twice, in the model and in the store, and says the kernel's words", async () => {
    const lab = setUp();
    await lab.converger.convergeAll();
    const net = await network(lab, 1);
    await join(lab, net, 1);
    const before = keys(lab.kernel.contents());
    lab.kernel.refuse = (o) => o.kind === "addr" && o.ns === "ns2";
    await expect(join(lab, net, 2)).rejects.toThrow(/link add: ENOMEM: no/);
    expect(lab.state.sandboxes.size).toBe(1);
    expect(keys(lab.kernel.contents())).toEqual(before);
    lab.kernel.refuse = () => false;
    await join(lab, net, 2);
    expectConverged(lab);
  });

  it("lets one request fail and the others of the same round succeed", async () => {
    const lab = setUp();
    await lab.converger.convergeAll();
    const net = await network(lab, 1);
    lab.kernel.refuse = (o) => o.kind === "netns" && o.name === "ns3";
    const results = await Promise.allSettled([1, 2, 3, 4].map((n) => join(lab, net, n)));
    expect(results.map((r) => r.status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
    expect(lab.state.endpoints.size).toBe(3);
    expectConverged(lab);
  });

  it("removes leftovers at the start and makes what is missing", async () => {
    const first = setUp();
    await first.converger.convergeAll();
    const net = await network(first, 1);
    await join(first, net, 1);
    const leftover: KernelObject = { kind: "netns", name: "gone" };
    const present = first.kernel.contents().filter((o) => o.kind !== "addr");
    const lab = setUp([...present, leftover]);
    for (const changes of first.stored) await lab.committer.commit(changes);
    await lab.converger.convergeAll();
    expectConverged(lab);
    expect(lab.kernel.contents()).not.toContainEqual(leftover);
  });

  it("repairs what somebody else took away, and everything after a flush of the tables", async () => {
    const lab = setUp();
    await lab.converger.convergeAll();
    lab.converger.watch();
    const net = await network(lab, 1);
    for (let n = 1; n < 5; n++) await join(lab, net, n);
    const repaired = async () => {
      for (let i = 0; i < 100 && (await lab.converger.verify()).length > 0; i++) await sleep(20);
      expectConverged(lab);
    };
    const find = (test: (o: KernelObject) => boolean) => lab.kernel.contents().find(test)!;
    lab.kernel.meddle({ op: "delete", object: find((o) => o.kind === "link" && o.type === "veth") });
    await repaired();
    for (const table of lab.kernel.contents().filter((o) => o.kind === "nftTable"))
      lab.kernel.meddle({ op: "delete", object: table });
    await repaired();
    lab.kernel.meddle({ op: "delete", object: find((o) => o.kind === "link" && o.type === "bridge") });
    await repaired();
    lab.converger.stop();
  });
});
