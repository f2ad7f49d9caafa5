import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type DriverContext, desiredAll } from "../../src/drivers/index.js";
import { applyChanges, removeNetwork, removeSandbox } from "../../src/model/index.js";
import { type Batch, type KernelObject, type Link, type Op, objectKey, plan, SimulatedKernel } from "../../src/plan/index.js";
import { World } from "./world.js";

const ctx: DriverContext = { instance: "t", uplinkMtu: 1500, hostHasIPv6: true };
type Step = readonly ["network" | "run" | "join" | "stop" | "rm" | "mtu", number, number];

/** What should be there after some course of events. */
function world(steps: readonly Step[]): readonly KernelObject[] {
  const w = new World();
  let mtu = 1500;
  for (const [step, i, j] of steps) {
    const networks = [...w.state.networks.values()];
    const network = networks[j % networks.length]!;
    const sandbox = [...w.state.sandboxes.values()][i];
    if (step === "network") {
      const six = i % 2 === 1;
      w.tryNetwork({
        Name: `n${i}`,
        EnableIPv6: six,
        IPAM: { Config: six ? [{ Subnet: `fd00:${i}::/64` }] : [] },
        Options: j % 2 ? { "com.docker.network.bridge.enable_icc": "false" } : {},
      });
    } else if (step === "run") w.tryJoin(w.sandbox(`c${w.state.containers.size}`).id, [{ network }]);
    else if (step === "join" && sandbox !== undefined) w.tryJoin(sandbox.id, [{ network }]);
    else if (step === "stop" && sandbox !== undefined) applyChanges(w.state, removeSandbox(w.state, sandbox.id).changes);
    else if (step === "mtu") mtu = 1300 + i;
    else if (step === "rm") {
      const decision = removeNetwork(w.state, network);
      if (decision.ok) applyChanges(w.state, decision.value.changes);
    }
  }
  return desiredAll(w.state, { ...ctx, uplinkMtu: mtu });
}

const steps = fc.array(
  fc.tuple(fc.constantFrom("network", "run", "run", "join", "stop", "rm", "mtu"), fc.nat(9), fc.nat(9)) as fc.Arbitrary<Step>,
  { maxLength: 25 },
);

/** Damage as others do it: things deleted, changed, and left over from an earlier life. */
function damage(kernel: SimulatedKernel, hits: readonly number[]): void {
  for (const hit of hits) {
    const objects = kernel.contents();
    const object = objects[hit % Math.max(1, objects.length)];
    if (object === undefined) continue;
    const changed = hit % 3 === 0 ? otherwise(object) : undefined;
    kernel.run(changed === undefined ? { op: "delete", object } : { op: "put", object: changed });
  }
}

function otherwise(o: KernelObject): KernelObject | undefined {
  if (o.kind === "link" && o.type !== "loopback") return { ...o, mtu: 999, up: false, master: undefined } as Link;
  if (o.kind === "sysctl") return { ...o, value: o.value === "1" ? "0" : "1" };
  if (o.kind === "nftTable") return { ...o, hash: "changed" };
  if (o.kind === "route") return { ...o, via: "10.255.0.1" };
  return undefined;
}

const ops = (batches: readonly Batch[]): Op[] => batches.flat();

function applied(kernel: SimulatedKernel, batches: readonly Batch[]): void {
  for (const op of ops(batches)) {
    const error = kernel.run(op);
    if (error !== undefined) throw new Error(`${error}: ${op.op} ${objectKey(op.object)}`);
  }
}

const keys = (objects: readonly KernelObject[]) => objects.map(objectKey).sort();
/** Sysctls outlive their purpose, and lo is the kernel's own. */
const lasting = (objects: readonly KernelObject[]) =>
  objects.filter((o) => o.kind !== "sysctl" && !(o.kind === "link" && o.type === "loopback"));

