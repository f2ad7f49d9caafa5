import { release } from "node:os";
import { HOST_NS, type KernelObject, type NsRef, type Sysctl } from "../plan/objects.js";
import type { HostLink, HostRoute, ObserveScope } from "../plan/port.js";
import { LinkPairs, type NamespaceLinks } from "./link-pairs.js";
import type { LinkGroups } from "./marks.js";
import type { NamespacePool } from "./namespace-pool.js";
import { dumpElements, dumpSets, dumpTables, tableId } from "./nft/dump.js";
import { dumpAddrs } from "./rtnl/addr.js";
import { LOOPBACK_IFINDEX, RT_TABLE_MAIN, RTN_UNICAST } from "./rtnl/constants.js";
import { toLink } from "./rtnl/link-object.js";
import { dumpLinks, type SeenLink } from "./rtnl/link-read.js";
import { dumpFdb, dumpNeighs } from "./rtnl/neigh.js";
import { dumpRoutes } from "./rtnl/route.js";
import { dumpRules } from "./rtnl/rule.js";
import { readSysctl } from "./sysctl.js";

export interface ObserveContext {
  readonly pool: NamespacePool;
  readonly groups: LinkGroups;
}

/**
 * What bears our mark, as objects with every field that the kernel tells: a plan compares the fields that the wanted object names.
 * A namespace of the scope that is not there yields nothing. Pairs whose far end is in the scope are told with it.
 */
export function observe(context: ObserveContext, scope: ObserveScope): KernelObject[] {
  const { pool } = context;
  const names = scope.scope === "namespaces" ? [...new Set(scope.names)] : [HOST_NS, ...pool.list()];
  const out: KernelObject[] = [];
  if (scope.scope !== "nft") {
    const pairs = new LinkPairs(pool, context.groups);
    const looked = names.map((ns) => pairs.look(ns)).filter((found) => found !== undefined);
    const present = new Set(looked.map(({ ns }) => ns));
    for (const found of looked) out.push(...observeNamespace(context, pairs, found));
    for (const { ns } of scope.scope === "namespaces" ? looked : [])
      if (ns !== HOST_NS) for (const near of pairs.nearEndsOf(ns, present)) out.push(...linkObjects(pairs, near.ns, [near.link]));
  }
  for (const ns of names) out.push(...observeNft(pool, ns));
  if (scope.scope !== "nft") out.push(...observeSysctls(pool, names, scope.sysctls ?? []));
  return out;
}

function observeNamespace(context: ObserveContext, pairs: LinkPairs, found: NamespaceLinks): KernelObject[] {
  const { pool, groups } = context;
  const { ns, links, byIndex } = found;
  const socket = pool.route(ns).strict();
  const nameOf = (index: number): string => byIndex.get(index)?.name ?? "?";
  const isOurs = (link: SeenLink): boolean => link.group === groups.own || link.group === groups.peer;
  const out: KernelObject[] = ns === HOST_NS ? [] : [{ kind: "netns", name: ns }];
  out.push(
    ...linkObjects(
      pairs,
      ns,
      // What a crash has left in the trash group is a leftover like any other.
      links.filter(
        (link) => link.group === groups.own || link.group === groups.trash || (ns !== HOST_NS && link.index === LOOPBACK_IFINDEX),
      ),
    ),
  );
  for (const address of dumpAddrs(socket, ns, nameOf)) {
    const link = byIndex.get(address.index);
    // Before Linux 5.18 an address has no protocol: on our link it is ours, but for the link-local one that the kernel makes.
    const ours = addressesHaveProtocol
      ? address.ours
      : link !== undefined && isOurs(link) && !address.object.address.startsWith("fe80:");
    if (ours) out.push(address.object);
  }
  for (const route of dumpRoutes(socket, ns, nameOf, { oursOnly: true })) out.push(route.object);
  out.push(...dumpNeighs(socket, ns, nameOf));
  if (links.some((link) => isOurs(link) && (link.kind === "bridge" || link.kind === "vxlan")))
    out.push(
      ...dumpFdb(socket, ns, nameOf, (index) => {
        const link = byIndex.get(index);
        return link !== undefined && isOurs(link);
      }),
    );
  out.push(...dumpRules(socket, ns));
  return out;
}

