import { unreachable } from "../base/result.js";
import type { KernelObject, Link, NsRef } from "./objects.js";
import { HOST_NS, objectKey } from "./objects.js";
import type {
  ApplyResult,
  Batch,
  Drift,
  HostLink,
  HostRoute,
  KernelPort,
  ObserveScope,
  Op,
  OpFailure,
  SocketRequest,
} from "./port.js";

/**
 * A kernel of maps that minds what the real one minds: a device needs its namespace, an address its device, an element its table;
 * what goes takes its dependants along. For property tests, and for tests of the engine without root.
 */
export class SimulatedKernel implements KernelPort {
  private readonly objects = new Map<string, KernelObject>();
  private readonly watchers = new Set<(drift: Drift) => void>();
  readonly routes: HostRoute[] = [];
  readonly links: HostLink[] = [];

  constructor(objects: readonly KernelObject[] = []) {
    for (const object of objects) this.objects.set(objectKey(object), object);
  }

  /** Everything that is there. */
  contents(): readonly KernelObject[] {
    return [...this.objects.values()];
  }

  /** One op; the error's name (EEXIST, ENOENT …) if it cannot be done. */
  run(op: Op): string | undefined {
    return op.op === "put" ? this.put(op.object) : this.remove(op.object);
  }

  /** Somebody else's change: done, and reported to the watchers. */
  meddle(op: Op): void {
    this.run(op);
    for (const watcher of this.watchers) watcher({ reason: `${op.op} ${op.object.kind}`, keys: [objectKey(op.object)] });
  }

  async apply(batches: readonly Batch[]): Promise<ApplyResult> {
    const failures: OpFailure[] = [];
    for (const [batch, ops] of batches.entries())
      for (const [index, op] of ops.entries()) {
        const code = this.run(op);
        if (code !== undefined)
          failures.push({ op, batch, index, errno: ERRNO[code] ?? 22, code, operation: `${op.op} ${objectKey(op.object)}` });
      }
    return { failures, syscalls: batches.length };
  }

  async observe(scope: ObserveScope): Promise<readonly KernelObject[]> {
    return this.contents().filter((o) => {
      if (scope.scope === "all") return true;
      if (scope.scope === "nft") return o.kind === "nftTable" || o.kind === "nftElement";
      return scope.names.includes(o.kind === "netns" ? o.name : o.ns);
    });
  }

  watch(onDrift: (drift: Drift) => void): () => void {
    this.watchers.add(onDrift);
    return () => this.watchers.delete(onDrift);
  }

  async hostRoutes(): Promise<readonly HostRoute[]> {
    return this.routes;
  }

  async hostLinks(): Promise<readonly HostLink[]> {
    return this.links;
  }

  async flushConntrack(): Promise<void> {}

  async openSocket(_request: SocketRequest): Promise<number> {
    return -1;
  }

  async openSockets(requests: readonly SocketRequest[]): Promise<readonly number[]> {
    return requests.map(() => -1);
  }

  async close(): Promise<void> {
    this.watchers.clear();
  }

  private put(o: KernelObject): string | undefined {
    const missing = this.missing(o);
    if (missing !== undefined) return missing;
    switch (o.kind) {
      case "netns":
        this.set(o);
        if (!this.objects.has(linkKey(o.name, "lo")))
          this.set({ kind: "link", ns: o.name, name: "lo", type: "loopback", up: false });
        return undefined;
      case "link":
        return this.putLink(o);
      case "sysctl":
        this.set(o);
        if (o.key === "net.ipv6.conf.all.disable_ipv6")
          for (const other of this.contents())
            if (other.kind === "sysctl" && other.ns === o.ns && /^net\.ipv6\.conf\..+\.disable_ipv6$/.test(other.key))
              this.set({ ...other, value: o.value });
        return undefined;
      case "nftTable":
        // Loaded as text: the old one is deleted in the same transaction, elements and all.
        this.drop((e) => e.kind === "nftElement" && sameTable(e, o));
        this.set(o);
        return undefined;
      case "addr":
      case "route":
      case "neigh":
      case "fdb":
      case "rule":
      case "nftElement":
        this.set(o);
        return undefined;
      default:
        return unreachable(o);
    }
  }

