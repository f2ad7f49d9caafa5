import type { Owner } from "../drivers/index.js";
import { type KernelObject, objectKey } from "../plan/objects.js";

interface Held {
  object: KernelObject;
  readonly owners: Set<Owner>;
}

/** Objects found at start that no owner claims. */
export const NOBODY: Owner = "nobody";

/**
 * What the kernel is known to hold, and for whom. A few objects have several owners (the ip_forward that every network wants): they go when the last
 * one lets go.
 */
export class Holdings {
  readonly #byKey = new Map<string, Held>();
  readonly #byOwner = new Map<Owner, Set<string>>();

  owners(): Owner[] {
    return [...this.#byOwner.keys()];
  }

  of(owner: Owner): KernelObject[] {
    return [...(this.#byOwner.get(owner) ?? [])].map((key) => this.#byKey.get(key)!.object);
  }

  holdersOf(key: string): readonly Owner[] {
    return [...(this.#byKey.get(key)?.owners ?? [])];
  }

  /** The two sides of a plan for these owners: what should be there, and what is. */
  difference(wanted: ReadonlyMap<Owner, readonly KernelObject[]>): { desired: KernelObject[]; held: KernelObject[] } {
    const desired = new Map<string, KernelObject>();
    const held = new Map<string, KernelObject>();
    for (const [owner, objects] of wanted) {
      for (const object of objects) {
        const key = objectKey(object);
        if (!desired.has(key)) desired.set(key, object);
        const present = this.#byKey.get(key);
        if (present !== undefined) held.set(key, present.object);
      }
      for (const key of this.#byOwner.get(owner) ?? []) held.set(key, this.#byKey.get(key)!.object);
    }
    for (const [key, object] of held) {
      if (desired.has(key)) continue;
      // Somebody who is not asked now still wants it.
      if ([...this.#byKey.get(key)!.owners].some((o) => o !== NOBODY && !wanted.has(o))) desired.set(key, object);
    }
    return { desired: [...desired.values()], held: [...held.values()] };
  }

  /** After an apply: these owners hold what they wanted, except what failed; of that the memory stays as it was. */
  settle(wanted: ReadonlyMap<Owner, readonly KernelObject[]>, failed: ReadonlySet<string>): void {
    for (const [owner, objects] of wanted) {
      const keys = new Set(objects.map(objectKey));
      for (const key of [...(this.#byOwner.get(owner) ?? [])]) if (!keys.has(key) && !failed.has(key)) this.#release(owner, key);
      for (const object of objects) {
        const key = objectKey(object);
        if (!failed.has(key)) this.#hold(owner, key, object);
      }
    }
  }

  /** After looking at everything: only this is there. Who wants it will say so; what nobody wants goes in the same round. */
  replaceAll(observed: readonly KernelObject[]): void {
    this.#byKey.clear();
    this.#byOwner.clear();
    for (const object of observed) this.#hold(NOBODY, objectKey(object), object);
  }

  /** After looking at what concerns these owners: of `concerned`, only what is in `observed` is there. */
  replace(owners: readonly Owner[], concerned: readonly KernelObject[], observed: readonly KernelObject[]): void {
    const seen = new Map(observed.map((o) => [objectKey(o), o]));
    for (const object of concerned) {
      const key = objectKey(object);
      const present = seen.get(key);
      const held = this.#byKey.get(key);
      if (present === undefined) {
        for (const owner of [...(held?.owners ?? [])]) this.#release(owner, key);
      } else if (held !== undefined) held.object = present;
      else this.#hold(owners[0] ?? NOBODY, key, present);
    }
  }

  #hold(owner: Owner, key: string, object: KernelObject): void {
    const held = this.#byKey.get(key);
    if (held === undefined) this.#byKey.set(key, { object, owners: new Set([owner]) });
    else {
      held.object = object;
      held.owners.add(owner);
      if (owner !== NOBODY && held.owners.delete(NOBODY)) this.#unlist(NOBODY, key);
    }
    const keys = this.#byOwner.get(owner);
    if (keys === undefined) this.#byOwner.set(owner, new Set([key]));
    else keys.add(key);
  }

  #release(owner: Owner, key: string): void {
    const held = this.#byKey.get(key);
    held?.owners.delete(owner);
    if (held?.owners.size === 0) this.#byKey.delete(key);
    this.#unlist(owner, key);
  }

  #unlist(owner: Owner, key: string): void {
    const keys = this.#byOwner.get(owner);
    keys?.delete(key);
    if (keys?.size === 0) this.#byOwner.delete(owner);
  }
}
