import { orRefuse, refuse } from "../base/errors.js";
import type { LogOptions } from "../containers/contract.js";
import { type Change, type Container, type HostConfig, renameEndpoints, sandboxOfContainer } from "../model/index.js";
import { createArchives } from "./archives.js";
import type { Attachments } from "./attachments.js";
import { publish } from "./connect.js";
import { containerEvent } from "./container-events.js";
import { type EngineContext, etcPath, netnsPath } from "./context.js";
import type { ContainerService, Filters } from "./contract.js";
import { checkName, createContainer } from "./create.js";
import { checkRestartPolicy } from "./create-config.js";
import type { Ending } from "./ending.js";
import { refreshLinkedHosts, writeHosts } from "./etc.js";
import type { Execs } from "./exec.js";
import { labelsMatch, onlyKnown, untilOf } from "./filters.js";
import type { Lifecycle } from "./lifecycle.js";
import { linkedFrom, linksUnderName, parseLink, relinkChanges } from "./links.js";
import type { NamesService } from "./names-service.js";
import { interfaceStats } from "./network-stats.js";
import { isRunning, resolveContainer } from "./resolve.js";
import type { Volumes } from "./volumes.js";
import type { Waiters } from "./waiters.js";

export interface ContainerParts {
  readonly ctx: EngineContext;
  readonly names: NamesService;
  readonly volumes: Volumes;
  readonly lifecycle: Lifecycle;
  readonly ending: Ending;
  readonly waiters: Waiters;
  readonly attachments: Attachments;
  readonly execs: Execs;
}

