import { messageOf } from "../base/errors.js";
import type { ClusterOptions } from "./contract.js";

const PROBE_INTERVAL_MS = 1_000;
const PATIENCE_MS = 5_000;

/** Whether etcd answers: it goes away with any error that says so, and comes back with a synchronisation that succeeds. */
export class Availability {
  private isNow = false;
  private closed = false;
  private probeTimer: NodeJS.Timeout | undefined;
  private synchronising: Promise<void> | undefined;
  private readonly patient = new Set<() => void>();
  private readonly log: ClusterOptions["log"];
  private readonly synchroniseOnce: () => Promise<void>;
  private readonly changed: (available: boolean) => void;

  /** `synchronise` reads everything and calls `regained`; `changed` hears of every change. */
  constructor(log: ClusterOptions["log"], synchronise: () => Promise<void>, changed: (available: boolean) => void) {
    this.log = log;
    this.synchroniseOnce = synchronise;
    this.changed = changed;
  }

  get now(): boolean {
    return this.isNow;
  }

  /** One at a time: who asks meanwhile waits for the same. */
  synchronise(): Promise<void> {
    this.synchronising ??= this.synchroniseOnce().finally(() => {
      this.synchronising = undefined;
    });
    return this.synchronising;
  }

  regained(): void {
    this.set(true);
  }

  lost(error: unknown): void {
    if (this.closed) return;
    if (this.isNow) this.log.warn("etcd is away", { error: messageOf(error) });
    this.set(false);
    this.probeTimer ??= setTimeout(() => this.probe(), PROBE_INTERVAL_MS);
  }

  /** A decision waits a little for a store that may be just coming back: an election, a restart. */
  comesBack(): Promise<boolean> {
    this.probe();
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.patient.delete(end);
        resolve(this.isNow);
      };
      const timer = setTimeout(end, PATIENCE_MS);
      this.patient.add(end);
    });
  }

  close(): void {
    this.closed = true;
    this.endPatience();
    clearTimeout(this.probeTimer);
  }

  private probe(): void {
    clearTimeout(this.probeTimer);
    this.probeTimer = undefined;
    if (this.synchronising !== undefined) return;
    this.synchronise().then(
      () => this.log.info("etcd is back"),
      (error: unknown) => this.lost(error),
    );
  }

  private set(available: boolean): void {
    if (this.isNow === available) return;
    this.isNow = available;
    if (available) this.endPatience();
    this.changed(available);
  }

  private endPatience(): void {
    for (const end of [...this.patient]) end();
  }
}
