import { orRefuse } from "../base/errors.js";
import { createNetwork, listNetworks, type Network, pruneSelection, removeNetwork, resolveNetwork } from "../model/index.js";
import { newId, nowText } from "./clock.js";
import { connect, disconnect } from "./connect.js";
import { networkEvent } from "./container-events.js";
import type { EngineContext } from "./context.js";
import type { NetworkCreate, NetworkService } from "./contract.js";
import type { NamesService } from "./names-service.js";

/** Creation is one at a time: the choice of a subnet depends on the host's routes, which are asked for in between. */
const CREATING = "networks";

export function createNetworks(ctx: EngineContext, names: NamesService): NetworkService {
  const create = (request: NetworkCreate) =>
    ctx.locks.run(CREATING, async () => {
      const [routes, links] = await Promise.all([ctx.kernel.hostRoutes(), ctx.kernel.hostLinks()]);
      const decision = orRefuse(
        createNetwork(ctx.state, request, {
          id: newId(),
          created: nowText(),
          hostRoutes: routes.filter((r) => !r.ours).map((r) => r.dst),
          foreignLinks: new Set(links.filter((l) => !l.ours).map((l) => l.name)),
          addressPools: ctx.options.addressPools,
          drivers: ctx.options.drivers,
        }),
      );
      await ctx.committer.transact(decision.changes, decision.owners);
      await names.putNetwork(decision.network);
      networkEvent(ctx, decision.network, "create");
      return { network: decision.network, warning: decision.warning };
    });

  const removeOne = async (network: Network): Promise<void> => {
    const decision = orRefuse(removeNetwork(ctx.state, network));
    await ctx.committer.transact(decision.changes, decision.owners);
    await names.removeNetwork(network.id);
    networkEvent(ctx, network, "destroy");
  };

  return {
    create,
    resolve: (ref) => orRefuse(resolveNetwork(ctx.state, ref)),
    list: () => listNetworks(ctx.state),
    remove: (ref) => ctx.locks.run(CREATING, () => removeOne(orRefuse(resolveNetwork(ctx.state, ref)))),
    connect: (ref, container, settings) => connect(ctx, names, ref, container, settings),
    disconnect: (ref, container, force) => disconnect(ctx, names, ref, container, force),
    prune: (filters) =>
      ctx.locks.run(CREATING, async () => {
        const pruned: string[] = [];
        for (const network of orRefuse(pruneSelection(ctx.state, filters, Date.now()))) {
          try {
            await removeOne(network);
            pruned.push(network.name);
          } catch (error) {
            ctx.log.warn("prune", { network: network.name, error: String(error) });
          }
        }
        ctx.events.emit("network", "prune", "", { reclaimed: "0" });
        return pruned;
      }),
    remoteEndpoints: () => [],
    peers: () => [],
  };
}
