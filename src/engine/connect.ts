import { orRefuse, refuse } from "../base/errors.js";
import {
  type Change,
  type Container,
  checkConnect,
  checkDisconnect,
  checkEndpointRequest,
  type Endpoint,
  endpointOf,
  endpointsOfSandbox,
  type Network,
  type PortMapping,
  resolveNetwork,
  sandboxOfContainer,
  setPorts,
} from "../model/index.js";
import type { PortBindings } from "../model/ports.js";
import { haveRoom, withBlocks } from "./blocks.js";
import { remoteEndpoints, retryOnConflict } from "./cluster-link.js";
import type { EngineContext } from "./context.js";
import type { EndpointSettings } from "./contract.js";
import { endpointRequest } from "./create-config.js";
import type { NamesService } from "./names-service.js";
import { forgetFlows, publishingEndpoint, requestsOf, targetOf } from "./published.js";
import { isRunning, resolveContainer } from "./resolve.js";
import { joinRunning, leaveRunning, settleGateway } from "./running.js";
import { joinRequest, networkOf, portChanges } from "./sandboxes.js";

/** `docker network connect`. Takes effect now if the container runs, else at its start. */
export async function connect(
  ctx: EngineContext,
  names: NamesService,
  ref: string,
  containerRef: string,
  settings: EndpointSettings,
): Promise<void> {
  const network = orRefuse(resolveNetwork(ctx.state, ref));
  const { id } = resolveContainer(ctx.state, containerRef);
  await ctx.locks.run(id, async () => {
    const container = ctx.state.containers.get(id) ?? refuse(404, `No such container: ${containerRef}`);
    orRefuse(checkConnect({ networkMode: container.hostConfig.NetworkMode, networks: networksOf(ctx, container) }, network));
    const request = { ...endpointRequest(network.name, settings), networkId: network.id };
    orRefuse(checkEndpointRequest(network, request));
    const networks = [...container.networks.filter((r) => !meansNetwork(ctx, r, network)), request];
    const changed: Container = { ...container, networks };
    if (!isRunning(container)) return ctx.committer.commit([{ kind: "container", id, value: changed }]);
    await retryOnConflict(async () => {
      let join = await withBlocks(ctx, network, joinRequest(container, network, request));
      while (!haveRoom(ctx, [join])) join = await withBlocks(ctx, network, join);
      await joinRunning(ctx, names, container, join, [{ kind: "container", id, value: changed }]);
    });
    await settleGateway(ctx, names, id);
  });
}

/** `docker network disconnect`. */
export async function disconnect(
  ctx: EngineContext,
  names: NamesService,
  ref: string,
  containerRef: string,
  force: boolean,
): Promise<void> {
  const network = orRefuse(resolveNetwork(ctx.state, ref));
  const remote = force
    ? remoteEndpoints(ctx.state, network.id).find(
        (e) =>
          e.name === containerRef ||
          e.id === containerRef ||
          (containerRef.length >= 12 && e.containerId.startsWith(containerRef)),
      )
    : undefined;
  if (remote !== undefined && ctx.cluster !== undefined) return ctx.cluster.removeEndpoint(network.id, remote.id);
  const { id } = resolveContainer(ctx.state, containerRef);
  await ctx.locks.run(id, async () => {
    const container = ctx.state.containers.get(id) ?? refuse(404, `No such container: ${containerRef}`);
    orRefuse(checkDisconnect({ networkMode: container.hostConfig.NetworkMode, networks: networksOf(ctx, container) }, network));
    const endpoint = endpointOf(ctx.state, id, network.id);
    const requested = container.networks.some((r) => meansNetwork(ctx, r, network));
    if (endpoint === undefined && !requested) refuse(500, `container ${id} is not connected to network ${network.name}`);
    const changed: Container = { ...container, networks: container.networks.filter((r) => !meansNetwork(ctx, r, network)) };
    const record: Change = { kind: "container", id, value: changed };
    if (endpoint === undefined) return ctx.committer.commit([record]);
    await leaveRunning(ctx, names, container, endpoint, [record]);
    await settleGateway(ctx, names, id);
  });
}

