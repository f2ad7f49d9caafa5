import { unreachable } from "../base/result.js";
import type { KernelObject, Link, NftElement } from "./objects.js";
import { objectKey } from "./objects.js";
import type { Batch, Op } from "./port.js";

/**
 * The operations that turn `observed` into `desired`, in the order in which they can be done; plan(s, s) is [].
 *
 * Order: what published something goes first, then links and what hangs on them, then namespaces, then what restricted; after that
 * the new: namespaces, sysctls, tables and restrictions, links (bridges before their ports), addresses and routes, neighbours, and
 * what opens last. So nothing is open before it is fenced, and nothing loses its fence before it is gone.
 *
 * Fields that a desired object does not name are not compared. Sysctls are never deleted: nobody knows what they were before.
 * A table that is (re)loaded loses its elements in the kernel, so all desired ones follow in the same batch: plan a changed table
 * with all of its elements in `desired`.
 */
export function plan(desired: readonly KernelObject[], observed: readonly KernelObject[]): Batch[] {
  const want = byKey(desired);
  const have = byKey(observed);
  const ops: Op[] = [];
  const gone = new Gone();
  for (const [key, object] of have) {
    const target = want.get(key);
    if (target === undefined) gone.add(object);
    else if (mustReplace(object, target)) gone.add(object);
  }
  for (const [key, object] of have) {
    const target = want.get(key);
    if (target !== undefined && !mustReplace(object, target)) continue;
    if (isDeletable(object) && !gone.implies(object)) ops.push({ op: "delete", object });
  }
  const reloaded = new Set<string>();
  for (const [key, object] of want) {
    if (object.kind !== "nftTable") continue;
    const is = have.get(key);
    if (is === undefined || differs(object, is)) reloaded.add(tableKey(object));
  }
  const rewritten = new Set<string>();
  for (const [key, object] of want)
    if (object.kind === "sysctl" && isSpreading(object.key) && needsPut(object, have.get(key))) rewritten.add(object.ns);
  for (const [key, object] of want) {
    const is = have.get(key);
    const survives = is !== undefined && !mustReplace(is, object) && !gone.implies(is);
    if (object.kind === "nftElement" && reloaded.has(tableKey(object))) ops.push({ op: "put", object });
    else if (object.kind === "sysctl" && rewritten.has(object.ns) && isSpreadTo(object.key)) ops.push({ op: "put", object });
    else if (!survives) ops.push({ op: "put", object });
    else if (differs(object, is) || gone.takesMasterOf(is)) ops.push({ op: "put", object, was: is });
  }
  return batches(ops, reloaded);
}

/** Does `is` lack something that `wanted` names? */
export function differs(wanted: KernelObject, is: KernelObject): boolean {
  if (wanted.kind === "link" && is.kind === "link") return wanted.master !== is.master || lacks(wanted, is);
  if (wanted.kind === "nftTable" && is.kind === "nftTable") return wanted.hash !== is.hash;
  if (wanted.kind === "nftElement" && is.kind === "nftElement")
    return JSON.stringify(wanted.data ?? null) !== JSON.stringify(is.data ?? null);
  if (wanted.kind === "sysctl" && is.kind === "sysctl") return normalise(wanted.value) !== normalise(is.value);
  return lacks(wanted, is);
}

/** Nobody knows what a sysctl was before, and lo comes and goes with its namespace. */
const isDeletable = (o: KernelObject): boolean => o.kind !== "sysctl" && !(o.kind === "link" && o.type === "loopback");

const needsPut = (wanted: KernelObject, is: KernelObject | undefined): boolean => is === undefined || differs(wanted, is);

/** The kernel writes several values with tabs between them, people with blanks. */
const normalise = (value: string): string => value.trim().split(/\s+/).join(" ");

const isSpreading = (key: string): boolean => key === "net.ipv6.conf.all.disable_ipv6";
/** A write to "all" overwrites those of the interfaces. */
const isSpreadTo = (key: string): boolean => /^net\.ipv6\.conf\..+\.disable_ipv6$/.test(key) && !isSpreading(key);

function lacks(wanted: object, is: object): boolean {
  for (const [field, value] of Object.entries(wanted)) {
    if (value === undefined || field === "restricts") continue;
    const other = (is as Record<string, unknown>)[field];
    if (typeof value === "object" && value !== null) {
      if (typeof other !== "object" || other === null || lacks(value, other)) return true;
    } else if (value !== other) return true;
  }
  return false;
}

/** Is it another thing under the same name, that cannot be changed in place? */
function mustReplace(is: KernelObject, wanted: KernelObject): boolean {
  if (is.kind !== "link" || wanted.kind !== "link") return false;
  if (is.type !== wanted.type) return true;
  switch (wanted.type) {
    case "veth": {
      const was = is as Link & { type: "veth" };
      return was.peer.ns !== wanted.peer.ns || was.peer.name !== wanted.peer.name;
    }
    case "vxlan": {
      const was = is as Link & { type: "vxlan" };
      return (
        was.vni !== wanted.vni || was.dstPort !== wanted.dstPort || (wanted.local !== undefined && was.local !== wanted.local)
      );
    }
    case "macvlan": {
      const was = is as Link & { type: "macvlan" };
      return was.parent !== wanted.parent || was.mode !== wanted.mode;
    }
    case "loopback":
    case "bridge":
    case "wireguard":
      return false;
    default:
      return unreachable(wanted);
  }
}

