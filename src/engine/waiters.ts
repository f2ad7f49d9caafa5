import type { WaitCondition } from "./contract.js";

export interface WaitResult {
  readonly StatusCode: number;
  readonly Error?: { readonly Message: string };
}

/** Who waits for what of which container (`docker wait`, `docker run`, `docker stop`). */
export class Waiters {
  readonly #waiting = new Map<string, Set<{ readonly condition: WaitCondition; readonly resolve: (r: WaitResult) => void }>>();

  wait(containerId: string, condition: WaitCondition): Promise<WaitResult> {
    return new Promise((resolve) => {
      const set = this.#waiting.get(containerId) ?? new Set();
      this.#waiting.set(containerId, set);
      set.add({ condition, resolve });
    });
  }

  /** `happened`: the conditions that are true now. */
  settle(containerId: string, happened: readonly WaitCondition[], result: WaitResult): void {
    const set = this.#waiting.get(containerId);
    if (set === undefined) return;
    for (const waiter of [...set]) {
      if (!happened.includes(waiter.condition)) continue;
      set.delete(waiter);
      waiter.resolve(result);
    }
    if (set.size === 0) this.#waiting.delete(containerId);
  }
}
