import { refuse } from "../base/errors.js";
import { linkEnvironment } from "../dns/index.js";
import type { Container } from "../model/container.js";
import { endpointOf } from "../model/indexes.js";
import type { Change } from "../model/state.js";
import type { EngineContext } from "./context.js";
import { isRunning, resolveContainer } from "./resolve.js";

/** A `--link` of the default bridge as HostConfig.Links keeps it: "/target:/container/alias". */
export interface Link {
  readonly target: string;
  readonly alias: string;
}

export function parseLink(text: string): Link {
  const [target = "", alias = ""] = text.split(":");
  return { target: target.replace(/^\//, ""), alias: alias.split("/").pop() ?? "" };
}

/** "name" or "name:alias" of a create request → the form that is kept and shown. */
export function resolveLinks(ctx: EngineContext, parentName: string, links: readonly string[]): string[] | null {
  if (links.length === 0) return null;
  return links.map((text) => {
    const parts = text.split(":");
    if (parts.length > 2 || parts[0] === "") refuse(500, `bad format for links: ${text}`);
    const ref = parts[0]!.replace(/^\//, "");
    const alias = (parts[1] ?? "").split("/").pop() || ref;
    let target: Container;
    try {
      target = resolveContainer(ctx.state, ref);
    } catch {
      return refuse(400, `could not get container for ${ref}: No such container: ${ref}`);
    }
    if (target.hostConfig.NetworkMode === "host")
      refuse(400, "conflicting options: host type networking can't be used with links. This would result in undefined behavior");
    // The target may be named by its id: what is kept is its name.
    return `/${target.name}:/${parentName}/${parts.length === 2 ? alias : ref === target.name ? ref : target.name}`;
  });
}

export interface RunningLink {
  readonly alias: string;
  readonly target: Container;
  readonly ip: string;
}

/** The default-bridge links of a container with their addresses now. Refuses (Docker's 500) when a target does not run. */
export function linksNow(ctx: EngineContext, container: Container): readonly RunningLink[] {
  const out: RunningLink[] = [];
  for (const text of container.hostConfig.Links ?? []) {
    const link = parseLink(text);
    const id = ctx.state.index.containerByName.get(link.target);
    const target = id === undefined ? undefined : ctx.state.containers.get(id);
    const ip = target === undefined ? undefined : bridgeAddress(ctx, target.id);
    if (target === undefined || !isRunning(target) || ip === undefined)
      refuse(500, `Cannot link to a non running container: /${link.target} AS /${container.name}/${link.alias}`);
    out.push({ alias: link.alias, target: target!, ip: ip! });
  }
  return out;
}

/** Environment that the links of a container give to its processes. */
export function linkEnv(container: Container, links: readonly RunningLink[]): string[] {
  return links.flatMap(({ alias, target, ip }) =>
    linkEnvironment({
      alias,
      parentName: container.name,
      ip,
      ports: Object.keys(target.config.ExposedPorts ?? {}),
      env: target.config.Env ?? [],
    }),
  );
}

export function bridgeAddress(ctx: EngineContext, containerId: string): string | undefined {
  const bridge = defaultBridgeId(ctx);
  return bridge === undefined ? undefined : endpointOf(ctx.state, containerId, bridge)?.ipv4;
}

export function defaultBridgeId(ctx: EngineContext): string | undefined {
  for (const id of ctx.state.index.networksByName.get("bridge") ?? []) if (ctx.state.networks.get(id)?.predefined) return id;
  return undefined;
}

/** Containers that have a default-bridge link to this one. */
export function linkedFrom(ctx: EngineContext, name: string): readonly Container[] {
  return [...ctx.state.containers.values()].filter((c) => (c.hostConfig.Links ?? []).some((l) => parseLink(l).target === name));
}

/** The links of others that name a container which is renamed (or, without a new name, removed). */
export function relinkChanges(ctx: EngineContext, name: string, newName: string | undefined): Change[] {
  return linkedFrom(ctx, name).map((parent) => {
    const links = (parent.hostConfig.Links ?? []).flatMap((text) => {
      if (parseLink(text).target !== name) return [text];
      return newName === undefined ? [] : [`/${newName}${text.slice(text.indexOf(":"))}`];
    });
    const value: Container = { ...parent, hostConfig: { ...parent.hostConfig, Links: links.length > 0 ? links : null } };
    return { kind: "container", id: parent.id, value };
  });
}

/** HostConfig.Links of a container under a new name of its own. */
export const linksUnderName = (links: readonly string[] | null, name: string): string[] | null =>
  links === null ? null : links.map((text) => `/${parseLink(text).target}:/${name}/${parseLink(text).alias}`);
