import { randomBytes } from "node:crypto";
import { orRefuse, refuse } from "../base/errors.js";
import { readHostResolv, resolvConfFile } from "../dns/index.js";
import type { BuildRequest, ImageStore, Progress } from "../images/contract.js";
import {
  type AttachRequest,
  attach,
  isUserDefined,
  removeSandbox,
  resolveNetwork,
  type Sandbox,
  sandboxOfContainer,
} from "../model/index.js";
import { newId } from "./clock.js";
import { type EngineContext, netnsPath } from "./context.js";
import { networkOfMode } from "./create-config.js";
import type { NamesService } from "./names-service.js";
import { isRunning, resolveContainer } from "./resolve.js";

type BuildNetns = Awaited<ReturnType<Parameters<ImageStore["build"]>[2]>>;

/** `docker build`: RUN steps run in a namespace joined to the network asked for, exactly as containers of `run --network` do. */
export function build(ctx: EngineContext, names: NamesService, request: BuildRequest, progress: Progress): Promise<string> {
  return ctx.images.build(request, progress, (mode) => buildNetns(ctx, names, mode, request.extraHosts));
}

async function buildNetns(
  ctx: EngineContext,
  names: NamesService,
  mode: string,
  extraHosts: readonly string[],
): Promise<BuildNetns> {
  const nothing = async () => undefined;
  const host = readHostResolv();
  const resolv = (kind: "default" | "user" | "host") =>
    resolvConfFile({
      host,
      mode: kind,
      dns: ctx.options.dns,
      dnsSearch: ctx.options.dnsSearch,
      dnsOptions: ctx.options.dnsOptions,
      ipv6: false,
    });
  if (mode === "host") return { path: undefined, hosts: extraHosts, resolvConf: resolv("host"), release: nothing };
  const target = /^container:(.*)$/.exec(mode)?.[1];
  if (target !== undefined) {
    const container = resolveContainer(ctx.state, target);
    const sandbox = sandboxOfContainer(ctx.state, container.id);
    if (!isRunning(container) || sandbox === undefined)
      refuse(409, `cannot join network of a non running container: ${container.id}`);
    return {
      path: sandbox!.netns === "" ? undefined : netnsPath(ctx, sandbox!.netns),
      hosts: extraHosts,
      resolvConf: resolv("default"),
      release: nothing,
    };
  }
  const network = orRefuse(resolveNetwork(ctx.state, networkOfMode(mode)));
  const id = newId();
  const sandbox: Sandbox = { id, containerId: id, netns: id.slice(0, 12), sysctls: {}, selfManaged: false, nextIfindex: 0 };
  const join: AttachRequest = {
    containerId: id,
    containerName: `build-${id.slice(0, 12)}`,
    sandbox,
    joins: [
      {
        network,
        request: { network: network.name, networkId: network.id, aliases: [], links: null, driverOpts: null },
        ports: [],
        exposedPorts: [],
        endpointId: newId(),
        random: randomBytes(16),
      },
    ],
    sequence: ctx.nextSequence(1),
  };
  const decision = orRefuse(attach(ctx.state, join));
  await ctx.committer.transact(decision.changes, decision.owners);
  const release = async () => {
    const gone = removeSandbox(ctx.state, id);
    await names.stop(id);
    await Promise.all(gone.endpoints.map((e) => names.removeEndpoint(e.id)));
    await ctx.committer.transact(gone.changes, gone.owners);
  };
  try {
    await names.serveBuild(sandbox);
    await Promise.all(decision.endpoints.map((e) => names.putEndpoint(e)));
  } catch (error) {
    await release();
    throw error;
  }
  return {
    path: netnsPath(ctx, sandbox.netns),
    hosts: extraHosts,
    resolvConf: resolv(isUserDefined(network) ? "user" : "default"),
    release,
  };
}
