import type { Container, ContainerState } from "../model/container.js";
import { renderMount } from "./render-container.js";
import { type EndpointIndex, renderNetworks, renderPortList } from "./render-settings.js";
import { sorted } from "./render-sorted.js";
import { humanDuration, neverHappened, timeNanos, unixSeconds } from "./time.js";

/** One row of `GET /containers/json`. `image`: the name it was made from if that still means the same image, else the id. */
export function renderContainerRow(
  container: Container,
  image: string,
  index: EndpointIndex,
  nowMs: number,
  size?: { readonly rw: number; readonly rootFs: number },
): Record<string, unknown> {
  return {
    Id: container.id,
    Names: [`/${container.name}`],
    Image: image,
    ImageID: container.imageId,
    Command: commandText(container),
    Created: unixSeconds(container.created),
    Ports: renderPortList(index.of(container.id), index.state),
    ...(size !== undefined && { SizeRw: size.rw, SizeRootFs: size.rootFs }),
    Labels: sorted(container.config.Labels),
    State: container.state.status,
    Status: statusText(container.state, nowMs),
    HostConfig: { NetworkMode: container.hostConfig.NetworkMode },
    NetworkSettings: { Networks: renderNetworks(container, index) },
    Mounts: container.mounts.map(renderMount),
  };
}

/** Path and arguments in one line; an argument with a space in it stands in quotes. */
export function commandText(container: { readonly path: string; readonly args: readonly string[] }): string {
  return [container.path, ...container.args.map((a) => (a.includes(" ") ? `'${a}'` : a))].join(" ");
}

/** "Up 2 minutes (healthy)", "Exited (137) 3 seconds ago": the column STATUS of docker ps. */
export function statusText(state: ContainerState, nowMs: number): string {
  const since = (text: string) => humanDuration(nowMs - Number(timeNanos(text) / 1_000_000n));
  switch (state.status) {
    case "paused":
      return `Up ${since(state.startedAt)} (Paused)`;
    case "restarting":
      return `Restarting (${state.exitCode}) ${since(state.finishedAt)} ago`;
    case "running":
      return `Up ${since(state.startedAt)}${healthText(state)}`;
    case "removing":
      return "Removal In Progress";
    case "dead":
      return "Dead";
    case "created":
      return "Created";
    case "exited":
      return neverHappened(state.finishedAt) ? "" : `Exited (${state.exitCode}) ${since(state.finishedAt)} ago`;
  }
}

function healthText(state: ContainerState): string {
  const status = state.health?.Status;
  if (status === undefined || status === "none") return "";
  return status === "starting" ? " (health: starting)" : ` (${status})`;
}
