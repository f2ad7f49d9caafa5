import { type KernelObject, type Link, type NsRef, objectKey } from "../plan/objects.js";

/**
 * What should be in the kernel as far as this thread knows: what it has put or observed and not deleted. Notifications are held
 * against it, so that our own changes are no drift. Kept by namespace and device, as both take their objects with them.
 */
export class Ledger {
  /** "ns|name" of the far end of a veth pair → the pair */
  readonly #peers = new Map<string, Link>();
  readonly #byNs = new Map<NsRef, Map<string, Map<string, KernelObject>>>();
  /** Namespaces that have or had neighbours or FDB entries of ours */
  readonly #neighboured = new Set<NsRef>();

  put(o: KernelObject): void {
    if (o.kind === "sysctl" || o.kind === "nftElement") return;
    const [ns, dev] = place(o);
    if (o.kind === "neigh" || o.kind === "fdb") this.#neighboured.add(ns);
    const devices = this.#byNs.get(ns) ?? new Map<string, Map<string, KernelObject>>();
    this.#byNs.set(ns, devices);
    const objects = devices.get(dev) ?? new Map<string, KernelObject>();
    devices.set(dev, objects);
    objects.set(objectKey(o), o);
    if (o.kind === "link" && o.type === "veth") this.#peers.set(`${o.peer.ns}|${o.peer.name}`, o);
  }

  remove(o: KernelObject): void {
    if (o.kind === "netns") {
      this.#byNs.delete(o.name);
      this.#neighboured.delete(o.name);
      return;
    }
    const [ns, dev] = place(o);
    if (o.kind === "link") {
      this.#byNs.get(ns)?.delete(dev);
      if (o.type === "veth") {
        this.#byNs.get(o.peer.ns)?.delete(o.peer.name);
        this.#peers.delete(`${o.peer.ns}|${o.peer.name}`);
      }
      return;
    }
    this.#byNs.get(ns)?.get(dev)?.delete(objectKey(o));
  }

  /** `key` is an objectKey, `dev` the device that the object is on or is ("" for none). */
  get(ns: NsRef, dev: string, key: string): KernelObject | undefined {
    return this.#byNs.get(ns)?.get(dev)?.get(key);
  }

  /** The link of this name, or the pair whose far end has it. */
  linkAt(ns: NsRef, name: string): Link | undefined {
    const link = this.get(ns, name, `link|${ns}|${name}`);
    return link?.kind === "link" ? link : this.#peers.get(`${ns}|${name}`);
  }

  /** May neighbours or FDB entries be expected in this namespace? */
  hasNeighbours(ns: NsRef): boolean {
    return this.#neighboured.has(ns);
  }

  /** Is anything expected in this namespace? */
  knows(ns: NsRef): boolean {
    return (this.#byNs.get(ns)?.size ?? 0) > 0;
  }
}

function place(o: KernelObject): readonly [NsRef, string] {
  switch (o.kind) {
    case "netns":
      return [o.name, ""];
    case "link":
      return [o.ns, o.name];
    case "addr":
    case "neigh":
    case "fdb":
      return [o.ns, o.dev];
    case "route":
      return [o.ns, o.dev ?? ""];
    default:
      return [o.ns, ""];
  }
}
