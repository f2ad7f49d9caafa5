import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, orRefuse } from "../base/errors.js";
import { type Change, type Container, decidePredefined, type Endpoint, removeSandbox } from "../model/index.js";
import { newId, nowText } from "./clock.js";
import type { EngineContext } from "./context.js";
import type { Health } from "./health.js";
import type { Lifecycle } from "./lifecycle.js";
import type { NamesService } from "./names-service.js";
import { targetOf } from "./published.js";
import { isRunning } from "./resolve.js";
import { atEngineStart } from "./restart-policy.js";

/** How long the start waits for containers of a restart policy before it serves requests. */
const RESTART_WAIT_MS = 10_000;

/**
 * From the store to a serving engine: what runs is taken over as it is, what ended meanwhile is recorded, the model is cleared of what a crash cut
 * short, and then the kernel is made what the model says. The same code after a clean stop, a kill and a reboot.
 */
export async function recover(
  ctx: EngineContext,
  parts: { names: NamesService; health: Health; lifecycle: Lifecycle },
): Promise<void> {
  const { names, health } = parts;
  const wasRunning = new Set(
    [...ctx.state.containers.values()].filter((c) => isRunning(c) || c.state.status === "restarting").map((c) => c.id),
  );
  const running = await probeAll(ctx);
  await dropSandboxesWithout(ctx, running);
  // Names first: they are all that running containers miss while the engine is away. The sockets of the former engine died with it.
  await names.open(running);
  await makePredefined(ctx);
  await ctx.runtime.sweep(new Set(ctx.state.containers.keys()), running);
  await sweepVolumes(ctx);
  await ctx.converger
    .convergeAll()
    .catch((error: unknown) => ctx.log.error("the kernel differs from the model", { error: messageOf(error) }));
  ctx.converger.watch();
  for (const endpoint of ctx.state.endpoints.values())
    if (endpoint.node === undefined)
      await reservePortsAgain(ctx, endpoint).catch((error: unknown) =>
        ctx.log.error("published ports", { endpoint: endpoint.id, error: messageOf(error) }),
      );
  for (const id of running) health.watch(ctx.state.containers.get(id)!, { keepState: true });
  await applyPolicies(ctx, parts.lifecycle, wasRunning, running);
}

/** bridge, host and none, as the flags want them. */
export async function makePredefined(ctx: EngineContext): Promise<void> {
  const routes = await ctx.kernel.hostRoutes();
  const changes = orRefuse(
    decidePredefined(ctx.state, {
      ids: { bridge: newId(), host: newId(), none: newId() },
      created: nowText(),
      hostRoutes: routes.filter((r) => !r.ours).map((r) => r.dst),
      addressPools: ctx.options.addressPools,
      bridge: ctx.options.bridge,
    }),
  );
  await ctx.committer.commit(changes);
}

/** What really runs, by id; those that ended get their exit into the record. */
async function probeAll(ctx: EngineContext): Promise<Set<string>> {
  const running = new Set<string>();
  const changes: Change[] = [];
  for (const c of ctx.state.containers.values()) {
    if (!isRunning(c)) {
      // A restart that was waited for is decided anew; a removal that was cut short is finished by the next one.
      if (c.state.status === "restarting" || c.state.status === "removing")
        changes.push(withState(c, { status: "exited", pid: 0 }));
      continue;
    }
    const found = await ctx.runtime.probe(c.id).catch((error: unknown) => {
      ctx.log.error("probing a container", { container: c.id, error: messageOf(error) });
      return { state: "gone" as const };
    });
    switch (found.state) {
      case "running":
      case "paused":
        running.add(c.id);
        if (c.state.pid !== found.pid || c.state.status !== found.state)
          changes.push(withState(c, { status: found.state, pid: found.pid }));
        break;
      case "exited":
        changes.push(
          withState(c, {
            status: "exited",
            pid: 0,
            exitCode: found.exit.exitCode,
            oomKilled: found.exit.oomKilled,
            finishedAt: found.exit.finishedAt,
          }),
        );
        break;
      case "gone":
        // Nothing is known of its end (a reboot): Docker's code for that.
        changes.push(withState(c, { status: "exited", pid: 0, exitCode: 255, finishedAt: nowText() }));
        break;
    }
  }
  await ctx.committer.commit(changes);
  return running;
}

const withState = (c: Container, state: Partial<Container["state"]>): Change => ({
  kind: "container",
  id: c.id,
  value: { ...c, state: { ...c.state, ...state } },
});

/** Namespaces and endpoints of what does not run: ended, half started, or a build step. */
async function dropSandboxesWithout(ctx: EngineContext, running: ReadonlySet<string>): Promise<void> {
  const changes: Change[] = [];
  for (const sandbox of ctx.state.sandboxes.values())
    if (!running.has(sandbox.containerId)) changes.push(...removeSandbox(ctx.state, sandbox.id).changes);
  for (const endpoint of ctx.state.endpoints.values())
    if (
      endpoint.node === undefined &&
      (!ctx.state.sandboxes.has(endpoint.sandboxId) || !ctx.state.networks.has(endpoint.networkId))
    )
      changes.push({ kind: "endpoint", id: endpoint.id, value: undefined });
  await ctx.committer.commit(changes);
}

/** Directories of volumes that were being made or removed when the engine died. */
async function sweepVolumes(ctx: EngineContext): Promise<void> {
  const directory = join(ctx.settings.dataRoot, "volumes");
  for (const name of await readdir(directory).catch(() => [])) {
    // Only those that were never named by a person are taken away without asking.
    if (/^[0-9a-f]{64}$/.test(name) && !ctx.state.volumes.has(name))
      await rm(join(directory, name), { recursive: true, force: true });
  }
}

/** The kernel translates these ports already; the sockets keep others from taking them. */
async function reservePortsAgain(ctx: EngineContext, endpoint: Endpoint): Promise<void> {
  if (endpoint.ports.length > 0) await ctx.ports.reserve(endpoint.id, endpoint.name, endpoint.ports, targetOf(endpoint));
}

async function applyPolicies(
  ctx: EngineContext,
  lifecycle: Lifecycle,
  wasRunning: ReadonlySet<string>,
  running: ReadonlySet<string>,
): Promise<void> {
  const starts: Promise<void>[] = [];
  for (const { id } of [...ctx.state.containers.values()]) {
    if (running.has(id)) continue;
    const work = ctx.locks.run(id, async () => {
      const container = ctx.state.containers.get(id);
      if (container === undefined || isRunning(container)) return;
      if (container.hostConfig.AutoRemove && wasRunning.has(id)) return lifecycle.remove(container, { volumes: true });
      if (atEngineStart(container, wasRunning.has(id))) await lifecycle.start(container);
    });
    starts.push(work.catch((error: unknown) => ctx.log.error("restart policy", { container: id, error: messageOf(error) })));
  }
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, RESTART_WAIT_MS);
  });
  await Promise.race([Promise.all(starts), limit]);
  clearTimeout(timer);
}