function byKey(objects: readonly KernelObject[]): Map<string, KernelObject> {
  const out = new Map<string, KernelObject>();
  for (const object of objects) out.set(objectKey(object), object);
  return out;
}

const tableKey = (o: { readonly ns: string; readonly family: string; readonly table: string }): string =>
  `${o.ns}|${o.family}|${o.table}`;

/** What the kernel takes away by itself with the things that are deleted. */
class Gone {
  private readonly namespaces = new Set<string>();
  private readonly devices = new Set<string>();
  private readonly tables = new Set<string>();

  add(object: KernelObject): void {
    if (object.kind === "netns") this.namespaces.add(object.name);
    if (object.kind === "nftTable") this.tables.add(tableKey(object));
    if (object.kind === "link") {
      this.devices.add(`${object.ns}|${object.name}`);
      if (object.type === "veth") this.devices.add(`${object.peer.ns}|${object.peer.name}`);
    }
  }

  /** A bridge that is replaced lets its ports go. */
  takesMasterOf(object: KernelObject): boolean {
    return object.kind === "link" && object.master !== undefined && this.devices.has(`${object.ns}|${object.master}`);
  }

  /** A veth whose other end is in a dying namespace is deleted by name all the same: the kernel's own clean-up comes some time later. */
  implies(object: KernelObject): boolean {
    switch (object.kind) {
      case "netns":
        return false;
      case "link":
        // Its VXLAN identifier stays taken in the underlay until then, too.
        return this.namespaces.has(object.ns) && object.type !== "vxlan";
      case "addr":
      case "neigh":
      case "fdb":
        return this.namespaces.has(object.ns) || this.devices.has(`${object.ns}|${object.dev}`);
      case "route":
        return this.namespaces.has(object.ns) || (object.dev !== undefined && this.devices.has(`${object.ns}|${object.dev}`));
      case "nftElement":
        return this.namespaces.has(object.ns) || this.tables.has(tableKey(object));
      case "nftTable":
      case "rule":
      case "sysctl":
        return this.namespaces.has(object.ns);
      default:
        return unreachable(object);
    }
  }
}

/** Ops by phase; each phase is one batch. */
function batches(ops: readonly Op[], reloaded: ReadonlySet<string>): Batch[] {
  const phases = new Map<number, { readonly rank: number; readonly op: Op }[]>();
  for (const op of ops) {
    const [phase, rank] = op.op === "delete" ? deletePhase(op.object) : putPhase(op.object, reloaded);
    const list = phases.get(phase);
    if (list === undefined) phases.set(phase, [{ rank, op }]);
    else list.push({ rank, op });
  }
  return [...phases.entries()]
    .sort(([a], [b]) => a - b)
    .map(([, list]) => list.sort((a, b) => a.rank - b.rank).map(({ op }) => op));
}

type Place = readonly [phase: number, rank: number];

function deletePhase(object: KernelObject): Place {
  switch (object.kind) {
    case "nftElement":
      return object.restricts ? [4, 0] : [0, 0];
    case "rule":
      return [1, 0];
    case "fdb":
    case "neigh":
      return [1, 1];
    case "route":
      return [1, object.via === undefined ? 3 : 2];
    case "addr":
      return [1, 4];
    case "link":
      return [2, linkRank(object, "delete")];
    case "netns":
      return [3, 0];
    case "nftTable":
      return [4, 1];
    case "sysctl":
      return [5, 0];
    default:
      return unreachable(object);
  }
}

function putPhase(object: KernelObject, reloaded: ReadonlySet<string>): Place {
  switch (object.kind) {
    case "netns":
      return [10, 0];
    case "sysctl":
      return isDeviceSysctl(object.key) ? [14, 0] : [11, isSpreading(object.key) ? 0 : 1];
    case "nftTable":
      return [12, 0];
    case "nftElement":
      return elementPlace(object, reloaded);
    case "link":
      return [13, linkRank(object, "put")];
    case "addr":
      return [15, 0];
    // A route through a gateway needs the route to the gateway.
    case "route":
      return [15, object.via === undefined ? 1 : 2];
    case "rule":
      return [15, 3];
    case "neigh":
    case "fdb":
      return [15, 4];
    default:
      return unreachable(object);
  }
}

function elementPlace(object: NftElement, reloaded: ReadonlySet<string>): Place {
  return object.restricts || reloaded.has(tableKey(object)) ? [12, 1] : [16, 0];
}

/** Bridges before their ports; a VXLAN or macvlan device like a port. */
function linkRank(link: Link, op: "put" | "delete"): number {
  const rank = link.type === "bridge" ? 0 : link.type === "loopback" ? 1 : link.type === "veth" ? 3 : 2;
  return op === "put" ? rank : -rank;
}

/** Does the key name an interface that must exist first? "all" and "default" always do. */
function isDeviceSysctl(key: string): boolean {
  const match = /^net\.(?:ipv4|ipv6|mpls)\.(?:conf|neigh)\.([^.]+)\./.exec(key);
  return match !== null && match[1] !== "all" && match[1] !== "default" && match[1] !== "lo";
}
