import { libc } from "./ffi.js";
import { unnamedNamespace } from "./namespaces.js";
import { NETLINK_ROUTE } from "./netlink/constants.js";
import { NetlinkSocket } from "./netlink/socket.js";
import { Writer } from "./netlink/writer.js";
import type { SpareOptions } from "./protocol.js";
import { writeSet } from "./rtnl/link.js";
import { writeSysctl } from "./sysctl.js";

/** A namespace that has no name yet: its descriptor keeps it. lo is up, the sysctls have the values that all containers start with. */
export interface Spare {
  readonly fd: number;
  readonly route: NetlinkSocket;
  readonly bornAt: number;
}

/** An engine that makes no namespaces has none in store; and what a namespace takes over from the host at its birth is not older than this. */
const LIFE_MS = 30_000;
/** After an apply: what follows at once (notifications, the next request) comes first. */
const PAUSE_MS = 3;

/**
 * Namespaces made in the pauses, so that a container's start does not wait for it: unshare(2) runs the initialisers of every protocol, a third of
 * the kernel's time for an endpoint. They have no name and no file, so that nothing remains of them when the engine dies. The first start after a
 * pause makes its own.
 */
export class SpareNamespaces {
  readonly #count: number;
  readonly #sysctls: ReadonlyMap<string, string>;
  readonly #now: () => number;
  #spares: Spare[] = [];
  #timer: NodeJS.Timeout | undefined;
  #usedAt = 0;

  constructor({ count, sysctls }: SpareOptions, now: () => number = () => performance.now()) {
    this.#count = count;
    this.#sysctls = new Map(Object.entries(sysctls));
    this.#now = now;
  }

  /** The oldest one; undefined if there is none. The caller owns its descriptors. */
  take(): Spare | undefined {
    this.#usedAt = this.#now();
    this.#dropOld();
    return this.#spares.shift();
  }

  /** Does a spare have this value already? */
  has(key: string, value: string): boolean {
    return this.#sysctls.get(key) === value;
  }

  /** To be called when there is nothing else to do: makes what is missing, one at a time, if namespaces were asked for lately. */
  refill(): void {
    if (this.#count === 0) return;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#work(), PAUSE_MS);
    this.#timer.unref();
  }

  close(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    for (const spare of this.#spares.splice(0)) release(spare);
  }

  #work(): void {
    this.#dropOld();
    const wanted = this.#usedAt > 0 && this.#now() - this.#usedAt < LIFE_MS;
    if (!wanted && this.#spares.length === 0) {
      this.#timer = undefined;
      return;
    }
    const missing = wanted && this.#spares.length < this.#count && this.#make();
    this.#timer = setTimeout(() => this.#work(), missing ? 0 : LIFE_MS);
    this.#timer.unref();
  }

  /** False: it failed (limits, memory). The next namespace is made when it is needed, and the failure told then. */
  #make(): boolean {
    try {
      const made = unnamedNamespace(() => {
        const route = new NetlinkSocket(NETLINK_ROUTE);
        for (const [key, value] of this.#sysctls) writeSysctl("pinned", key, value);
        const w = new Writer(64);
        writeSet(w, "lo", { up: true });
        if (route.request(w).size > 0) throw new Error("lo stays down");
        return route;
      });
      this.#spares.push({ fd: made.fd, route: made.result, bornAt: this.#now() });
      return true;
    } catch {
      return false;
    }
  }

  #dropOld(): void {
    const limit = this.#now() - LIFE_MS;
    while (this.#spares[0] !== undefined && this.#spares[0].bornAt < limit) release(this.#spares.shift()!);
  }
}

function release(spare: Spare): void {
  spare.route.close();
  libc.close(spare.fd);
}
