import { randomBytes } from "node:crypto";
import { orRefuse, refuse } from "../base/errors.js";
import {
  type AttachRequest,
  attach,
  type Change,
  type Container,
  checkEndpointRequest,
  type Endpoint,
  type EndpointRequest,
  type JoinRequest,
  type Network,
  removeSandbox,
  resolveNetwork,
  type Sandbox,
  sandboxOfContainer,
  setPorts,
} from "../model/index.js";
import { haveRoom, withBlocks } from "./blocks.js";
import { newId } from "./clock.js";
import { retryOnConflict } from "./cluster-link.js";
import { networkEvent } from "./container-events.js";
import { type EngineContext, etcPath, netnsPath } from "./context.js";
import { refreshLinkedHosts, writeEtcFiles } from "./etc.js";
import { gatewayJoin, gatewayNetwork, needsGateway } from "./gateway.js";
import { linkedFrom } from "./links.js";
import type { NamesService } from "./names-service.js";
import { makeNetwork } from "./network-create.js";
import {
  allocatePorts,
  exposedPorts,
  forgetAddress,
  forgetFlows,
  publishingEndpoint,
  requestsOf,
  wantsPorts,
} from "./published.js";
import { isRunning } from "./resolve.js";

/** What the runtime needs to know of a container's networking. */
export interface Networking {
  readonly netnsPath: string | undefined;
  readonly hostname: string;
  readonly etcFiles: { readonly hosts: string; readonly resolvConf: string; readonly hostname: string };
}

/** A starting container's networking. The host's ports are taken while the runtime makes the process: both must be there before it goes. */
export interface Joined extends Networking {
  readonly published: Promise<void>;
}

/** The network of a container's mode, with the request as the model will keep it. */
export function networkOf(ctx: EngineContext, request: EndpointRequest): Network {
  const known = request.networkId === undefined ? undefined : ctx.state.networks.get(request.networkId);
  return known ?? orRefuse(resolveNetwork(ctx.state, request.network));
}

/** Whose namespace a container lives in: its own, or that of the one that `container:` names (which may itself be a guest). */
export function hostOf(ctx: EngineContext, container: Container): Container {
  let at = container;
  for (let depth = 0; depth < 16; depth++) {
    const id = /^container:(.*)$/.exec(at.hostConfig.NetworkMode)?.[1];
    if (id === undefined) return at;
    at = ctx.state.containers.get(id) ?? refuse(404, `No such container: ${id}`);
    if (!isRunning(at)) refuse(409, `cannot join network of a non running container: ${at.id}`);
  }
  return refuse(409, `container ${container.id} joins a chain of network namespaces without an end`);
}

/** Gives a starting container its namespace and all its endpoints, in one transaction; on failure nothing remains. */
export function joinNetworks(ctx: EngineContext, names: NamesService, container: Container): Promise<Joined> {
  return retryOnConflict(() => joinOnce(ctx, names, container));
}

async function joinOnce(ctx: EngineContext, names: NamesService, container: Container): Promise<Joined> {
  const host = hostOf(ctx, container);
  if (host !== container) return { ...networkingOf(ctx, container), published: Promise.resolve() };
  const sandbox = newSandbox(container);
  const joins: JoinRequest[] = [];
  for (const request of container.networks) {
    const network = networkOf(ctx, request);
    joins.push(await withBlocks(ctx, network, joinRequest(container, network, request)));
  }
  if (needsGateway(joins.map((j) => j.network))) {
    const gateway = await gatewayNetwork(ctx, async (r) => (await makeNetwork(ctx, names, r)).network);
    joins.push(gatewayJoin(gateway, sandbox.id, exposedPorts(container)));
  }
  if (!haveRoom(ctx, joins)) return joinOnce(ctx, names, container);
  const request: AttachRequest = {
    containerId: container.id,
    containerName: container.name,
    sandbox,
    joins,
    sequence: ctx.nextSequence(joins.length),
  };
  const decision = orRefuse(attach(ctx.state, request));
  const networks = container.networks.map((r, i) => ({ ...r, networkId: joins[i]!.network.id }));
  const known: Change[] = networks.every((r, i) => r.networkId === container.networks[i]!.networkId)
    ? []
    : [{ kind: "container", id: container.id, value: { ...container, networks } }];
  await ctx.committer.transact([...decision.changes, ...known], decision.owners, {
    beside: async () => {
      if (!ctx.state.sandboxes.has(sandbox.id))
        return void (await Promise.all(decision.endpoints.map((e) => names.removeEndpoint(e.id))));
      await Promise.all([writeEtcFiles(ctx, container), ...decision.endpoints.map((e) => names.putEndpoint(e))]);
    },
  });
  try {
    await names.serve(ctx.state.sandboxes.get(sandbox.id)!, container);
    await refreshLinkedHosts(ctx, linkedFrom(ctx, container.name));
  } catch (error) {
    await leaveNetworks(ctx, names, container);
    throw error;
  }
  for (const e of decision.endpoints) networkEvent(ctx, ctx.state.networks.get(e.networkId)!, "connect", container.id);
  const publisher = publishingEndpoint(ctx, decision.endpoints);
  const published = publisher === undefined ? Promise.resolve() : publishPorts(ctx, container, publisher);
  // Its failure is met by who waits for it, later.
  published.catch(() => undefined);
  return { ...networkingOf(ctx, container), published };
}

