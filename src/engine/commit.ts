import type { Owner } from "../drivers/index.js";
import { applyChanges, type Change, inverseOf, type ModelState } from "../model/index.js";
import type { Store } from "../store/contract.js";
import type { Converger } from "./converge.js";

/** What belongs to a change besides its own objects in the kernel. */
export interface Steps {
  /** When the change is durable, before the kernel is touched: what it returns is committed too (host ports for the addresses that were just taken). */
  readonly meanwhile?: () => Promise<readonly Change[]>;
  /** Side by side with the kernel: makes names and files what the model says now. Runs once more when all has been taken back. */
  readonly beside?: () => Promise<void>;
}

/**
 * The single place where the model changes. Memory first, in the same tick as the decision, so that a concurrent request sees what is taken;
 * then the store and the kernel, side by side where only this host decides: what a crash leaves in the kernel without a place in the store goes at the
 * next start. Done when both are. What fails is taken back by committing the inverse and converging again: there is no other undo.
 */
export class Committer {
  readonly state: ModelState;
  readonly #store: Store;
  readonly #converger: Converger;

  constructor(state: ModelState, store: Store, converger: Converger) {
    this.state = state;
    this.#store = store;
    this.#converger = converger;
  }

  /** Model and store only. */
  async commit(changes: readonly Change[]): Promise<void> {
    if (changes.length === 0) return;
    const inverse = inverseOf(this.state, changes);
    applyChanges(this.state, changes);
    try {
      await this.#store.commit(changes);
    } catch (error) {
      applyChanges(this.state, inverse);
      applyChanges(this.state, this.#store.truth?.(changes) ?? []);
      throw error;
    }
  }

  /**
   * Model, store and kernel: `owners` are those whose objects change. When the store, a step or the kernel refuses, all goes back and the error is
   * thrown. The result takes it all back later, when a step outside fails.
   */
  async transact(
    changes: readonly Change[],
    owners: readonly Owner[],
    { meanwhile, beside = async () => undefined }: Steps = {},
  ): Promise<() => Promise<void>> {
    // A network that only grew (another bridge segment) stays so: others may have joined the new part meanwhile.
    const grown = new Set(
      changes.filter((c) => c.kind === "network" && c.value !== undefined && this.state.networks.has(c.id)).map((c) => c.id),
    );
    const inverse = inverseOf(this.state, changes).filter((c) => c.kind !== "network" || !grown.has(c.id));
    const undo = async () => {
      await this.commit(inverse);
      await this.#converger.converge(owners);
    };
    const stored = this.commit(changes);
    const first = meanwhile !== undefined || this.#store.mayRefuse?.(changes) === true;
    const kernel = async () => {
      if (first) await stored;
      if (meanwhile !== undefined) await this.commit(await meanwhile());
      await Promise.all([this.#converger.converge(owners), beside()]);
    };
    const [durable, applied] = await Promise.allSettled([stored, kernel()]);
    if (durable.status === "rejected") {
      // It is taken back in memory already; somebody's round may have made something of it before.
      await Promise.allSettled([this.#converger.converge(owners), beside()]);
      throw durable.reason;
    }
    if (applied.status === "rejected") {
      // The inverse must reach the store even if the kernel keeps refusing; the next look at these owners repairs the rest.
      await undo().catch(() => undefined);
      await beside().catch(() => undefined);
      throw applied.reason;
    }
    return undo;
  }
}
