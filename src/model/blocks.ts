import { type Refusal, refusal } from "../base/errors.js";
import { bigIntToIp, bitsOf, ipToBigInt, type Prefix, parsePrefix, prefixContains, prefixRange } from "../base/ip.js";
import { fail, ok, type Result } from "../base/result.js";
import { firstFreeWithin } from "./decide-endpoint.js";
import type { ModelState } from "./indexes.js";
import type { Network } from "./network.js";
import type { Change } from "./state.js";

/** A routed network's subnet is dealt out to hosts in blocks: `meta` records "block:<network>:<prefix>" = node id. */
const BLOCK_BITS = 6;

/** This host's blocks of a network, and the changes that claim further ones where a family has no free address left. */
export interface BlockDecision {
  readonly own: readonly string[];
  readonly changes: readonly Change[];
}

const keyStart = (networkId: string): string => `block:${networkId}:`;

export function blocksOfNetwork(state: ModelState, networkId: string): ReadonlyMap<string, string> {
  const out = new Map<string, string>();
  for (const [key, node] of state.meta)
    if (key.startsWith(keyStart(networkId)) && typeof node === "string") out.set(key.slice(keyStart(networkId).length), node);
  return out;
}

export function claimBlocks(state: ModelState, network: Network, nodeId: string): Result<BlockDecision, Refusal> {
  const blocks = blocksOfNetwork(state, network.id);
  const own = [...blocks].filter(([, node]) => node === nodeId).map(([block]) => block);
  const changes: Change[] = [];
  for (const space of state.index.addresses.get(network.id) ?? []) {
    if (firstFreeWithin(space, own) !== undefined) continue;
    const block = firstFreeBlock(space.pool.subnet, new Set(blocks.keys()));
    if (block === undefined)
      return fail(
        refusal(500, `no block of ${space.pool.subnet} is left for this host in network ${network.name}: make the subnet larger`),
      );
    own.push(block);
    const id = `${keyStart(network.id)}${block}`;
    changes.push({ kind: "meta", id, value: { id, value: nodeId } });
  }
  return ok({ own, changes });
}

/** What goes with a routed network. */
export function blockRemovals(state: ModelState, networkId: string): readonly Change[] {
  return [...blocksOfNetwork(state, networkId).keys()].map((block) => ({
    kind: "meta",
    id: `${keyStart(networkId)}${block}`,
    value: undefined,
  }));
}

/** The block that an address of the network is in, whoever owns it. */
export function blockOfAddress(network: Network, address: string): string | undefined {
  const subnet = network.pools.map((p) => parsePrefix(p.subnet)!).find((p) => prefixContains(p, address));
  if (subnet === undefined) return undefined;
  const length = blockLength(subnet);
  const size = 1n << BigInt(bitsOf(subnet.family) - length);
  return `${bigIntToIp((ipToBigInt(address) / size) * size, subnet.family)}/${length}`;
}

const blockLength = (subnet: Prefix): number => Math.max(subnet.length, bitsOf(subnet.family) - BLOCK_BITS);

function firstFreeBlock(subnetText: string, taken: ReadonlySet<string>): string | undefined {
  const subnet = parsePrefix(subnetText)!;
  const length = blockLength(subnet);
  const step = 1n << BigInt(bitsOf(subnet.family) - length);
  const { first, last } = prefixRange(subnet);
  for (let n = first; n <= last; n += step) {
    const block = `${bigIntToIp(n, subnet.family)}/${length}`;
    if (!taken.has(block)) return block;
  }
  return undefined;
}
