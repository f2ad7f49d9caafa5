import type { Cluster } from "../cluster/index.js";
import type { State } from "../model/index.js";
import type { NodeService } from "./contract.js";

/** `linkspan node ls / rm` */
export function createNodes(state: State, cluster: Cluster): NodeService {
  const endpointsOf = (nodeId: string) =>
    [...state.endpoints.values()].filter(
      (e) => (e.node ?? cluster.nodeId) === nodeId && state.networks.get(e.networkId)?.scope === "global",
    ).length;
  return {
    list: () =>
      cluster.nodes().map((n) => ({
        id: n.id,
        hostname: n.hostname,
        address: n.address,
        advertise: n.advertise,
        alive: n.alive,
        endpoints: endpointsOf(n.id),
        self: n.id === cluster.nodeId,
      })),
    remove: (ref) =>
      cluster.removeNode(
        cluster.nodes().find((n) => n.id.startsWith(ref) || n.hostname === ref || n.address === ref || n.advertise === ref)?.id ??
          ref,
      ),
  };
}
