import type { Owner } from "../drivers/index.js";
import { applyChanges, type Change, inverseOf, type ModelState } from "../model/index.js";
import type { Store } from "../store/contract.js";
import type { Converger } from "./converge.js";

/**
 * The single place where the model changes. Memory first, in the same tick as the decision, so that a concurrent request sees what is taken;
 * then the store (the point of no return); then the kernel. What fails is taken back by committing the inverse and converging again:
 * there is no other undo.
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
   * Model, store and kernel: `owners` are those whose objects change. `meanwhile` runs when the model is committed and before the kernel is
   * touched; what it returns is committed too (host ports for the addresses that were just taken). When it or the kernel refuses, all goes
   * back and the error is thrown. The result takes it all back later, when a step outside fails.
   */
  async transact(
    changes: readonly Change[],
    owners: readonly Owner[],
    meanwhile?: () => Promise<readonly Change[]>,
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
    try {
      await this.commit(changes);
    } catch (error) {
      // While the store was asked the model had them: somebody else's round may have made something of it.
      await this.#converger.converge(owners).catch(() => undefined);
      throw error;
    }
    try {
      if (meanwhile !== undefined) await this.commit(await meanwhile());
      await this.#converger.converge(owners);
    } catch (error) {
      // The inverse must reach the store even if the kernel keeps refusing; the next look at these owners repairs the rest.
      await undo().catch(() => undefined);
      throw error;
    }
    return undo;
  }
}
