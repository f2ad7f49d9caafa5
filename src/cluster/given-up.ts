import type { Change } from "../model/state.js";
import type { Availability } from "./availability.js";
import type { ClusterContext } from "./context.js";
import { ClusterConflict } from "./contract.js";
import { transactionOf } from "./txn.js";
import type { Writer } from "./writer.js";

/**
 * Networks whose creation was refused here because no answer came in time. etcd may carry it out all the same, when it has found its quorum again:
 * then they are taken away. (Endpoints need no memory: one of ours that we do not have is given up.)
 */
export class GivenUpNetworks {
  /** For good: what was sent again on the way (TCP) may arrive twice. */
  private readonly ids = new Set<string>();
  private readonly busy = new Set<string>();
  private readonly ctx: ClusterContext;
  private readonly availability: Availability;
  private readonly writer: Writer;
  constructor(ctx: ClusterContext, availability: Availability, writer: Writer) {
    this.ctx = ctx;
    this.availability = availability;
    this.writer = writer;
  }

  remember(changes: readonly Change[]): void {
    for (const { kind, id, value } of changes)
      if (kind === "network" && value !== undefined && this.ctx.mirror.networkOf(id) === undefined) this.ids.add(id);
  }

  /** Takes away those that the store has after all. */
  async withdraw(): Promise<void> {
    if (!this.availability.now) return; // again when it is back
    const { events, keys, mirror, options } = this.ctx;
    for (const id of [...this.ids]) {
      if (mirror.networkOf(id) === undefined || this.busy.has(id)) continue;
      this.busy.add(id);
      const removal: Change = { kind: "network", id, value: undefined };
      try {
        await this.writer.execute(transactionOf([removal], keys, mirror, options));
        options.log.info("a network whose creation was given up is withdrawn", { network: id });
        events.onChanges([removal]);
      } catch (error) {
        if (error instanceof ClusterConflict) {
          options.log.warn("a network whose creation was given up is in use by now, and stays", { network: id });
          this.ids.delete(id);
        } else this.availability.lost(error);
      } finally {
        this.busy.delete(id);
      }
    }
  }
}
