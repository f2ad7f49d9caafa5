import { goArch } from "./render-info.js";
import { sorted } from "./render-sorted.js";
import { unixSeconds } from "./time.js";
import type { Image } from "./types.js";

const noTag = "<none>:<none>";

/**
 * One row of `GET /images/json`. `containers`: how many use it; -1 when it was not counted. `namesNothing`: an image without a name has an
 * entry that says so, as before API 1.43.
 */
export function renderImageRow(image: Image, containers: number, namesNothing: boolean): Record<string, unknown> {
  return {
    Containers: containers,
    Created: unixSeconds(image.created),
    Id: image.id,
    Labels: image.config.Labels === undefined ? null : sorted(image.config.Labels),
    ParentId: image.parent,
    RepoDigests: image.repoDigests,
    RepoTags: namesNothing && image.repoTags.length === 0 && image.repoDigests.length === 0 ? [noTag] : image.repoTags,
    SharedSize: -1,
    Size: image.size,
    VirtualSize: image.size,
  };
}

/** `GET /images/{name}/json`, keys as Docker 20.10's. */
export function renderImage(image: Image): Record<string, unknown> {
  const config = renderImageConfig(image);
  return {
    Id: image.id,
    RepoTags: image.repoTags,
    RepoDigests: image.repoDigests,
    Parent: image.parent,
    Comment: image.comment,
    Created: image.created,
    Container: "",
    ContainerConfig: config,
    DockerVersion: "",
    Author: image.author,
    Config: config,
    Architecture: image.architecture || goArch(),
    Os: image.os || "linux",
    Size: image.size,
    VirtualSize: image.size,
    GraphDriver: { Data: null, Name: "overlay2" },
    RootFS: { Type: "layers", Layers: image.diffIds },
    Metadata: { LastTagTime: "0001-01-01T00:00:00Z" },
  };
}

function renderImageConfig({ config }: Image): object {
  return {
    Hostname: "",
    Domainname: "",
    User: config.User ?? "",
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    ...(config.ExposedPorts && Object.keys(config.ExposedPorts).length > 0 && { ExposedPorts: sorted(config.ExposedPorts) }),
    Tty: false,
    OpenStdin: false,
    StdinOnce: false,
    Env: config.Env ?? null,
    Cmd: config.Cmd ?? null,
    ...(config.Healthcheck && { Healthcheck: config.Healthcheck }),
    Image: "",
    Volumes: config.Volumes && Object.keys(config.Volumes).length > 0 ? sorted(config.Volumes) : null,
    WorkingDir: config.WorkingDir ?? "",
    Entrypoint: config.Entrypoint ?? null,
    OnBuild: config.OnBuild ?? null,
    Labels: config.Labels === undefined ? null : sorted(config.Labels),
    ...(config.StopSignal && { StopSignal: config.StopSignal }),
    ...(config.Shell && { Shell: config.Shell }),
  };
}

/** `GET /images/{name}/history`, newest first; only the top has an id. */
export function renderHistory(image: Image): object[] {
  const rows = image.history.map((h) => ({
    Comment: h.comment ?? "",
    Created: unixSeconds(h.created),
    CreatedBy: h.created_by,
    Id: "<missing>",
    Size: h.empty_layer === true ? 0 : (h.size ?? 0),
    Tags: null as readonly string[] | null,
  }));
  rows.reverse();
  const top = rows[0];
  if (top !== undefined) {
    top.Id = image.id;
    top.Tags = image.repoTags.length > 0 ? image.repoTags : null;
  } else
    rows.push({
      Comment: image.comment,
      Created: unixSeconds(image.created),
      CreatedBy: "",
      Id: image.id,
      Size: image.size,
      Tags: image.repoTags,
    });
  return rows;
}
