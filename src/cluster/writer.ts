import type { Etcd3, IOperation } from "etcd3";
import { messageOf } from "../base/errors.js";
import type { Endpoint } from "../model/network.js";
import type { Availability } from "./availability.js";
import type { CatchUp } from "./catch-up.js";
import type { ClusterContext } from "./context.js";
import { ClusterConflict, ClusterUnavailable } from "./contract.js";
import { endpointKeys, type Guard, presence, type Transaction } from "./txn.js";

/** etcd's default limit of operations in one transaction is 128. */
const TXN_OPERATIONS = 100;

/** Carries transactions out and enters what they did into the mirror. */
export class Writer {
  private readonly ctx: ClusterContext;
  private readonly availability: Availability;
  private readonly catchUp: CatchUp;
  constructor(ctx: ClusterContext, availability: Availability, catchUp: CatchUp) {
    this.ctx = ctx;
    this.availability = availability;
    this.catchUp = catchUp;
  }

  /** Rejects with ClusterConflict when a guard does not hold (the mirror has caught up by then), with ClusterUnavailable when etcd does not answer. */
  async execute(transaction: Transaction): Promise<void> {
    const { client, keys, mirror } = this.ctx;
    const operations: IOperation[] = [
      ...[...transaction.puts].map(([key, value]) => client.put(key).value(value)),
      ...[...transaction.deletes].map((key) => client.delete().key(key)),
    ];
    let response: Awaited<ReturnType<ReturnType<Etcd3["if"]>["commit"]>>;
    try {
      const [first, ...rest] =
        transaction.guards.length > 0
          ? transaction.guards
          : [{ key: keys.schema, what: "pools" as const, exists: true as const }];
      const compare = (g: { readonly key: string; readonly revision?: number; readonly exists?: true }) =>
        [g.key, g.exists ? "Version" : "Mod", g.exists ? ">" : "==", g.exists ? 0 : (g.revision ?? 0)] as const;
      const builder = client.if(...compare(first!));
      for (const guard of rest) builder.and(...compare(guard));
      response = await builder
        .then(...operations)
        .else(...transaction.guards.map((g) => client.get(g.key)))
        .commit();
    } catch (error) {
      this.availability.lost(error);
      throw new ClusterUnavailable(messageOf(error));
    }
    if (response.succeeded) {
      const revision = Number(response.header.revision);
      for (const [key, value] of transaction.puts) mirror.apply(key, value, revision, { own: true });
      for (const key of transaction.deletes) mirror.apply(key, undefined, revision, { own: true });
      this.ctx.copy.soon();
      return;
    }
    let conflict: ClusterConflict | undefined;
    let newest = Number(response.header.revision);
    for (const [i, guard] of transaction.guards.entries()) {
      const kv = response.responses[i]?.response_range?.kvs[0];
      const at = kv ? Number(kv.mod_revision) : 0;
      const holds = guard.exists ? kv !== undefined : at === (guard.revision ?? 0);
      if (!holds && !conflict) {
        conflict = new ClusterConflict(guard.what, guard.key);
        newest = at > 0 ? at : newest;
      }
    }
    await this.catchUp.caughtUp(newest);
    throw conflict ?? new ClusterConflict("pools", keys.pools);
  }

  /** Deletes an endpoint, unless it is gone already; of another host's it is reported as if that one had done it. */
  async deleteEndpoint(endpoint: Endpoint): Promise<void> {
    if (!this.availability.now) throw this.unavailable();
    const { events, keys, mirror, options } = this.ctx;
    const doomed = endpointKeys(keys, mirror, endpoint);
    try {
      await this.execute({ guards: [presence(keys, endpoint)], puts: new Map(), deletes: new Set(doomed), withdrawal: true });
    } catch (error) {
      if (!(error instanceof ClusterConflict)) throw error;
    }
    if (endpoint.node !== options.nodeId) events.onChanges([{ kind: "endpoint", id: endpoint.id, value: undefined }]);
  }

  /** Deletes keys of others, if they are as we have seen them. */
  async deleteKeys(doomed: readonly string[]): Promise<void> {
    if (!this.availability.now) throw this.unavailable();
    for (let i = 0; i < doomed.length; i += TXN_OPERATIONS) {
      const part = doomed.slice(i, i + TXN_OPERATIONS);
      const guards = part.map((key): Guard => ({ key, what: "block", revision: this.ctx.mirror.revisionOf(key) }));
      await this.execute({ guards, puts: new Map(), deletes: new Set(part), withdrawal: false });
    }
  }

  unavailable(): ClusterUnavailable {
    return new ClusterUnavailable(`no answer from ${this.ctx.options.hosts.join(", ")}`);
  }
}