describe("plan", () => {
  it("of what is so is empty", () => {
    fc.assert(
      fc.property(steps, (s) => void expect(plan(world(s), world(s))).toEqual([])),
      { numRuns: 60 },
    );
  });

  it("leads from any state to any other, in an order that the kernel takes", () => {
    fc.assert(
      fc.property(steps, steps, (from, to) => {
        const kernel = new SimulatedKernel();
        applied(kernel, plan(world(from), kernel.contents()));
        applied(kernel, plan(world(to), kernel.contents()));
        expect(plan(world(to), kernel.contents())).toEqual([]);
        expect(new Set(keys(lasting(kernel.contents())))).toEqual(new Set(keys(lasting(world(to)))));
      }),
      { numRuns: 120 },
    );
  });

  it("repairs whatever was damaged", () => {
    fc.assert(
      fc.property(steps, fc.array(fc.nat(10_000), { maxLength: 12 }), (s, hits) => {
        const kernel = new SimulatedKernel();
        applied(kernel, plan(world(s), []));
        damage(kernel, hits);
        applied(kernel, plan(world(s), kernel.contents()));
        expect(plan(world(s), kernel.contents())).toEqual([]);
      }),
      { numRuns: 120 },
    );
  });

  it("converges from any point at which it was cut off (kill -9)", () => {
    fc.assert(
      fc.property(steps, steps, fc.nat(1000), (from, to, cut) => {
        const kernel = new SimulatedKernel();
        applied(kernel, plan(world(from), []));
        const all = ops(plan(world(to), kernel.contents()));
        applied(kernel, [all.slice(0, cut % (all.length + 1))]);
        applied(kernel, plan(world(to), kernel.contents()));
        expect(plan(world(to), kernel.contents())).toEqual([]);
      }),
      { numRuns: 120 },
    );
  });

  it("does not name what the kernel takes away by itself", () => {
    const w = new World();
    const e = w.run("c", w.byName("bridge"));
    const before = desiredAll(w.state, ctx);
    applyChanges(w.state, removeSandbox(w.state, e.sandboxId).changes);
    const deleted = ops(plan(desiredAll(w.state, ctx), before)).map((o) => `${o.op} ${o.object.kind}`);
    expect(deleted.filter((d) => !d.endsWith("nftElement"))).toEqual(["delete link", "delete netns"]);
  });

  it("of an attach is a handful of batches", () => {
    const w = new World();
    const before = desiredAll(w.state, ctx);
    w.run("c", w.byName("bridge"));
    const batches = plan(desiredAll(w.state, ctx), before);
    expect(batches.length).toBeLessThanOrEqual(6);
    const kinds = batches.map((b) => [...new Set(b.map((o) => o.object.kind))].join("+")).filter((k) => k !== "nftElement");
    expect(kinds).toEqual(["netns", "sysctl", "link", "addr+route"]);
  });
});

describe("order", () => {
  const table = { kind: "nftTable", ns: "", family: "inet", table: "t", text: "", hash: "1" } as const;
  const element = (set: string, restricts?: boolean) =>
    ({
      kind: "nftElement",
      ns: "",
      family: "inet",
      table: "t",
      set,
      key: [{ type: "mark", value: 1 }],
      ...(restricts ? { restricts } : {}),
    }) as const;
  const link = { kind: "link", ns: "", name: "br0", type: "bridge", up: true } as const;
  const names = (batches: readonly Batch[]) =>
    ops(batches).map((o) => (o.object.kind === "nftElement" ? o.object.set : o.object.kind));

  it("fences before it opens and opens last; takes the fence away last", () => {
    const all = [element("ports"), link, element("isolation", true)];
    expect(names(plan([table, ...all], [table]))).toEqual(["isolation", "link", "ports"]);
    expect(names(plan([table], [table, ...all]))).toEqual(["ports", "link", "isolation"]);
  });

  it("fills a table anew, in the same batch, when its rules change", () => {
    const batches = plan(
      [{ ...table, hash: "2" }, element("ports"), element("isolation", true)],
      [table, element("ports"), element("isolation", true)],
    );
    expect(batches.length).toBe(1);
    expect(names(batches)).toEqual(["nftTable", "ports", "isolation"]);
    expect(batches[0]![0]).toMatchObject({ was: { hash: "1" } });
  });

  it("replaces what cannot be changed in place", () => {
    const veth = (name: string): Link => ({
      kind: "link",
      ns: "",
      name: "v",
      type: "veth",
      up: true,
      peer: { ns: "", name, up: true },
    });
    expect(ops(plan([veth("a")], [veth("b")])).map((o) => o.op)).toEqual(["delete", "put"]);
    expect(ops(plan([{ ...link, mtu: 1400 }], [{ ...link, mtu: 1500 }]))).toEqual([
      { op: "put", object: { ...link, mtu: 1400 }, was: { ...link, mtu: 1500 } },
    ]);
    // Not named, not compared.
    expect(plan([link], [{ ...link, mtu: 1500, mac: "02:00:00:00:00:01" }])).toEqual([]);
    // But a master that nobody asked for is.
    expect(plan([link], [{ ...link, master: "br1" }]).length).toBe(1);
  });

  it("writes the sysctls of interfaces again after the one of all", () => {
    const sysctl = (name: string, value: string) =>
      ({ kind: "sysctl", ns: "", key: `net.ipv6.conf.${name}.disable_ipv6`, value }) as const;
    const batches = plan([sysctl("eth0", "0"), sysctl("all", "1")], [sysctl("eth0", "0"), sysctl("all", "0")]);
    expect(ops(batches).map((o) => (o.object.kind === "sysctl" ? o.object.key : ""))).toEqual([
      "net.ipv6.conf.all.disable_ipv6",
      "net.ipv6.conf.eth0.disable_ipv6",
    ]);
    expect(
      plan(
        [{ kind: "sysctl", ns: "", key: "a", value: "0\t2147483647" }],
        [{ kind: "sysctl", ns: "", key: "a", value: "0 2147483647" }],
      ),
    ).toEqual([]);
  });
});