function linkObjects(pairs: LinkPairs, ns: NsRef, links: readonly SeenLink[]): KernelObject[] {
  const out: KernelObject[] = [];
  for (const seen of links) {
    const link = toLink(seen, ns, {
      nameOf: (index) => pairs.nameOf(ns, index),
      parentNameOf: (parentNs, index) => pairs.nameOf(parentNs, index),
      peerOf: (near) => {
        const peer = pairs.peerOf(ns, near);
        return peer === undefined ? undefined : { ...peer, nameOf: (index) => pairs.nameOf(peer.ns, index) };
      },
    });
    if (link !== undefined) out.push(link);
  }
  return out;
}

function observeNft(pool: NamespacePool, ns: NsRef): KernelObject[] {
  const out: KernelObject[] = [];
  try {
    const socket = pool.netfilter(ns);
    const tables = dumpTables(socket, ns);
    if (tables.length === 0) return [];
    const ours = new Set(tables.map(tableId));
    out.push(...tables);
    for (const set of dumpSets(socket)) if (ours.has(tableId(set))) out.push(...dumpElements(socket, ns, set));
  } catch (error) {
    if ((error as { code?: string }).code !== "ENOENT") throw error;
  }
  return out;
}

function observeSysctls(pool: NamespacePool, names: readonly NsRef[], wanted: readonly Sysctl[]): Sysctl[] {
  const out: Sysctl[] = [];
  for (const ns of names) {
    const keys = wanted.filter((sysctl) => sysctl.ns === ns).map(({ key }) => key);
    if (keys.length === 0) continue;
    try {
      pool.inside(ns, () => {
        for (const key of keys) {
          const value = readSysctl(ns === HOST_NS ? "host" : "pinned", key);
          if (value !== undefined) out.push({ kind: "sysctl", ns, key, value });
        }
      });
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOENT") throw error;
    }
  }
  return out;
}

const [major = 0, minor = 0] = release().split(".").map(Number);
/** Linux 5.18: before, an address does not say who made it. */
export const addressesHaveProtocol = major > 5 || (major === 5 && minor >= 18);

/** The main tables of both families, unicast routes. */
export function hostRoutes({ pool }: ObserveContext): HostRoute[] {
  const socket = pool.route(HOST_NS).strict();
  const names = new Map(dumpLinks(socket).map((link) => [link.index, link.name]));
  return dumpRoutes(socket, HOST_NS, (index) => names.get(index) ?? "?", { oursOnly: false })
    .filter((route) => route.table === RT_TABLE_MAIN && route.type === RTN_UNICAST && route.object.dev !== undefined)
    .map(({ object, ours }) => ({
      dst: object.dst,
      dev: object.dev!,
      ...(object.via === undefined ? {} : { via: object.via }),
      ours,
    }));
}

export function hostLinks({ pool, groups }: ObserveContext): HostLink[] {
  const socket = pool.route(HOST_NS).strict();
  const links = dumpLinks(socket);
  const addresses = dumpAddrs(socket, HOST_NS, () => "");
  return links.map((link) => ({
    name: link.name,
    ifindex: link.index,
    mtu: link.values.IFLA_MTU ?? 0,
    up: link.up,
    type: link.kind !== "" ? link.kind : link.index === LOOPBACK_IFINDEX ? "loopback" : "ether",
    mac: link.values.IFLA_ADDRESS ?? "",
    ours: link.group === groups.own || link.group === groups.peer,
    ...(link.values.IFLA_MASTER === undefined ? {} : { master: link.values.IFLA_MASTER }),
    addresses: addresses.filter((address) => address.index === link.index).map((address) => address.object.address),
  }));
}
