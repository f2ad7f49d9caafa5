import { bigIntToIp, ipFamily, ipToBigInt, parsePrefix, prefixRange } from "../base/ip.js";
import { MinHeap } from "../base/min-heap.js";
import { assert } from "../base/result.js";
import type { Pool } from "./network.js";

/**
 * Which addresses of one pool are taken, and which free one comes first.
 * Free addresses below `frontier` are in a heap (they were released), all from `frontier` on are free unless in `taken`:
 * take, release and firstFree cost O(log n) whatever the size of the pool, IPv6 included.
 */
export class AddressSpace {
  private readonly subnetFirst: bigint;
  private readonly subnetLast: bigint;
  private readonly dynamicFirst: bigint;
  private readonly dynamicLast: bigint;
  private readonly reserved = new Set<bigint>();
  private readonly taken = new Set<bigint>();
  private readonly holes = new MinHeap<bigint>((a, b) => a < b);
  private readonly inHoles = new Set<bigint>();
  private frontier: bigint;
  readonly pool: Pool;

  constructor(pool: Pool) {
    this.pool = pool;
    const subnet = parsePrefix(pool.subnet);
    assert(subnet !== undefined, `pool ${pool.subnet}`);
    const range = pool.ipRange === undefined ? subnet : parsePrefix(pool.ipRange);
    assert(range !== undefined, `range ${pool.ipRange}`);
    ({ first: this.subnetFirst, last: this.subnetLast } = prefixRange(subnet));
    ({ first: this.dynamicFirst, last: this.dynamicLast } = prefixRange(range));
    this.frontier = this.dynamicFirst;
    for (const unusable of unusableAddresses(pool)) this.reserved.add(unusable);
  }

  contains(address: string): boolean {
    if (ipFamily(address) !== this.pool.family) return false;
    const n = ipToBigInt(address);
    return n >= this.subnetFirst && n <= this.subnetLast;
  }

  /** Taken by an endpoint, or kept back: network and broadcast address, gateway, auxiliary addresses. */
  isTaken(address: string): boolean {
    const n = ipToBigInt(address);
    return this.taken.has(n) || this.reserved.has(n);
  }

  /** The lowest free address of the range for dynamic use; undefined when there is none. Changes nothing that can be seen. */
  firstFree(): string | undefined {
    for (let top = this.holes.peek(); top !== undefined; top = this.holes.peek()) {
      if (!this.taken.has(top)) return bigIntToIp(top, this.pool.family);
      this.holes.pop();
      this.inHoles.delete(top);
    }
    while (this.frontier <= this.dynamicLast && (this.taken.has(this.frontier) || this.reserved.has(this.frontier)))
      this.frontier++;
    return this.frontier <= this.dynamicLast ? bigIntToIp(this.frontier, this.pool.family) : undefined;
  }

  /** Addresses of other pools are ignored: the caller need not know which pool an address is from. */
  take(address: string): void {
    if (this.contains(address)) this.taken.add(ipToBigInt(address));
  }

  release(address: string): void {
    if (!this.contains(address)) return;
    const n = ipToBigInt(address);
    if (!this.taken.delete(n)) return;
    if (n < this.dynamicFirst || n >= this.frontier || this.reserved.has(n) || this.inHoles.has(n)) return;
    this.inHoles.add(n);
    this.holes.push(n);
  }
}

/** IPv4 keeps its first and last address back, IPv6 its first (the subnet-router anycast address, RFC 4291 2.6.1). /31, /32, /127 and /128 have no such. */
function unusableAddresses(pool: Pool): bigint[] {
  const subnet = parsePrefix(pool.subnet);
  assert(subnet !== undefined, `pool ${pool.subnet}`);
  const { first, last } = prefixRange(subnet);
  const out: bigint[] = [];
  if (last - first > 1n) out.push(first, ...(pool.family === 4 ? [last] : []));
  for (const kept of [pool.gateway, ...Object.values(pool.aux)]) if (kept !== "") out.push(ipToBigInt(kept));
  return out;
}