export function createContainers(parts: ContainerParts): ContainerService {
  const { ctx, names, volumes, lifecycle, ending, waiters, attachments, execs } = parts;
  const resolve = (ref: string): Container => resolveContainer(ctx.state, ref);
  const removing = new Set<string>();

  const start = async (ref: string): Promise<boolean> => {
    const { id } = resolve(ref);
    if (removing.has(id)) refuse(409, "container is marked for removal and cannot be started");
    return ctx.locks.run(id, async () => {
      const container = lifecycle.get(id);
      if (container.state.status === "paused") refuse(409, "cannot start a paused container, try unpause instead");
      if (isRunning(container)) return false;
      lifecycle.live(id).delayMs = 0;
      if (container.state.restartCount !== 0) await lifecycle.setState(id, { restartCount: 0 });
      await lifecycle.start(lifecycle.get(id));
      return true;
    });
  };

  const remove = async (ref: string, options: { force: boolean; volumes: boolean; link: boolean }): Promise<void> => {
    if (options.link) return removeLink(parts, ref);
    const { id } = resolve(ref);
    if (removing.has(id)) refuse(409, `removal of container ${ref} is already in progress`);
    removing.add(id);
    try {
      if (options.force) await ending.killForRemoval(id);
      await ctx.locks.run(id, async () => {
        const container = ctx.state.containers.get(id);
        if (container === undefined) return options.force ? undefined : refuse(404, `No such container: ${ref}`);
        if (container.state.status === "paused")
          refuse(
            409,
            `You cannot remove a paused container ${id}. Unpause and then stop the container before attempting removal or force remove`,
          );
        if (isRunning(container))
          refuse(
            409,
            `You cannot remove a running container ${id}. Stop the container before attempting removal or force remove`,
          );
        if (container.state.status === "restarting" && !options.force)
          refuse(
            409,
            `You cannot remove a restarting container ${id}. Stop the container before attempting removal or force remove`,
          );
        execs.forget(id);
        await lifecycle.remove(container, { volumes: options.volumes });
      });
    } finally {
      removing.delete(id);
    }
  };

  return {
    ...createArchives(ctx, ending),
    async create(request) {
      const made = await createContainer(ctx, volumes, request);
      await names.reserve(resolve(made.id));
      return made;
    },
    resolve,
    list: () => [...ctx.state.containers.values()],
    start,
    stop: (ref, options) => ending.stop(ref, options),
    restart: (ref, options) => ending.restart(ref, options),
    kill: (ref, signal) => ending.kill(ref, signal),
    pause: (ref) => ending.pause(ref),
    unpause: (ref) => ending.unpause(ref),
    remove,
    rename: (ref, name) => rename(parts, ref, name),
    update: (ref, changes) => update(parts, ref, changes),
    wait(ref, condition) {
      const { id, state } = resolve(ref);
      const over = condition === "not-running" && !["running", "paused", "restarting"].includes(state.status);
      return { result: over ? Promise.resolve({ StatusCode: state.exitCode }) : waiters.wait(id, condition) };
    },
    async attach(ref, options) {
      const container = resolve(ref);
      if (container.state.status === "paused") refuse(409, `Container ${ref} is paused, unpause the container before attach`);
      if (container.state.status === "restarting")
        refuse(409, `Container ${ref} is restarting, wait until the container is running`);
      containerEvent(ctx, container, "attach");
      if (container.state.status !== "running") return attachments.wait(container.id);
      return ctx.runtime.attach(container.id, { tty: container.config.Tty, stdin: options.stdin && container.config.OpenStdin });
    },
    async resize(ref, height, width) {
      const container = resolve(ref);
      if (!isRunning(container)) refuse(409, `Container ${container.id} is not running`);
      await ctx.runtime.resize(container.id, height, width);
      containerEvent(ctx, container, "resize", { height: String(height), width: String(width) });
    },
    logs(ref, options: LogOptions) {
      const container = resolve(ref);
      const follow = options.follow && ["running", "paused", "restarting"].includes(container.state.status);
      return ctx.runtime.logs(container, { ...options, follow });
    },
    logPath: (id) => ctx.runtime.logPath(id),
    async top(ref, psArgs) {
      const container = resolve(ref);
      if (!isRunning(container)) refuse(409, `Container ${container.id} is not running`);
      containerEvent(ctx, container, "top");
      return ctx.runtime.top(container.id, psArgs);
    },
    async stats(ref) {
      const container = resolve(ref);
      if (!isRunning(container)) return {};
      const networks = interfaceStats(container.state.pid);
      return { ...(await ctx.runtime.stats(container.id)), ...(networks && { networks }) };
    },
    prune: (filters) => prune(parts, filters, (id) => remove(id, { force: false, volumes: false, link: false })),
    execCreate: async (ref, request) => execs.create(ref, request),
    execStart: (id, options) => execs.start(id, options),
    execResize: (id, height, width) => execs.resize(id, height, width),
    execInspect: (id) => execs.inspect(id),
    execIds: (id) => execs.ids(id),
    publish: (ref, ports) => publish(ctx, ref, ports),
    paths(id) {
      const sandbox = sandboxOfContainer(ctx.state, id);
      const upper = ctx.runtime.upperDir(id);
      return {
        ResolvConfPath: etcPath(ctx, id, "resolv.conf"),
        HostnamePath: etcPath(ctx, id, "hostname"),
        HostsPath: etcPath(ctx, id, "hosts"),
        LogPath: ctx.runtime.logPath(id),
        SandboxKey: sandbox === undefined ? "" : netnsPath(ctx, sandbox.netns === "" ? "default" : sandbox.netns),
        graph: { UpperDir: upper },
      };
    },
  };
}

