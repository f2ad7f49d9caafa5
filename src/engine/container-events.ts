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

/** `volume mount` and `volume unmount`, one for each volume of a container that starts or has ended. */
export function volumeEvents(ctx: EngineContext, c: Container, action: "mount" | "unmount"): void {
  for (const mount of c.mounts) {
    if (mount.Type !== "volume" || mount.Name === undefined) continue;
    const { Destination: destination, Driver: driver = "local", RW, Propagation: propagation } = mount;
    const more: Record<string, string> = action === "mount" ? { destination, propagation, "read/write": String(RW) } : {};
    ctx.events.emit("volume", action, mount.Name, { container: c.id, driver, ...more });
  }
}
