import { orRefuse } from "../base/errors.js";
import { claimBlocks, type JoinRequest, type Network } from "../model/index.js";
import { retryOnConflict } from "./cluster-link.js";
import type { EngineContext } from "./context.js";

/** Addresses of a routed network come from blocks that this host owns: claims one more where none is free. */
export async function withBlocks(ctx: EngineContext, network: Network, join: JoinRequest): Promise<JoinRequest> {
  if (network.driver !== "routed" || ctx.cluster === undefined) return join;
  const { nodeId } = ctx.cluster;
  const own = await retryOnConflict(async () => {
    const decision = orRefuse(claimBlocks(ctx.state, network, nodeId));
    if (decision.changes.length > 0) await ctx.committer.transact(decision.changes, [`network:${network.id}`]);
    return decision.own;
  });
  return { ...join, within: own };
}

/** To be asked in the tick of the decision: others may have taken what was free when the blocks were claimed. */
export function haveRoom(ctx: EngineContext, joins: readonly JoinRequest[]): boolean {
  const { cluster } = ctx;
  if (cluster === undefined) return true;
  return joins.every((join) => {
    if (join.within === undefined || join.request.ipv4 !== undefined || join.request.ipv6 !== undefined) return true;
    const decision = claimBlocks(ctx.state, join.network, cluster.nodeId);
    return !decision.ok || decision.value.changes.length === 0;
  });
}
