import { orRefuse } from "../base/errors.js";
import { blockRemovals, listNetworks, type Network, pruneSelection, removeNetwork, resolveNetwork } from "../model/index.js";
import { remoteEndpoints } from "./cluster-link.js";
import { connect, disconnect } from "./connect.js";
import { networkEvent } from "./container-events.js";
import type { EngineContext } from "./context.js";
import type { NetworkCreate, NetworkService } from "./contract.js";
import type { NamesService } from "./names-service.js";
import { CREATING, makeNetwork } from "./network-create.js";

export function createNetworks(ctx: EngineContext, names: NamesService): NetworkService {
  const create = async (request: NetworkCreate) => {
    const { network, warning } = await makeNetwork(ctx, names, request);
    return { network, warning };
  };

  const removeOne = async (network: Network): Promise<void> => {
    const decision = orRefuse(removeNetwork(ctx.state, network));
    await ctx.committer.transact([...decision.changes, ...blockRemovals(ctx.state, network.id)], decision.owners);
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
    remoteEndpoints: (networkId) =>
      remoteEndpoints(ctx.state, networkId).map((e) => ({
        endpointId: e.id,
        name: e.name,
        mac: e.mac,
        ipv4: e.ipv4 ?? "",
        ipv6: e.ipv6 ?? "",
        node: e.node ?? "",
      })),
    peers: (networkId) => {
      const hosts = new Set(remoteEndpoints(ctx.state, networkId).map((e) => e.node));
      return (ctx.cluster?.nodes() ?? []).filter((n) => hosts.has(n.id)).map((n) => ({ Name: n.hostname, IP: n.address }));
    },
  };
}
