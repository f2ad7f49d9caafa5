import { KernelError } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import { allOwners, type DriverContext, desiredOf, type Owner, ownersOfNetworkWhole } from "../drivers/index.js";
import type { ModelState } from "../model/index.js";
import { plan } from "../plan/index.js";
import { HOST_NS, type KernelObject, objectKey, type Sysctl } from "../plan/objects.js";
import type { Batch, Drift, KernelPort, ObserveScope, OpFailure } from "../plan/port.js";
import { Holdings, NOBODY } from "./holdings.js";

/** How often everything is compared without a reason. */
const AUDIT_MS = 300_000;
/** Notifications that come within this time are repaired together. */
const DRIFT_SETTLE_MS = 20;
/** Somebody who undoes every repair gets the second one after this pause, doubled up to the limit. */
const FIGHT_PAUSE_MS = 200;
const FIGHT_LIMIT_MS = 10_000;

interface Wish {
  readonly owners: readonly Owner[];
  /** Do not trust the memory of what is there: look. "all" also finds leftovers. */
  readonly look: "no" | "owners" | "all";
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * Makes the kernel what the model says, owner by owner. What the kernel holds is kept in memory from acknowledgements, so a request costs
 * its own objects and no dump; the kernel is looked at only at start, after a failed operation and when it says that somebody else changed it.
 * One round at a time; wishes that arrive meanwhile go into the next one together.
 */
export class Converger {
  readonly #state: ModelState;
  readonly #kernel: KernelPort;
  readonly #log: Logger;
  #context: DriverContext;
  readonly #holdings = new Holdings();
  #wishes: Wish[] = [];
  #working = false;
  #driftTimer: NodeJS.Timeout | undefined;
  #auditTimer: NodeJS.Timeout | undefined;
  #driftOwners: Set<Owner> | "all" = new Set();
  #fight = { pauseMs: 0, lastRepair: 0 };
  #stopWatch: () => void = () => undefined;

  constructor(options: { state: ModelState; kernel: KernelPort; log: Logger; context: DriverContext }) {
    this.#state = options.state;
    this.#kernel = options.kernel;
    this.#log = options.log;
    this.#context = options.context;
  }

  /** Resolves when the kernel holds what the model wants for these owners; rejects with KernelError when it refuses twice. */
  converge(owners: readonly Owner[]): Promise<void> {
    return this.#wish([...new Set(owners)], "no");
  }

  /** Is an object with this key among what the kernel is known to hold for us? */
  holds(key: string): boolean {
    return this.#holdings.holdersOf(key).length > 0;
  }

  /** Compares everything: at start, and when told that the kernel's notifications overflowed. Leftovers with our mark go. */
  convergeAll(): Promise<void> {
    return this.#wish([], "all");
  }

  /** Watches for changes by others from now on; and looks at everything now and then, because not every change is told (sysctls are not). */
  watch(): void {
    this.#stopWatch = this.#kernel.watch((drift) => this.#onDrift(drift));
    this.#auditTimer = setInterval(() => {
      if (this.#working || this.#wishes.length > 0) return;
      this.convergeAll().catch((error: unknown) =>
        this.#log.error("audit", { error: error instanceof Error ? error.message : String(error) }),
      );
    }, AUDIT_MS);
    this.#auditTimer.unref();
  }

  get context(): DriverContext {
    return this.#context;
  }

