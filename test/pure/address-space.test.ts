import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bigIntToIp, ipToBigInt } from "../../src/base/ip.js";
import { MinHeap } from "../../src/base/min-heap.js";
import { AddressSpace } from "../../src/model/address-space.js";
import type { Pool } from "../../src/model/network.js";

const pool = (extra: Partial<Pool> = {}): Pool => ({
  family: 4,
  subnet: "10.1.0.0/27",
  gateway: "10.1.0.1",
  aux: {},
  userSubnet: true,
  ...extra,
});

/** The same by looking at every address. */
class Naive {
  private readonly taken = new Set<string>();
  private readonly kept: Set<string>;
  private readonly range: readonly string[];
  constructor(range: readonly string[], kept: readonly string[]) {
    this.range = range;
    this.kept = new Set(kept);
  }
  firstFree() {
    return this.range.find((a) => !this.taken.has(a) && !this.kept.has(a));
  }
  take(a: string) {
    this.taken.add(a);
  }
  release(a: string) {
    this.taken.delete(a);
  }
  isTaken(a: string) {
    return this.taken.has(a) || this.kept.has(a);
  }
}

const span = (first: string, count: number) =>
  Array.from({ length: count }, (_, i) => bigIntToIp(ipToBigInt(first) + BigInt(i), first.includes(":") ? 6 : 4));

const cases: readonly {
  readonly name: string;
  readonly pool: Pool;
  readonly all: string[];
  readonly range: string[];
  readonly kept: string[];
}[] = [
  {
    name: "a subnet",
    pool: pool(),
    all: span("10.1.0.0", 32),
    range: span("10.1.0.0", 32),
    kept: ["10.1.0.0", "10.1.0.1", "10.1.0.31"],
  },
  {
    name: "a range in a subnet",
    pool: pool({ ipRange: "10.1.0.8/29", aux: { x: "10.1.0.9" }, gateway: "10.1.0.30" }),
    all: span("10.1.0.0", 32),
    range: span("10.1.0.8", 8),
    kept: ["10.1.0.0", "10.1.0.30", "10.1.0.31", "10.1.0.9"],
  },
  {
    name: "IPv6",
    pool: pool({ family: 6, subnet: "fd00:99::/64", gateway: "fd00:99::1" }),
    all: span("fd00:99::", 40),
    range: span("fd00:99::", 40),
    kept: ["fd00:99::", "fd00:99::1"],
  },
];

describe("address space", () => {
  for (const c of cases)
    it(`does what looking at every address does: ${c.name}`, () => {
      fc.assert(
        fc.property(
          fc.array(fc.tuple(fc.constantFrom("next", "take", "release"), fc.nat(c.all.length - 1)), { maxLength: 200 }),
          (steps) => {
            const space = new AddressSpace(c.pool);
            const naive = new Naive(c.range, c.kept);
            for (const [step, i] of steps) {
              const address = step === "next" ? space.firstFree() : c.all[i]!;
              if (c.pool.family === 4 || (naive.firstFree() ?? "") !== "") expect(space.firstFree()).toBe(naive.firstFree());
              if (address === undefined) continue;
              expect(space.isTaken(address)).toBe(naive.isTaken(address));
              if (step === "release") {
                space.release(address);
                naive.release(address);
              } else if (!space.isTaken(address)) {
                space.take(address);
                naive.take(address);
              }
            }
          },
        ),
        { numRuns: 300 },
      );
    });

  it("gives the first addresses that Docker gives", () => {
    expect(new AddressSpace(pool({ subnet: "172.17.0.0/16", gateway: "172.17.0.1" })).firstFree()).toBe("172.17.0.2");
    expect(
      new AddressSpace(pool({ subnet: "10.99.0.0/24", gateway: "10.99.0.254", ipRange: "10.99.0.128/25" })).firstFree(),
    ).toBe("10.99.0.128");
    expect(new AddressSpace(pool({ family: 6, subnet: "fd00:99::/64", gateway: "fd00:99::1" })).firstFree()).toBe("fd00:99::2");
    expect(new AddressSpace(pool({ subnet: "10.0.0.0/31", gateway: "10.0.0.0" })).firstFree()).toBe("10.0.0.1");
    expect(new AddressSpace(pool({ subnet: "10.0.0.0/32", gateway: "10.0.0.0" })).firstFree()).toBeUndefined();
  });

  it("costs the same at 65,000 addresses, also when low ones come and go", () => {
    const space = new AddressSpace(pool({ subnet: "172.17.0.0/16", gateway: "172.17.0.1" }));
    let count = 0;
    for (let a = space.firstFree(); a !== undefined; a = space.firstFree(), count++) space.take(a);
    expect(count).toBe(65533);
    const start = performance.now();
    for (let i = 0; i < 5000; i++) {
      space.release("172.17.0.2");
      space.release("172.17.200.7");
      expect(space.firstFree()).toBe("172.17.0.2");
      space.take("172.17.0.2");
      const next = space.firstFree();
      if (next !== "172.17.200.7") expect(next).toBe("172.17.200.7");
      space.take("172.17.200.7");
    }
    // A scan would need 5,000 × 51,000 steps, many seconds.
    expect(performance.now() - start).toBeLessThan(2000);
  });
});

it("a heap sorts", () => {
  fc.assert(
    fc.property(fc.array(fc.integer()), (numbers) => {
      const heap = new MinHeap<number>((a, b) => a < b);
      for (const n of numbers) heap.push(n);
      const out: number[] = [];
      for (let n = heap.pop(); n !== undefined; n = heap.pop()) out.push(n);
      expect(out).toEqual([...numbers].sort((a, b) => a - b));
    }),
  );
});
