import { type Refusal, refusal } from "../base/errors.js";
import {
  bigIntToIp,
  bitsOf,
  type Family,
  ipFamily,
  ipToBigInt,
  type Prefix,
  parseIp,
  parsePrefix,
  prefixContains,
  prefixesOverlap,
  prefixRange,
  prefixText,
} from "../base/ip.js";
import { fail, ok, type Result } from "../base/result.js";
import type { IpamConfig, Pool } from "./network.js";

/** `--default-address-pool base=10.10.0.0/16,size=24`: the base is cut into networks of `size`. */
export interface AddressPool {
  readonly base: string;
  readonly size: number;
}

/**
 * Docker's own pools first (31 networks), then a part of 10/8 in small pieces: 16,384 more. It begins at 10.192, far from the
 * overlays' pools, because a container may be on both.
 */
export const LOCAL_ADDRESS_POOLS: readonly AddressPool[] = [
  ...Array.from({ length: 15 }, (_, i) => ({ base: `172.${17 + i}.0.0/16`, size: 16 })),
  { base: "192.168.0.0/16", size: 20 },
  { base: "10.192.0.0/10", size: 24 },
];

/** Docker's pools for networks that span hosts. */
export const GLOBAL_ADDRESS_POOLS: readonly AddressPool[] = [{ base: "10.0.0.0/8", size: 24 }];

export interface PoolQuestion {
  readonly config: readonly IpamConfig[];
  /** false: a network of IPv6 alone */
  readonly enableIPv4: boolean;
  readonly enableIPv6: boolean;
  readonly multipleSubnets: boolean;
  /** Pools from which to choose where the user names no subnet. */
  readonly addressPools: readonly AddressPool[];
  /** Subnets of the other networks of the same address space (local or global): never to be overlapped. */
  readonly usedSubnets: readonly string[];
  /** What else a chosen pool must not overlap: the host's routes, subnets of the other address space. The user may. */
  readonly avoid: readonly string[];
}

const NO_POOL: Record<Family, string> = {
  4: "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network",
  6: "could not find an available, non-overlapping IPv6 address pool among the defaults to assign to the network",
};

/** The pools of a new network: the user's subnets, else one chosen per family. Refusals in the words of Docker 20.10. */
export function decidePools(question: PoolQuestion): Result<readonly Pool[], Refusal> {
  const pools: Pool[] = [];
  for (const config of question.config) {
    const pool = userPool(config);
    if (!pool.ok) return pool;
    // Docker reads the subnet of a family that is not enabled, and leaves it out.
    if (pool.value.family === 6 ? !question.enableIPv6 : !question.enableIPv4) continue;
    const prefix = parsePrefix(pool.value.subnet)!;
    const taken = [...question.usedSubnets, ...pools.map((p) => p.subnet)];
    if (taken.some((subnet) => prefixesOverlap(prefix, parsePrefix(subnet)!)))
      return fail(refusal(403, "Pool overlaps with other one on this address space", "IPAM.Config.Subnet"));
    pools.push(pool.value);
  }
  for (const family of [4, 6] as const)
    if (!question.multipleSubnets && pools.filter((p) => p.family === family).length > 1)
      return fail(refusal(403, "bridge driver doesn't support multiple subnets", "IPAM.Config"));
  for (const family of [4, 6] as const) {
    if (family === 4 ? !question.enableIPv4 : !question.enableIPv6) continue;
    if (pools.some((p) => p.family === family)) continue;
    const chosen = choosePool(family, question);
    if (chosen === undefined) return fail(refusal(404, NO_POOL[family]));
    pools.push(chosen);
  }
  return ok(pools.sort((a, b) => a.family - b.family));
}

/** First piece of the default pools that overlaps nothing: used prefixes are sorted once, so many networks cost n log n. */
function choosePool(family: Family, question: PoolQuestion): Pool | undefined {
  const used = [...question.usedSubnets, ...question.avoid]
    .map(parsePrefix)
    .filter((p): p is Prefix => p !== undefined && p.family === family && p.length > 0)
    .map(prefixRange)
    .sort((a, b) => (a.first < b.first ? -1 : a.first > b.first ? 1 : 0));
  for (const { base, size } of question.addressPools) {
    const prefix = parsePrefix(base);
    if (prefix === undefined || prefix.family !== family || size < prefix.length) continue;
    const step = 1n << BigInt(bitsOf(family) - size);
    const end = prefixRange(prefix).last;
    let candidate = prefixRange(prefix).first;
    for (const range of used) {
      if (range.last < candidate) continue;
      if (range.first >= candidate + step) break;
      candidate += ((range.last - candidate) / step + 1n) * step;
    }
    if (candidate + step - 1n > end) continue;
    const subnet = `${bigIntToIp(candidate, family)}/${size}`;
    return { family, subnet, gateway: firstUsable(subnet, undefined, []) ?? "", aux: {}, userSubnet: false };
  }
  return undefined;
}

