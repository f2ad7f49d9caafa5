import type { EndpointSettings } from "../engine/contract.js";
import type { ContainerConfig } from "../model/container.js";
import type { ContainerConfigBody, ContainerCreateBody } from "./schema-container.js";

/** Docker's Config from a create body: the zero value where the client says nothing; the image fills in the rest later. */
export function containerConfig(body: ContainerConfigBody): ContainerConfig {
  const health = body.Healthcheck ?? undefined;
  return {
    Hostname: body.Hostname ?? "",
    Domainname: body.Domainname ?? "",
    User: body.User ?? "",
    AttachStdin: body.AttachStdin ?? false,
    AttachStdout: body.AttachStdout ?? false,
    AttachStderr: body.AttachStderr ?? false,
    ...(body.ExposedPorts && { ExposedPorts: emptyObjects(body.ExposedPorts) }),
    Tty: body.Tty ?? false,
    OpenStdin: body.OpenStdin ?? false,
    StdinOnce: body.StdinOnce ?? false,
    Env: body.Env ?? null,
    Cmd: body.Cmd ?? null,
    Entrypoint: body.Entrypoint ?? null,
    ...(health && { Healthcheck: withoutNulls(health) as NonNullable<ContainerConfig["Healthcheck"]> }),
    Image: body.Image ?? "",
    Volumes: body.Volumes ? emptyObjects(body.Volumes) : null,
    WorkingDir: body.WorkingDir ?? "",
    OnBuild: body.OnBuild ?? null,
    Labels: body.Labels ?? {},
    ...(body.NetworkDisabled && { NetworkDisabled: true }),
    ...(body.MacAddress && { MacAddress: body.MacAddress }),
    ...(body.StopSignal && { StopSignal: body.StopSignal }),
    ...(body.StopTimeout !== null && body.StopTimeout !== undefined && { StopTimeout: body.StopTimeout }),
    ...(body.Shell && { Shell: body.Shell }),
  };
}

/** EndpointsConfig by network; the CLI's key "default" means the network of that mode, which is bridge. */
export function endpointsOf(body: ContainerCreateBody): Record<string, EndpointSettings | null> {
  const out: Record<string, EndpointSettings | null> = {};
  for (const [name, settings] of Object.entries(body.NetworkingConfig?.EndpointsConfig ?? {}))
    out[name === "default" ? "bridge" : name] = settings === null ? null : (withoutNulls(settings) as EndpointSettings);
  return out;
}

function emptyObjects(map: Record<string, unknown>): Record<string, object> {
  const out: Record<string, object> = {};
  for (const key of Object.keys(map)) out[key] = {};
  return out;
}

export function withoutNulls(value: object): object {
  return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== null && v !== undefined));
}
