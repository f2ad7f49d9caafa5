import { parsePrefix, prefixContains } from "../base/ip.js";
import type { DriverContext } from "./contract.js";

/** What the cluster's store says of other hosts, read from the `meta` records that it puts into the state. */

interface NodeRecord {
  readonly id: string;
  readonly address: string;
  readonly alive: boolean;
}

function metaValue(ctx: DriverContext, key: string): unknown {
  const record = ctx.state?.meta.get(key) as { readonly value?: unknown } | undefined;
  return record !== undefined && typeof record === "object" && "value" in record ? record.value : record;
}

/** Underlay address of a host, alive or not: it may be back before its lease is. */
export function nodeAddress(ctx: DriverContext, nodeId: string | undefined): string | undefined {
  return nodeId === undefined ? undefined : (metaValue(ctx, `node:${nodeId}`) as NodeRecord | undefined)?.address;
}

/** Underlay addresses of all other hosts: from nobody else is VXLAN taken. */
export function peerAddresses(ctx: DriverContext): readonly string[] {
  const out: string[] = [];
  for (const key of ctx.state?.meta.keys() ?? []) {
    if (!key.startsWith("node:") || key === `node:${ctx.nodeId}`) continue;
    const address = nodeAddress(ctx, key.slice(5));
    if (address !== undefined) out.push(address);
  }
  return out;
}

/** Blocks of a routed network: prefix → node id. */
export function blocksOf(ctx: DriverContext, networkId: string): ReadonlyMap<string, string> {
  const out = new Map<string, string>();
  const start = `block:${networkId}:`;
  for (const key of ctx.state?.meta.keys() ?? []) {
    if (!key.startsWith(start)) continue;
    const node = metaValue(ctx, key);
    if (typeof node === "string") out.set(key.slice(start.length), node);
  }
  return out;
}

/** Is the address on a link of this host, so that it can be a next hop? */
export function onLink(ctx: DriverContext, address: string): boolean {
  return (ctx.connectedSubnets ?? []).some((subnet) => {
    const prefix = parsePrefix(subnet);
    return prefix !== undefined && prefixContains(prefix, address);
  });
}
