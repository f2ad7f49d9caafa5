import { randomBytes } from "node:crypto";
import { rm } from "node:fs/promises";
import { orRefuse, refuse } from "../base/errors.js";
import type { BuildRequest, BuildRunner, Progress } from "../images/contract.js";
import { type AttachRequest, attach, removeSandbox, resolveNetwork, type Sandbox, sandboxOfContainer } from "../model/index.js";
import { type BuildPlace, runBuildStep } from "./build-run.js";
import { newId } from "./clock.js";
import { containerDirectory, type EngineContext, etcPath, netnsPath } from "./context.js";
import { networkOfMode } from "./create-config.js";
import { writeBuildFiles } from "./etc.js";
import type { NamesService } from "./names-service.js";
import { isRunning, resolveContainer } from "./resolve.js";

/** `docker build`: RUN steps run in a namespace joined to the network asked for, exactly as containers of `run --network` do. */
export function build(ctx: EngineContext, names: NamesService, request: BuildRequest, progress: Progress): Promise<string> {
  return ctx.images.build(request, progress, (mode) => openRunner(ctx, names, mode, request.extraHosts));
}

async function openRunner(
  ctx: EngineContext,
  names: NamesService,
  mode: string,
  extraHosts: readonly string[],
): Promise<BuildRunner> {
  const { place, release } = await openPlace(ctx, names, mode, extraHosts);
  return {
    run: (step) => runBuildStep(ctx, place, step),
    forget: (id) => ctx.runtime.removeStorage(id),
    release,
  };
}

async function openPlace(
  ctx: EngineContext,
  names: NamesService,
  mode: string,
  extraHosts: readonly string[],
): Promise<{ readonly place: BuildPlace; release(): Promise<void> }> {
  const id = newId();
  const target = /^container:(.*)$/.exec(mode)?.[1];
  if (target !== undefined) {
    const container = resolveContainer(ctx.state, target);
    const sandbox = sandboxOfContainer(ctx.state, container.id);
    if (!isRunning(container) || sandbox === undefined)
      refuse(409, `cannot join network of a non running container: ${container.id}`);
    const netnsPath_ = sandbox!.netns === "" ? undefined : netnsPath(ctx, sandbox!.netns);
    const place = {
      netnsPath: netnsPath_,
      networkMode: mode,
      hostname: container.config.Hostname,
      etcFiles: etcOf(ctx, container.id),
    };
    return { place, release: async () => undefined };
  }
  const network = networkOfMode(mode);
  const pseudo = { id, hostname: id.slice(0, 12), network, extraHosts };
  const forget = () => rm(containerDirectory(ctx, id), { recursive: true, force: true });
  const placed = (netns: string | undefined): BuildPlace => ({
    netnsPath: netns,
    networkMode: network,
    hostname: pseudo.hostname,
    etcFiles: etcOf(ctx, id),
  });
  if (network === "host") {
    await writeBuildFiles(ctx, pseudo);
    return { place: placed(undefined), release: forget };
  }
  const { sandbox, leave } = await joinNetwork(ctx, names, id, network);
  const release = async () => {
    await leave();
    await forget();
  };
  try {
    await writeBuildFiles(ctx, pseudo);
  } catch (error) {
    await release();
    throw error;
  }
  return { place: placed(netnsPath(ctx, sandbox.netns)), release };
}

const etcOf = (ctx: EngineContext, id: string): BuildPlace["etcFiles"] => ({
  hosts: etcPath(ctx, id, "hosts"),
  resolvConf: etcPath(ctx, id, "resolv.conf"),
  hostname: etcPath(ctx, id, "hostname"),
});

async function joinNetwork(
  ctx: EngineContext,
  names: NamesService,
  id: string,
  mode: string,
): Promise<{ readonly sandbox: Sandbox; leave(): Promise<void> }> {
  const network = orRefuse(resolveNetwork(ctx.state, mode));
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
  const leave = async () => {
    const gone = removeSandbox(ctx.state, id);
    await names.stop(id);
    await Promise.all(gone.endpoints.map((e) => names.removeEndpoint(e.id)));
    await ctx.committer.transact(gone.changes, gone.owners);
  };
  try {
    await names.serveBuild(sandbox);
    await Promise.all(decision.endpoints.map((e) => names.putEndpoint(e)));
  } catch (error) {
    await leave();
    throw error;
  }
  return { sandbox, leave };
}
