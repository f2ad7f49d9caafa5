import type { Container } from "../model/container.js";
import type { Network } from "../model/network.js";
import type { EngineContext } from "./context.js";

/** An event of a container, with the attributes that Docker gives: its labels, image and name. */
export function containerEvent(
  ctx: EngineContext,
  c: Container,
  action: string,
  more: Readonly<Record<string, string>> = {},
): void {
  ctx.events.emit("container", action, c.id, { ...c.config.Labels, image: c.config.Image, name: c.name, ...more });
}

export function networkEvent(
  ctx: EngineContext,
  n: Network,
  action: "create" | "destroy" | "connect" | "disconnect",
  containerId?: string,
): void {
  ctx.events.emit("network", action, n.id, {
    ...(containerId === undefined ? {} : { container: containerId }),
    name: n.name,
    type: n.driver,
  });
}