async function rename({ ctx, names }: ContainerParts, ref: string, given: string): Promise<void> {
  const { id } = resolveContainer(ctx.state, ref);
  await ctx.locks.run(id, async () => {
    const container = resolveContainer(ctx.state, id);
    if (given === "") refuse(400, "Neither old nor new names may be empty");
    if (given.replace(/^\//, "") === container.name) refuse(400, "Renaming a container with the same name as its current name");
    const name = checkName(ctx, given);
    const decision = orRefuse(renameEndpoints(ctx.state, id, name));
    const renamed: Container = {
      ...container,
      name,
      hostConfig: { ...container.hostConfig, Links: linksUnderName(container.hostConfig.Links, name) },
    };
    const changes: Change[] = [
      ...relinkChanges(ctx, container.name, name).filter((c) => c.id !== id),
      { kind: "container", id, value: renamed },
    ];
    await ctx.committer.transact([...decision.changes, ...changes], decision.owners);
    await Promise.all([...decision.endpoints.map((e) => names.putEndpoint(e)), names.reserve(renamed)]);
    await refreshLinkedHosts(ctx, linkedFrom(ctx, name));
    containerEvent(ctx, renamed, "rename", { oldName: `/${container.name}` });
  });
}

/** `docker rm --link parent/alias` */
async function removeLink({ ctx }: ContainerParts, ref: string): Promise<void> {
  const [parentName = "", alias = ""] = ref.replace(/^\//, "").split("/");
  if (parentName === "" || alias === "") refuse(400, `Conflict, cannot remove the default link name of the container`);
  const parent = resolveContainer(ctx.state, parentName);
  await ctx.locks.run(parent.id, async () => {
    const container = resolveContainer(ctx.state, parent.id);
    const links = (container.hostConfig.Links ?? []).filter((text) => parseLink(text).alias !== alias);
    if (links.length === (container.hostConfig.Links ?? []).length) refuse(404, `No such container: ${ref}`);
    const value: Container = { ...container, hostConfig: { ...container.hostConfig, Links: links.length > 0 ? links : null } };
    await ctx.committer.commit([{ kind: "container", id: value.id, value }]);
    if (isRunning(value)) await writeHosts(ctx, value);
  });
}

const updatable: readonly (keyof HostConfig)[] = [
  "CpuShares",
  "Memory",
  "MemorySwap",
  "MemoryReservation",
  "NanoCpus",
  "CpuQuota",
  "CpuPeriod",
  "CpusetCpus",
  "CpusetMems",
  "PidsLimit",
];

async function update({ ctx }: ContainerParts, ref: string, changes: Partial<HostConfig>): Promise<readonly string[]> {
  const { id } = resolveContainer(ctx.state, ref);
  return ctx.locks.run(id, async () => {
    const container = resolveContainer(ctx.state, id);
    const hostConfig: HostConfig = { ...container.hostConfig };
    // Zero and empty mean "as it was" in Docker's update request.
    for (const key of updatable)
      if (changes[key] !== undefined && changes[key] !== null && changes[key] !== 0 && changes[key] !== "")
        hostConfig[key] = changes[key];
    if (changes.RestartPolicy !== undefined && changes.RestartPolicy.Name !== "") {
      if (hostConfig.AutoRemove && changes.RestartPolicy.Name !== "no")
        refuse(400, "Restart policy cannot be updated because AutoRemove is enabled for the container");
      hostConfig.RestartPolicy = { ...changes.RestartPolicy };
      checkRestartPolicy(hostConfig);
    }
    if (hostConfig.MemorySwap > 0 && hostConfig.MemorySwap < hostConfig.Memory)
      refuse(400, "Minimum memoryswap limit should be larger than memory limit, see usage");
    const value: Container = { ...container, hostConfig };
    if (isRunning(container)) await ctx.runtime.update(value);
    await ctx.committer.commit([{ kind: "container", id, value }]);
    containerEvent(ctx, value, "update");
    return [];
  });
}

async function prune(
  { ctx }: ContainerParts,
  filters: Filters,
  remove: (id: string) => Promise<void>,
): Promise<{ deleted: string[]; spaceReclaimed: number }> {
  onlyKnown(filters, ["label", "label!", "until"]);
  const until = untilOf(filters, Date.now());
  const deleted: string[] = [];
  let spaceReclaimed = 0;
  const archives = createArchives(ctx, { pause: async () => undefined, unpause: async () => undefined });
  for (const c of [...ctx.state.containers.values()]) {
    if (isRunning(c) || c.state.status === "restarting" || !labelsMatch(c.config.Labels, filters)) continue;
    if (until !== undefined && Date.parse(c.created) > until) continue;
    const { rw } = await archives.size(c.id).catch(() => ({ rw: 0 }));
    try {
      await remove(c.id);
    } catch (error) {
      ctx.log.warn("prune", { container: c.id, error: String(error) });
      continue;
    }
    deleted.push(c.id);
    spaceReclaimed += rw;
  }
  ctx.events.emit("container", "prune", "", { reclaimed: String(spaceReclaimed) });
  return { deleted, spaceReclaimed };
}
