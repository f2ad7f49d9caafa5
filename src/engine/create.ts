import { mkdir, rm } from "node:fs/promises";
import { refuse } from "../base/errors.js";
import type { Image } from "../images/contract.js";
import type { Container, ContainerConfig, HostConfig } from "../model/container.js";
import { createdState } from "../model/container-defaults.js";
import { resolveNetwork } from "../model/network-query.js";
import { newId, nowText } from "./clock.js";
import { containerEvent } from "./container-events.js";
import { containerDirectory, type EngineContext } from "./context.js";
import type { ContainerCreate } from "./contract.js";
import { checkConflicts, checkRestartPolicy, isUserDefinedMode, mergeImageConfig, requestedEndpoints } from "./create-config.js";
import { resolveLinks } from "./links.js";
import { fillVolumes, planMounts, realiseMounts } from "./mounts.js";
import { inventName } from "./names.js";
import { checkPortBindings } from "./published.js";
import { resolveContainer } from "./resolve.js";
import type { Volumes } from "./volumes.js";

/** `docker create`: decides, makes the volumes, keeps the record. Nothing exists in the kernel yet. */
export async function createContainer(
  ctx: EngineContext,
  volumes: Volumes,
  request: ContainerCreate,
): Promise<{ readonly id: string; readonly warnings: readonly string[] }> {
  const { state } = ctx;
  const id = newId();
  const name = chooseName(ctx, request.name);
  // The name is taken from here on: two concurrent creates of one name must not both pass.
  const release = reserveName(ctx, name, id);
  const made: string[] = [];
  try {
    const image = await findImage(ctx, request.config.Image);
    const layers = await ctx.images.layers(image.id);
    let config = mergeImageConfig(request.config, image.config);
    const hostConfig = normaliseHostConfig(ctx, request.hostConfig);
    checkConflicts(request.config, hostConfig);
    checkPortBindings(hostConfig);
    const [path, ...args] = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])];
    if (path === undefined) refuse(400, "No command specified");
    config = withHostname(ctx, config, hostConfig, id);
    hostConfig.Links = isUserDefinedMode(hostConfig.NetworkMode) ? null : resolveLinks(ctx, name, hostConfig.Links ?? []);
    const same = (a: string, b: string) => a === b || networkIdOf(ctx, a) === (networkIdOf(ctx, b) ?? NaN);
    const networks = requestedEndpoints(hostConfig.NetworkMode, request.endpoints, config.MacAddress, same);
    const userLinks = request.hostConfig.Links ?? [];
    // On a user-defined network a link is a private alias; older clients send it in HostConfig only.
    if (isUserDefinedMode(hostConfig.NetworkMode) && userLinks.length > 0 && networks[0]!.links === null)
      networks[0]!.links = [...userLinks];
    const planned = await planMounts(config, hostConfig, image.config.Volumes ?? {}, (ref) => resolveContainer(state, ref));
    const mounts = await realiseMounts(planned, volumes);
    for (const [i, m] of mounts.entries())
      if (planned[i]!.anonymous === true && m.mount.Name !== undefined) made.push(m.mount.Name);
    const container: Container = {
      id,
      name,
      created: nowText(),
      imageId: image.id,
      path: path!,
      args,
      config,
      hostConfig,
      networks,
      mounts: mounts.map((m) => m.mount),
      state: createdState(),
    };
    await mkdir(containerDirectory(ctx, id), { recursive: true, mode: 0o710 });
    const toFill = mounts.filter((m) => m.copyUp && m.mount.Type === "volume").map((m) => m.mount);
    if (toFill.length > 0) await fillVolumes(ctx, id, layers, toFill);
    await ctx.committer.commit([{ kind: "container", id, value: container }]);
    containerEvent(ctx, container, "create");
    return { id, warnings: warningsOf(hostConfig) };
  } catch (error) {
    for (const volume of made) await volumes.remove(volume, true).catch(() => undefined);
    await ctx.runtime.removeStorage(id).catch(() => undefined);
    await rm(containerDirectory(ctx, id), { recursive: true, force: true });
    throw error;
  } finally {
    release();
  }
}

/** A machine without any registry has one image all the same: busybox, made from the host's own when it is first asked for. */
async function findImage(ctx: EngineContext, ref: string): Promise<Image> {
  if (/^(docker\.io\/)?(library\/)?busybox(:latest)?$/.test(ref) && (await ctx.images.find(ref)) === undefined)
    await ctx.images.ensureBuiltin().catch((error: unknown) => ctx.log.warn("built-in busybox", { error: String(error) }));
  return ctx.images.get(ref);
}

const pendingNames = new WeakMap<EngineContext, Map<string, string>>();

function reserveName(ctx: EngineContext, name: string, id: string): () => void {
  const pending = pendingNames.get(ctx) ?? new Map<string, string>();
  pendingNames.set(ctx, pending);
  pending.set(name, id);
  return () => void pending.delete(name);
}

function nameOwner(ctx: EngineContext, name: string): string | undefined {
  return ctx.state.index.containerByName.get(name) ?? pendingNames.get(ctx)?.get(name);
}

export function checkName(ctx: EngineContext, given: string): string {
  const name = given.replace(/^\//, "");
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name))
    refuse(400, `Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
  const owner = nameOwner(ctx, name);
  if (owner !== undefined)
    refuse(
      409,
      `Conflict. The container name "/${name}" is already in use by container "${owner}". You have to remove (or rename) that container to be able to reuse that name.`,
    );
  return name;
}

function chooseName(ctx: EngineContext, given: string | undefined): string {
  if (given !== undefined && given !== "" && given !== "/") return checkName(ctx, given);
  return inventName((name) => nameOwner(ctx, name) !== undefined);
}

function normaliseHostConfig(ctx: EngineContext, given: HostConfig): HostConfig {
  const hostConfig: HostConfig = { ...given, RestartPolicy: { ...given.RestartPolicy } };
  if (hostConfig.NetworkMode === "") hostConfig.NetworkMode = "default";
  checkRestartPolicy(hostConfig);
  if (hostConfig.RestartPolicy.Name === "") hostConfig.RestartPolicy.Name = "no";
  const target = /^container:(.*)$/.exec(hostConfig.NetworkMode)?.[1];
  if (target !== undefined) {
    if (target === "") refuse(400, "invalid container format container:<name|id>");
    // Not 404: clients take that for a missing image, and pull it.
    const other = ctx.state.containers.get(resolveContainer(ctx.state, target, 400).id)!;
    hostConfig.NetworkMode = `container:${other.id}`;
  }
  return hostConfig;
}

function withHostname(ctx: EngineContext, config: ContainerConfig, hostConfig: HostConfig, id: string): ContainerConfig {
  if (config.Hostname !== "") return config;
  const mode = hostConfig.NetworkMode;
  if (mode === "host" || hostConfig.UTSMode === "host") return { ...config, Hostname: ctx.settings.hostname };
  // Shares the other's host name; its own stays empty in the record, as Docker shows it.
  if (mode.startsWith("container:")) return config;
  return { ...config, Hostname: id.slice(0, 12) };
}

function networkIdOf(ctx: EngineContext, ref: string): string | undefined {
  const found = resolveNetwork(ctx.state, ref);
  return found.ok ? found.value.id : undefined;
}

function warningsOf(hostConfig: HostConfig): string[] {
  const warnings: string[] = [];
  if (hostConfig.NetworkMode === "host" && Object.keys(hostConfig.PortBindings ?? {}).length > 0)
    warnings.push("Published ports are discarded when using host network mode");
  return warnings;
}
