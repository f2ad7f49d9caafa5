import { orRefuse, refuse } from "../base/errors.js";
import {
  attach,
  type Change,
  type Container,
  checkConnect,
  checkDisconnect,
  checkEndpointRequest,
  detach,
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
import { networkEvent } from "./container-events.js";
import type { EngineContext } from "./context.js";
import type { EndpointSettings } from "./contract.js";
import { endpointRequest } from "./create-config.js";
import { refreshLinkedHosts, writeEtcFiles } from "./etc.js";
import { linkedFrom } from "./links.js";
import type { NamesService } from "./names-service.js";
import { forgetAddress, forgetFlows, publishingEndpoint, requestsOf, targetOf } from "./published.js";
import { isRunning, resolveContainer } from "./resolve.js";
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
    const sandbox = sandboxOfContainer(ctx.state, id) ?? refuse(409, `container ${id} has no network namespace`);
    const attachment = {
      containerId: id,
      containerName: container.name,
      sandbox,
      joins: [joinRequest(container, network, request)],
      sequence: ctx.nextSequence(1),
    };
    const decision = orRefuse(attach(ctx.state, attachment));
    const present = [...endpointsOfSandbox(ctx.state, sandbox.id).values()];
    // Ports stay where they are; a container whose ports are nowhere now gets them here.
    const publisher = present.some((e) => e.ports.length > 0) ? undefined : publishingEndpoint(ctx, decision.endpoints);
    try {
      await ctx.committer.transact([...decision.changes, { kind: "container", id, value: changed }], decision.owners, async () =>
        publisher === undefined ? [] : portChanges(ctx, container, publisher),
      );
    } catch (error) {
      if (publisher !== undefined) await ctx.ports.release(publisher.id);
      throw error;
    }
    const endpoint = ctx.state.endpoints.get(decision.endpoints[0]!.id)!;
    await follow(ctx, names, changed);
    await Promise.all([names.putEndpoint(endpoint), forgetFlows(ctx, endpoint)]);
    networkEvent(ctx, network, "connect", id);
  });
}

/** `docker network disconnect`. */
export async function disconnect(
  ctx: EngineContext,
  names: NamesService,
  ref: string,
  containerRef: string,
  _force: boolean,
): Promise<void> {
  const network = orRefuse(resolveNetwork(ctx.state, ref));
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
    const decision = detach(ctx.state, endpoint);
    await names.removeEndpoint(endpoint.id);
    await ctx.committer.transact([...decision.changes, record], decision.owners);
    await ctx.ports.release(endpoint.id);
    await forgetAddress(ctx, endpoint);
    await movePorts(ctx, changed, endpoint);
    await follow(ctx, names, changed);
    networkEvent(ctx, network, "disconnect", id);
  });
}

/** Ports whose endpoint went away are published on the one that has the default route now. */
async function movePorts(ctx: EngineContext, container: Container, gone: Endpoint): Promise<void> {
  if (gone.ports.length === 0) return;
  const publisher = publishingEndpoint(ctx, [...endpointsOfSandbox(ctx.state, gone.sandboxId).values()]);
  if (publisher === undefined) return;
  try {
    await ctx.committer.transact([], [`endpoint:${publisher.id}`], () => portChanges(ctx, container, publisher));
    await forgetFlows(ctx, ctx.state.endpoints.get(publisher.id)!);
  } catch (error) {
    ctx.log.warn("ports could not be moved to another network", { container: container.id, error: String(error) });
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

/** Names, /etc files and the hosts files of linked containers follow a changed set of networks. */
async function follow(ctx: EngineContext, names: NamesService, container: Container): Promise<void> {
  const sandbox = sandboxOfContainer(ctx.state, container.id);
  await writeEtcFiles(ctx, container);
  if (sandbox !== undefined) await names.serve(sandbox, container);
  await refreshLinkedHosts(ctx, linkedFrom(ctx, container.name));
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