  private putLink(link: Link): string | undefined {
    const is = this.objects.get(objectKey(link));
    if (is?.kind === "link") {
      if (is.type !== link.type) return "EEXIST";
      if (link.type === "veth" && is.type === "veth" && (is.peer.ns !== link.peer.ns || is.peer.name !== link.peer.name))
        return "EEXIST";
      this.set(link);
      return undefined;
    }
    if (link.type === "loopback") return "ENODEV";
    if (this.hasDevice(link.ns, link.name)) return "EEXIST";
    if (link.type === "veth" && this.hasDevice(link.peer.ns, link.peer.name)) return "EEXIST";
    this.set(link);
    return undefined;
  }

  /** What the object needs and is not there. */
  private missing(o: KernelObject): string | undefined {
    if (o.kind === "netns") return undefined;
    if (!this.hasNs(o.ns)) return "ENOENT";
    if (o.kind === "link") {
      if (o.master !== undefined && this.objects.get(linkKey(o.ns, o.master))?.kind !== "link") return "ENODEV";
      if (o.type === "veth" && !this.hasNs(o.peer.ns)) return "ENOENT";
      if (o.type === "veth" && o.peer.master !== undefined && !this.hasDevice(o.peer.ns, o.peer.master)) return "ENODEV";
      return undefined;
    }
    if ((o.kind === "addr" || o.kind === "neigh" || o.kind === "fdb" || o.kind === "route") && o.dev !== undefined)
      return this.hasDevice(o.ns, o.dev) ? undefined : "ENODEV";
    if (o.kind === "nftElement" && !this.contents().some((t) => t.kind === "nftTable" && sameTable(t, o))) return "ENOENT";
    return undefined;
  }

  private remove(o: KernelObject): string | undefined {
    if (o.kind === "link" && o.type === "loopback") return "EOPNOTSUPP";
    if (!this.objects.delete(objectKey(o))) return "ENOENT";
    if (o.kind === "netns") {
      this.drop((x) => x.kind !== "netns" && x.ns === o.name);
      for (const link of this.contents())
        if (link.kind === "link" && link.type === "veth" && link.peer.ns === o.name) this.remove(link);
    } else if (o.kind === "link") {
      this.dropDevice(o.ns, o.name);
      if (o.type === "veth") this.dropDevice(o.peer.ns, o.peer.name);
    } else if (o.kind === "nftTable") this.drop((e) => e.kind === "nftElement" && sameTable(e, o));
    return undefined;
  }

  private dropDevice(ns: NsRef, dev: string): void {
    this.drop(
      (x) => (x.kind === "addr" || x.kind === "route" || x.kind === "neigh" || x.kind === "fdb") && x.ns === ns && x.dev === dev,
    );
    for (const link of this.contents()) {
      if (link.kind !== "link") continue;
      if (link.ns === ns && link.master === dev) {
        const { master: _, ...rest } = link;
        this.set(rest as Link);
      } else if (link.type === "veth" && link.peer.ns === ns && link.peer.master === dev) {
        const { master: _, ...peer } = link.peer;
        this.set({ ...link, peer });
      }
    }
  }

  private hasNs(ns: NsRef): boolean {
    return ns === HOST_NS || this.objects.has(`netns|${ns}`);
  }

  /** A device by itself or as the other end of a pair. */
  private hasDevice(ns: NsRef, name: string): boolean {
    if (this.objects.has(linkKey(ns, name))) return true;
    for (const link of this.objects.values())
      if (link.kind === "link" && link.type === "veth" && link.peer.ns === ns && link.peer.name === name) return true;
    return false;
  }

  private set(o: KernelObject): void {
    this.objects.set(objectKey(o), o);
  }

  private drop(which: (o: KernelObject) => boolean): void {
    for (const [key, o] of this.objects) if (which(o)) this.objects.delete(key);
  }
}

const ERRNO: Readonly<Record<string, number>> = { ENOENT: 2, EEXIST: 17, ENODEV: 19, EOPNOTSUPP: 95 };
const linkKey = (ns: NsRef, name: string): string => `link|${ns}|${name}`;
const sameTable = (a: { ns: string; family: string; table: string }, b: { ns: string; family: string; table: string }): boolean =>
  a.ns === b.ns && a.family === b.family && a.table === b.table;
