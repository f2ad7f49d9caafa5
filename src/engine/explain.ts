import { refuse } from "../base/errors.js";
import { desiredOf, type Owner } from "../drivers/index.js";
import { endpointsOfContainer, endpointsOfNetwork, resolveNetwork, sandboxOfContainer } from "../model/index.js";
import { explain, plan } from "../plan/index.js";
import type { EngineContext } from "./context.js";
import { resolveContainer } from "./resolve.js";

/** The commands of ip, bridge and nft that would have built by hand what a container or a network has. */
export function explainRef(ctx: EngineContext, ref: string): string {
  const owners = ownersOf(ctx, ref);
  return explain(
    plan(
      owners.flatMap((owner) => desiredOf(owner, ctx.state, ctx.converger.context)),
      [],
    ),
  );
}

function ownersOf(ctx: EngineContext, ref: string): Owner[] {
  let container: ReturnType<typeof resolveContainer> | undefined;
  try {
    container = resolveContainer(ctx.state, ref);
  } catch {
    container = undefined;
  }
  if (container !== undefined) {
    const sandbox = sandboxOfContainer(ctx.state, container.id);
    const endpoints = endpointsOfContainer(ctx.state, container.id).map((e) => `endpoint:${e.id}`);
    return sandbox === undefined ? endpoints : [`sandbox:${sandbox.id}`, ...endpoints];
  }
  const network = resolveNetwork(ctx.state, ref);
  if (!network.ok) return refuse(404, `No such container or network: ${ref}`);
  return [
    `network:${network.value.id}`,
    ...Array.from(endpointsOfNetwork(ctx.state, network.value.id).keys(), (id) => `endpoint:${id}`),
  ];
}
