import { orRefuse } from "../base/errors.js";
import type { NetworkDecision } from "../model/decide-network.js";
import { createNetwork, type NetworkRequest } from "../model/index.js";
import { newId, nowText } from "./clock.js";
import { retryOnConflict } from "./cluster-link.js";
import { networkEvent } from "./container-events.js";
import type { EngineContext } from "./context.js";
import type { NamesService } from "./names-service.js";

/** Creation is one at a time: the choice of a subnet depends on the host's routes, which are asked for in between. */
export const CREATING = "networks";

export function makeNetwork(ctx: EngineContext, names: NamesService, request: NetworkRequest): Promise<NetworkDecision> {
  return ctx.locks.run(CREATING, async () => {
    const [routes, links] = await Promise.all([ctx.kernel.hostRoutes(), ctx.kernel.hostLinks()]);
    const decision = await retryOnConflict(async () => {
      const decided = orRefuse(
        createNetwork(ctx.state, request, {
          id: newId(),
          created: nowText(),
          hostRoutes: routes.filter((r) => !r.ours).map((r) => r.dst),
          foreignLinks: new Set(links.filter((l) => !l.ours).map((l) => l.name)),
          addressPools: ctx.options.addressPools,
          drivers: ctx.options.drivers,
        }),
      );
      await ctx.committer.transact(decided.changes, decided.owners);
      return decided;
    });
    await names.putNetwork(decision.network);
    networkEvent(ctx, decision.network, "create");
    return decision;
  });
}