/** Endpoints that the cluster says are ours no longer (removed by another host by force): they go, the container stays. */
export async function detachLost(ctx: EngineContext, names: NamesService, endpointIds: readonly string[]): Promise<void> {
  for (const endpointId of endpointIds) {
    const containerId = ctx.state.endpoints.get(endpointId)?.containerId;
    if (containerId === undefined) continue;
    await ctx.locks
      .run(containerId, async () => {
        const endpoint = ctx.state.endpoints.get(endpointId);
        const container = ctx.state.containers.get(containerId);
        if (endpoint === undefined || container === undefined) return;
        ctx.log.warn("an endpoint was removed by another host", { container: container.name, network: endpoint.networkId });
        const network = ctx.state.networks.get(endpoint.networkId);
        const networks = container.networks.filter((r) => network === undefined || !meansNetwork(ctx, r, network));
        await leaveRunning(ctx, names, container, endpoint, [
          { kind: "container", id: containerId, value: { ...container, networks } },
        ]);
        await settleGateway(ctx, names, containerId);
      })
      .catch((error: unknown) => ctx.log.error("an endpoint that was removed by another host remains", { error: String(error) }));
  }
}

/** Replaces the published ports of a container, running or not. Beyond Docker. */
export async function publish(ctx: EngineContext, containerRef: string, bindings: PortBindings): Promise<readonly PortMapping[]> {
  const { id } = resolveContainer(ctx.state, containerRef);
  return ctx.locks.run(id, async () => {
    const container = ctx.state.containers.get(id) ?? refuse(404, `No such container: ${containerRef}`);
    if (/^(host$|container:)/.test(container.hostConfig.NetworkMode))
      refuse(400, "conflicting options: port publishing and the network mode");
    const PortBindings = Object.fromEntries(
      Object.entries(bindings).map(([key, list]) => [key, list === null ? null : [...list]]),
    );
    const changed: Container = { ...container, hostConfig: { ...container.hostConfig, PortBindings } };
    const sandbox = sandboxOfContainer(ctx.state, id);
    const present = sandbox === undefined ? [] : [...endpointsOfSandbox(ctx.state, sandbox.id).values()];
    const publisher = present.find((e) => e.ports.length > 0) ?? publishingEndpoint(ctx, present);
    // What is refused must be refused before anything changes, also where nothing runs.
    const any = [...ctx.state.networks.values()].find((n) => n.predefined && n.driver === "bridge");
    const network = publisher === undefined ? any : ctx.state.networks.get(publisher.networkId);
    if (network !== undefined) requestsOf(ctx, changed, network);
    const record: Change = { kind: "container", id, value: changed };
    if (publisher === undefined) {
      await ctx.committer.commit([record]);
      return [];
    }
    await ctx.ports.release(publisher.id);
    const emptied: Endpoint = { ...publisher, ports: [] };
    try {
      const ports = await portChanges(ctx, changed, emptied);
      const changes = ports.length > 0 ? ports : setPorts(publisher, []).changes;
      await ctx.committer.transact([...changes, record], [`endpoint:${publisher.id}`]);
    } catch (error) {
      await ctx.ports.release(publisher.id);
      await ctx.ports.reserve(publisher.id, publisher.name, publisher.ports, targetOf(publisher));
      throw error;
    }
    const now = ctx.state.endpoints.get(publisher.id)!;
    await forgetFlows(ctx, publisher);
    await forgetFlows(ctx, now);
    return now.ports;
  });
}

function networksOf(ctx: EngineContext, container: Container): Network[] {
  return container.networks.flatMap((request) => {
    try {
      return [networkOf(ctx, request)];
    } catch {
      return [];
    }
  });
}

/** Does the request mean this network? */
function meansNetwork(ctx: EngineContext, request: Container["networks"][number], network: Network): boolean {
  if (request.networkId !== undefined && ctx.state.networks.has(request.networkId)) return request.networkId === network.id;
  const resolved = resolveNetwork(ctx.state, request.network);
  return resolved.ok && resolved.value.id === network.id;
}