/** Takes the host ports of an endpoint that is there already and opens them; when it fails the endpoint is left without any. */
async function publishPorts(ctx: EngineContext, container: Container, publisher: Endpoint): Promise<void> {
  if (!wantsPorts(container)) return;
  try {
    await ctx.committer.transact([], [`endpoint:${publisher.id}`], {
      meanwhile: () => portChanges(ctx, container, publisher),
    });
    await forgetFlows(ctx, ctx.state.endpoints.get(publisher.id) ?? publisher);
  } catch (error) {
    await ctx.ports.release(publisher.id);
    throw error;
  }
}

/** Takes namespace, endpoints, addresses and ports from a container that stopped. Idempotent; never leaves the model half-way. */
export async function leaveNetworks(ctx: EngineContext, names: NamesService, container: Container): Promise<void> {
  const sandbox = sandboxOfContainer(ctx.state, container.id);
  if (sandbox === undefined) return;
  const decision = removeSandbox(ctx.state, sandbox.id);
  const networks = decision.endpoints.map((e) => ctx.state.networks.get(e.networkId));
  await names.stop(sandbox.id);
  await Promise.all(decision.endpoints.map((e) => names.removeEndpoint(e.id)));
  await ctx.committer.commit(decision.changes);
  // The model is free of it; a kernel that refuses to let go is looked at again later.
  await ctx.converger.converge(decision.owners).catch((error: unknown) => {
    ctx.log.error("networking of a stopped container remains", { container: container.id, error: String(error) });
  });
  for (const e of decision.endpoints) await ctx.ports.release(e.id);
  await Promise.all(decision.endpoints.map((e) => forgetAddress(ctx, e)));
  for (const network of networks) if (network !== undefined) networkEvent(ctx, network, "disconnect", container.id);
}

export function networkingOf(ctx: EngineContext, container: Container): Networking {
  const host = hostOf(ctx, container);
  const sandbox = sandboxOfContainer(ctx.state, host.id);
  return {
    netnsPath: sandbox === undefined || sandbox.netns === "" ? undefined : netnsPath(ctx, sandbox.netns),
    hostname: host === container ? container.config.Hostname : host.config.Hostname,
    etcFiles: {
      hosts: etcPath(ctx, host.id, "hosts"),
      resolvConf: etcPath(ctx, host.id, "resolv.conf"),
      hostname: etcPath(ctx, host.id, "hostname"),
    },
  };
}

function newSandbox(container: Container): Sandbox {
  const id = newId();
  const { hostConfig } = container;
  const sysctls = Object.fromEntries(Object.entries(hostConfig.Sysctls ?? {}).filter(([key]) => key.startsWith("net.")));
  const added = (hostConfig.CapAdd ?? []).map((c) => c.toUpperCase().replace(/^CAP_/, ""));
  return {
    id,
    containerId: container.id,
    netns: hostConfig.NetworkMode === "host" ? "" : id.slice(0, 12),
    sysctls,
    selfManaged: hostConfig.Privileged || added.includes("NET_ADMIN") || added.includes("ALL"),
    nextIfindex: 0,
  };
}

export function joinRequest(container: Container, network: Network, request: EndpointRequest): JoinRequest {
  orRefuse(checkEndpointRequest(network, request));
  return {
    network,
    request,
    ports: [],
    exposedPorts: network.internal || network.driver === "host" || network.driver === "null" ? [] : exposedPorts(container),
    endpointId: newId(),
    random: randomBytes(16),
  };
}

/** Takes host ports for an endpoint that is in the model already; the change that gives them to it. */
export async function portChanges(ctx: EngineContext, container: Container, endpoint: Endpoint): Promise<readonly Change[]> {
  const network = ctx.state.networks.get(endpoint.networkId)!;
  const ports = await allocatePorts(ctx, endpoint, requestsOf(ctx, container, network));
  return ports.length === 0 ? [] : setPorts(endpoint, ports).changes;
}
