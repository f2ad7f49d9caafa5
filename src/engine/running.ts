import { orRefuse, refuse } from "../base/errors.js";
import {
  attach,
  type Change,
  type Container,
  detach,
  type Endpoint,
  endpointsOfSandbox,
  type JoinRequest,
  sandboxOfContainer,
} from "../model/index.js";
import { networkEvent } from "./container-events.js";
import type { EngineContext } from "./context.js";
import { refreshLinkedHosts, writeEtcFiles } from "./etc.js";
import { gatewayJoin, gatewayNetwork, isGatewayEndpoint, needsGateway } from "./gateway.js";
import { linkedFrom } from "./links.js";
import type { NamesService } from "./names-service.js";
import { makeNetwork } from "./network-create.js";
import { exposedPorts, forgetAddress, forgetFlows, publishingEndpoint, wantsPorts } from "./published.js";
import { portChanges } from "./sandboxes.js";

/** One more endpoint for a container that runs, in one transaction with `records`. Ports that are published nowhere get published on it. */
export async function joinRunning(
  ctx: EngineContext,
  names: NamesService,
  container: Container,
  join: JoinRequest,
  records: readonly Change[],
): Promise<void> {
  const sandbox =
    sandboxOfContainer(ctx.state, container.id) ?? refuse(409, `container ${container.id} has no network namespace`);
  const request = {
    containerId: container.id,
    containerName: container.name,
    sandbox,
    joins: [join],
    sequence: ctx.nextSequence(1),
  };
  const decision = orRefuse(attach(ctx.state, request));
  const present = [...endpointsOfSandbox(ctx.state, sandbox.id).values()];
  // Ports stay where they are; a container whose ports are nowhere now gets them here.
  const placed = present.some((e) => e.ports.length > 0) || !wantsPorts(container);
  const publisher = placed ? undefined : publishingEndpoint(ctx, decision.endpoints);
  const { id } = decision.endpoints[0]!;
  try {
    await ctx.committer.transact([...decision.changes, ...records], decision.owners, {
      ...(publisher === undefined ? {} : { meanwhile: () => portChanges(ctx, container, publisher) }),
      beside: async () => {
        const made = ctx.state.endpoints.get(id);
        await Promise.all([
          follow(ctx, names, container.id),
          made === undefined ? names.removeEndpoint(id) : names.putEndpoint(made),
        ]);
      },
    });
  } catch (error) {
    if (publisher !== undefined) await ctx.ports.release(publisher.id);
    throw error;
  }
  const endpoint = ctx.state.endpoints.get(id);
  if (endpoint !== undefined) await forgetFlows(ctx, endpoint);
  networkEvent(ctx, join.network, "connect", container.id);
}

/** One endpoint less, in one transaction with `records`; its published ports move to the endpoint that has the default route then. */
export async function leaveRunning(
  ctx: EngineContext,
  names: NamesService,
  container: Container,
  endpoint: Endpoint,
  records: readonly Change[],
): Promise<void> {
  const network = ctx.state.networks.get(endpoint.networkId);
  const decision = detach(ctx.state, endpoint);
  await names.removeEndpoint(endpoint.id);
  await ctx.committer.transact([...decision.changes, ...records], decision.owners, {
    beside: () => follow(ctx, names, container.id),
  });
  await ctx.ports.release(endpoint.id);
  await forgetAddress(ctx, endpoint);
  await movePorts(ctx, ctx.state.containers.get(container.id) ?? container, endpoint);
  if (network !== undefined) networkEvent(ctx, network, "disconnect", container.id);
}

/** After a change of a container's networks: does it need the gateway bridge now, or not any more? */
export async function settleGateway(ctx: EngineContext, names: NamesService, containerId: string): Promise<void> {
  const container = ctx.state.containers.get(containerId);
  const sandbox = sandboxOfContainer(ctx.state, containerId);
  if (container === undefined || sandbox === undefined) return;
  const endpoints = [...endpointsOfSandbox(ctx.state, sandbox.id).values()];
  const gateway = endpoints.find((e) => isGatewayEndpoint(ctx, e));
  const needed = needsGateway(endpoints.flatMap((e) => ctx.state.networks.get(e.networkId) ?? []));
  if (needed && gateway === undefined) {
    const network = await gatewayNetwork(ctx, async (r) => (await makeNetwork(ctx, names, r)).network);
    await joinRunning(ctx, names, container, gatewayJoin(network, sandbox.id, exposedPorts(container)), []);
  } else if (!needed && gateway !== undefined) await leaveRunning(ctx, names, container, gateway, []);
}

/** Names, /etc files and the hosts files of linked containers follow a changed set of networks. */
async function follow(ctx: EngineContext, names: NamesService, containerId: string): Promise<void> {
  const container = ctx.state.containers.get(containerId);
  if (container === undefined) return;
  const sandbox = sandboxOfContainer(ctx.state, containerId);
  await writeEtcFiles(ctx, container);
  if (sandbox !== undefined) await names.serve(sandbox, container);
  await refreshLinkedHosts(ctx, linkedFrom(ctx, container.name));
}

/** Ports whose endpoint went away are published on the one that has the default route now. */
async function movePorts(ctx: EngineContext, container: Container, gone: Endpoint): Promise<void> {
  if (gone.ports.length === 0) return;
  const publisher = publishingEndpoint(ctx, [...endpointsOfSandbox(ctx.state, gone.sandboxId).values()]);
  if (publisher === undefined) return;
  try {
    await ctx.committer.transact([], [`endpoint:${publisher.id}`], {
      meanwhile: () => portChanges(ctx, container, publisher),
    });
    await forgetFlows(ctx, ctx.state.endpoints.get(publisher.id)!);
  } catch (error) {
    ctx.log.warn("ports could not be moved to another network", { container: container.id, error: String(error) });
  }
}