function userPool(config: IpamConfig): Result<Pool, Refusal> {
  const text = config.Subnet ?? "";
  const subnet = parsePrefix(text);
  if (subnet === undefined)
    return fail(refusal(500, `Invalid subnet ${text} : invalid CIDR address: ${text}`, "IPAM.Config.Subnet"));
  const range = config.IPRange ? parsePrefix(config.IPRange) : undefined;
  if (config.IPRange && range === undefined)
    return fail(
      refusal(500, `Invalid subnet ${config.IPRange} : invalid CIDR address: ${config.IPRange}`, "IPAM.Config.IPRange"),
    );
  if (
    range !== undefined &&
    (!prefixContains(subnet, range.address) || range.length < subnet.length || range.family !== subnet.family)
  )
    return fail(refusal(400, `Invalid sub pool: ${config.IPRange} is not inside ${text}`, "IPAM.Config.IPRange"));
  const aux: Record<string, string> = {};
  for (const [name, value] of Object.entries(config.AuxiliaryAddresses ?? {})) {
    const address = parseIp(value);
    if (address === undefined)
      return fail(
        refusal(500, `non parsable secondary ip address (${name}:${value}) passed for network`, "IPAM.Config.AuxiliaryAddresses"),
      );
    if (!prefixContains(subnet, address))
      return fail(
        refusal(
          403,
          `auxilairy address: (${name}:${value}) must belong to the master pool: ${prefixText(subnet)}`,
          "IPAM.Config.AuxiliaryAddresses",
        ),
      );
    aux[name] = address;
  }
  const gateway = userGateway(config.Gateway, subnet, range, Object.values(aux));
  if (!gateway.ok) return gateway;
  return ok({
    family: subnet.family,
    subnet: prefixText(subnet),
    gateway: gateway.value,
    ...(range === undefined ? {} : { ipRange: prefixText(range) }),
    aux,
    userSubnet: true,
  });
}

function userGateway(
  text: string | undefined,
  subnet: Prefix,
  range: Prefix | undefined,
  aux: readonly string[],
): Result<string, Refusal> {
  if (!text) {
    const first = firstUsable(prefixText(subnet), range === undefined ? undefined : prefixText(range), aux);
    if (first === undefined)
      return fail(
        refusal(500, `failed to allocate gateway (): no available IPv${subnet.family} addresses on this network's address pools`),
      );
    return ok(first);
  }
  const gateway = parseIp(text);
  if (gateway === undefined)
    return fail(refusal(500, `invalid gateway address ${text} in Ipam configuration`, "IPAM.Config.Gateway"));
  const n = ipFamily(gateway) === subnet.family ? ipToBigInt(gateway) : -1n;
  const { first, last } = prefixRange(subnet);
  const unusable = last - first > 1n && (n === first || (n === last && subnet.family === 4));
  if (!prefixContains(subnet, gateway) || unusable)
    return fail(refusal(500, `failed to allocate gateway (${text}): Requested address is out of range`, "IPAM.Config.Gateway"));
  if (aux.includes(gateway))
    return fail(refusal(500, `failed to allocate gateway (${text}): Address already in use`, "IPAM.Config.Gateway"));
  return ok(gateway);
}

/** Where Docker puts a gateway that the user did not name: the first usable address, of the range if there is one. */
function firstUsable(subnetText: string, rangeText: string | undefined, aux: readonly string[]): string | undefined {
  const subnet = parsePrefix(subnetText)!;
  const whole = prefixRange(subnet);
  const range = rangeText === undefined ? whole : prefixRange(parsePrefix(rangeText)!);
  const kept = new Set(aux.map(ipToBigInt));
  if (whole.last - whole.first > 1n) {
    kept.add(whole.first);
    if (subnet.family === 4) kept.add(whole.last);
  }
  for (let n = range.first; n <= range.last; n++) if (!kept.has(n)) return bigIntToIp(n, subnet.family);
  return undefined;
}

/** The broadcast address of an IPv4 subnet, as Docker sets it; undefined for /31, /32 and IPv6. */
export function broadcastOf(subnetText: string): string | undefined {
  const subnet = parsePrefix(subnetText);
  if (subnet === undefined || subnet.family === 6 || subnet.length > 30) return undefined;
  return bigIntToIp(prefixRange(subnet).last, 4);
}