  /** The host changed (uplink MTU): all networks and endpoints are planned again. */
  async setContext(context: DriverContext): Promise<void> {
    this.#context = context;
    await this.converge(allOwners(this.#state));
  }

  /** Sentences on what differs from the model; empty when all is as it should be. */
  async verify(): Promise<readonly string[]> {
    await this.idle();
    const desired = this.#desired(allOwners(this.#state));
    const observed = await this.#kernel.observe({ scope: "all", sysctls: sysctlsOf(desired) });
    const kept = this.#trusted(observed, desired);
    return plan(desired, kept)
      .flat()
      .map(
        (op) =>
          `${op.op === "put" ? ("was" in op && op.was !== undefined ? "differs" : "missing") : "left over"}: ${objectKey(op.object)}`,
      );
  }

  /** Resolves when no work is under way. */
  async idle(): Promise<void> {
    while (this.#working || this.#wishes.length > 0) await this.#wish([], "no").catch(() => undefined);
  }

  stop(): void {
    this.#stopWatch();
    clearInterval(this.#auditTimer);
    clearTimeout(this.#driftTimer);
  }

  #wish(owners: readonly Owner[], look: Wish["look"]): Promise<void> {
    const done = new Promise<void>((resolve, reject) => this.#wishes.push({ owners, look, resolve, reject }));
    if (!this.#working) void this.#work();
    return done;
  }

  async #work(): Promise<void> {
    this.#working = true;
    while (this.#wishes.length > 0) {
      const wishes = this.#wishes;
      this.#wishes = [];
      try {
        const failed = await this.#round(wishes);
        for (const wish of wishes) {
          const owner = wish.owners.find((o) => failed.has(o));
          if (owner === undefined) wish.resolve();
          else wish.reject(failed.get(owner)!);
        }
      } catch (error) {
        for (const wish of wishes) wish.reject(error instanceof Error ? error : new Error(String(error)));
      }
    }
    this.#working = false;
  }

  /** The owners that could not be satisfied, with the kernel's words. */
  async #round(wishes: readonly Wish[]): Promise<ReadonlyMap<Owner, Error>> {
    const all = wishes.some((w) => w.look === "all");
    const owners = new Set(wishes.flatMap((w) => w.owners));
    if (all) for (const owner of [...allOwners(this.#state), ...this.#holdings.owners(), NOBODY]) owners.add(owner);
    if (owners.size === 0) return new Map();
    for (const owner of [...owners]) for (const other of this.#following(owner)) owners.add(other);
    const looking = all ? owners : new Set(wishes.filter((w) => w.look === "owners").flatMap((w) => w.owners));
    if (looking.size > 0) await this.#look(all ? "all" : [...looking]);
    const failures = await this.#apply(owners);
    if (failures.length === 0) return new Map();
    // The memory was wrong, or the kernel refuses: look at what these owners have, and plan once more.
    const suspects = this.#ownersOf(failures, owners);
    for (const f of failures)
      this.#log.debug("kernel refused, planning again", { operation: f.operation, error: f.code, extack: f.extAck });
    await this.#look([...suspects]);
    const again = await this.#apply(suspects);
    const failed = new Map<Owner, Error>();
    for (const failure of again) {
      const error = new KernelError(failure.operation, failure.errno, failure.code, failure.extAck);
      for (const owner of this.#ownersOf([failure], suspects)) if (!failed.has(owner)) failed.set(owner, error);
    }
    if (again.length > 0) await this.#look([...failed.keys()]);
    return failed;
  }

  /**
   * An overlay that appears on this host brings all that leads to its endpoints elsewhere, and takes it along when it goes. Judged by what the
   * kernel holds: of several containers that join at once any may be the first to get here.
   */
  #following(owner: Owner): readonly Owner[] {
    const id = owner.startsWith("network:") ? owner.slice("network:".length) : "";
    if (this.#state.networks.get(id)?.driver !== "overlay") return [];
    const held = this.#holdings.of(owner).length > 0;
    return held === desiredOf(owner, this.#state, this.#context).length > 0 ? [] : ownersOfNetworkWhole(this.#state, id);
  }

  /** Plans the difference between what these owners want and what they hold, and applies it. */
  async #apply(owners: ReadonlySet<Owner>): Promise<readonly OpFailure[]> {
    let wanted = this.#wanted(owners);
    let { desired, held } = this.#holdings.difference(wanted);
    if (reloadsTable(desired, held)) {
      // Loading a table empties it: everybody's elements have to follow in the same transaction.
      wanted = this.#wanted(new Set([...allOwners(this.#state), ...owners]));
      ({ desired, held } = this.#holdings.difference(wanted));
    }
    const batches: readonly Batch[] = plan(desired, held);
    if (batches.length === 0) {
      this.#holdings.settle(wanted, new Set());
      return [];
    }
    const { failures } = await this.#kernel.apply(batches);
    this.#holdings.settle(wanted, new Set(failures.map((f) => objectKey(f.op.object))));
    return failures;
  }

  #wanted(owners: Iterable<Owner>): Map<Owner, readonly KernelObject[]> {
    const wanted = new Map<Owner, readonly KernelObject[]>();
    for (const owner of owners) wanted.set(owner, desiredOf(owner, this.#state, this.#context));
    return wanted;
  }

  /** Replaces what the memory says of these owners by what the kernel says. */
  async #look(owners: readonly Owner[] | "all"): Promise<void> {
    if (owners === "all") {
      const desired = this.#desired(allOwners(this.#state));
      const observed = await this.#kernel.observe({ scope: "all", sysctls: sysctlsOf(desired) });
      this.#holdings.replaceAll(this.#trusted(observed, desired));
      return;
    }
    const concerned = [...this.#desired(owners), ...owners.flatMap((o) => this.#holdings.of(o))];
    const observed: KernelObject[] = [];
    for (const scope of scopesOf(concerned)) observed.push(...(await this.#kernel.observe(scope)));
    this.#holdings.replace(owners, concerned, this.#trusted(observed, this.#desired(owners)));
  }

  #desired(owners: readonly Owner[]): KernelObject[] {
    const byKey = new Map<string, KernelObject>();
    for (const owner of owners)
      for (const o of desiredOf(owner, this.#state, this.#context)) if (!byKey.has(objectKey(o))) byKey.set(objectKey(o), o);
    return [...byKey.values()];
  }

  /**
   * A container that may configure its own namespace (NET_ADMIN) is not corrected: there, what is wanted counts as what is there,
   * and what it made itself is not seen. The link pair and the namespace stay ours.
   */
  #trusted(observed: readonly KernelObject[], desired: readonly KernelObject[]): readonly KernelObject[] {
    const free = new Set<string>();
    for (const sandbox of this.#state.sandboxes.values())
      if (sandbox.selfManaged && sandbox.netns !== "") free.add(sandbox.netns);
    if (free.size === 0) return observed;
    const inside = (o: KernelObject) => "ns" in o && free.has(o.ns);
    const present = new Set(observed.filter((o) => o.kind === "netns").map((o) => o.name));
    const links = new Set(observed.filter((o) => o.kind === "link").map(objectKey));
    return [
      ...observed.filter((o) => !inside(o)),
      // Only where the namespace and the interface's pair exist: after a reboot all of it is to be made.
      ...desired.filter((o) => inside(o) && "ns" in o && present.has(o.ns) && this.#pairExists(o, desired, links)),
    ];
  }

  #pairExists(o: KernelObject, desired: readonly KernelObject[], links: ReadonlySet<string>): boolean {
    if (!("dev" in o) || o.dev === undefined || !("ns" in o)) return true;
    const pair = desired.find((d) => d.kind === "link" && d.type === "veth" && d.peer.ns === o.ns && d.peer.name === o.dev);
    return pair === undefined || links.has(objectKey(pair));
  }

  #ownersOf(failures: readonly OpFailure[], among: ReadonlySet<Owner>): Set<Owner> {
    const keys = new Set(failures.map((f) => objectKey(f.op.object)));
    const out = new Set<Owner>();
    for (const owner of among) {
      const own = [...desiredOf(owner, this.#state, this.#context), ...this.#holdings.of(owner)];
      if (own.some((o) => keys.has(objectKey(o)))) out.add(owner);
    }
    return out;
  }

  #onDrift(drift: Drift): void {
    if (drift.keys.length === 0) this.#driftOwners = "all";
    else if (this.#driftOwners !== "all")
      for (const key of drift.keys) for (const owner of this.#holdings.holdersOf(key)) this.#suspect(owner, this.#driftOwners);
    if (this.#driftOwners !== "all" && this.#driftOwners.size === 0) return;
    this.#log.debug("drift", { reason: drift.reason, keys: drift.keys.slice(0, 8) });
    if (Date.now() - this.#fight.lastRepair > FIGHT_LIMIT_MS) this.#fight.pauseMs = 0;
    this.#driftTimer ??= setTimeout(() => this.#repair(), Math.max(DRIFT_SETTLE_MS, this.#fight.pauseMs));
  }

  /** What hangs on an object goes with it: the ports of a bridge, the interfaces of a namespace. */
  #suspect(owner: Owner, into: Set<Owner>): void {
    into.add(owner);
    const id = owner.slice(owner.indexOf(":") + 1);
    const { index } = this.#state;
    const endpoints = index.endpointsByNetwork.get(id) ?? index.endpointsBySandbox.get(id);
    if (endpoints !== undefined && !owner.startsWith("endpoint:")) for (const e of endpoints.keys()) into.add(`endpoint:${e}`);
  }

  #repair(): void {
    this.#driftTimer = undefined;
    const owners = this.#driftOwners;
    this.#driftOwners = new Set();
    const now = Date.now();
    const soon = now - this.#fight.lastRepair < 1000;
    this.#fight = {
      lastRepair: now,
      pauseMs: soon ? Math.min(Math.max(FIGHT_PAUSE_MS, this.#fight.pauseMs * 2), FIGHT_LIMIT_MS) : 0,
    };
    const work = owners === "all" ? this.#wish([], "all") : this.#wish([...owners], "owners");
    work.catch((error: unknown) =>
      this.#log.error("repair failed", { error: error instanceof Error ? error.message : String(error) }),
    );
  }
}

/** Of the host's tables: one in the namespace of an overlay has that network's elements only, and these come with it (#following). */
function reloadsTable(desired: readonly KernelObject[], held: readonly KernelObject[]): boolean {
  const tables = new Map(held.filter((o) => o.kind === "nftTable").map((o) => [objectKey(o), o.hash]));
  return desired.some((o) => o.kind === "nftTable" && o.ns === HOST_NS && tables.get(objectKey(o)) !== o.hash);
}

/** Sysctls bear no mark: the kernel is asked for those that we want by name. */
const sysctlsOf = (objects: readonly KernelObject[]): Sysctl[] => objects.filter((o) => o.kind === "sysctl");

/** What to dump in order to see these objects again. */
function scopesOf(objects: readonly KernelObject[]): ObserveScope[] {
  const names = new Set<string>();
  let nft = false;
  for (const o of objects) {
    if (o.kind === "netns") names.add(o.name);
    else if (o.kind === "nftTable" || o.kind === "nftElement") nft = true;
    else {
      names.add(o.ns);
      if (o.kind === "link" && o.type === "veth") names.add(o.peer.ns);
    }
  }
  const scopes: ObserveScope[] = [];
  if (names.size > 0) scopes.push({ scope: "namespaces", names: [...names], sysctls: sysctlsOf(objects) });
  if (nft) scopes.push({ scope: "nft" });
  return scopes;
}
