import type { Mirror } from "./mirror.js";

const CATCH_UP_TIMEOUT_MS = 2_000;

/** Waiting for the watch: a decision that was refused is worth making again when the mirror has what it was refused for. */
export class CatchUp {
  private readonly waiters = new Set<{ readonly revision: number; readonly wake: () => void }>();
  private readonly mirror: Mirror;
  constructor(mirror: Mirror) {
    this.mirror = mirror;
  }

  passed(revision: number): void {
    this.mirror.passed(revision);
    for (const waiter of this.waiters) if (waiter.revision <= this.mirror.revision) waiter.wake();
  }

  /** Resolves when the watch has delivered everything up to a revision, or after a while at the latest. */
  caughtUp(revision: number): Promise<void> {
    if (this.mirror.revision >= revision) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.waiters.delete(waiter);
        resolve();
      };
      const waiter = { revision, wake };
      const timer = setTimeout(wake, CATCH_UP_TIMEOUT_MS);
      this.waiters.add(waiter);
    });
  }
}
