import { refuse } from "../base/errors.js";
import type { ContainerCreate } from "../engine/contract.js";
import type { ContainerConfig, HostConfig } from "../model/container.js";
import type { Call, Context, Router } from "./call.js";
import { containerConfig, endpointsOf, withoutNulls } from "./container-config.js";
import { decode } from "./decode.js";
import { listContainers } from "./filter-containers.js";
import { fillHostConfig } from "./host-config-defaults.js";
import { parseFilters, queryBool, queryBoolOr, queryInt } from "./query.js";
import { renderContainer } from "./render-container.js";
import { containerConfigSchema, containerCreateSchema, type HostConfigBody, hostConfigSchema } from "./schema-container.js";
import { validateContainer, validateContainerName, validateHostConfig } from "./validate-container.js";

/** Life of containers: create, list, inspect, start … remove. Streams are in routes-streams.ts. */
export function addContainerRoutes(router: Router, { engine }: Context): void {
  const { containers } = engine;
  router.get("/containers/json", listContainers);
  router.post("/containers/create", create);
  router.get("/containers/:id/json", async (call) => {
    const container = containers.resolve(call.param("id"));
    const size = queryBool(call.query, "size") ? await containers.size(container.id) : undefined;
    return call.json(renderContainer(engine, container, size));
  });
  router.post("/containers/:id/start", async (call) => call.empty((await containers.start(call.param("id"))) ? 204 : 304));
  router.post("/containers/:id/stop", async (call) =>
    call.empty((await containers.stop(call.param("id"), stopOptions(call))) ? 204 : 304),
  );
  router.post("/containers/:id/restart", async (call) => {
    await containers.restart(call.param("id"), stopOptions(call));
    return call.empty();
  });
  router.post("/containers/:id/kill", async (call) => {
    await containers.kill(call.param("id"), call.query.get("signal") || "SIGKILL");
    return call.empty();
  });
  router.post("/containers/:id/pause", async (call) => {
    await containers.pause(call.param("id"));
    return call.empty();
  });
  router.post("/containers/:id/unpause", async (call) => {
    await containers.unpause(call.param("id"));
    return call.empty();
  });
  router.post("/containers/:id/rename", async (call) => {
    const name = validateContainerName(call.query.get("name"));
    if (name === undefined) refuse(400, "Neither old nor new names may be empty");
    await containers.rename(call.param("id"), name);
    return call.empty();
  });
  router.post("/containers/:id/resize", async (call) => {
    const [h, w] = sizeOf(call);
    await containers.resize(call.param("id"), h, w);
    return call.empty(200);
  });
  router.post("/containers/:id/update", update);
  router.get("/containers/:id/top", async (call) =>
    call.json(await containers.top(call.param("id"), call.query.get("ps_args") || "-ef")),
  );
  router.get("/containers/:id/changes", async (call) => {
    const changes = await containers.changes(call.param("id"));
    return call.json(changes.length === 0 ? null : changes);
  });
  router.delete("/containers/:id", async (call) => {
    await containers.remove(call.param("id"), {
      force: queryBool(call.query, "force"),
      volumes: queryBool(call.query, "v"),
      link: queryBool(call.query, "link"),
    });
    return call.empty();
  });
  router.post("/containers/prune", async (call) => {
    const result = await containers.prune(parseFilters(call.query.get("filters"), ["label", "label!", "until"]));
    return call.json({
      ContainersDeleted: result.deleted.length === 0 ? null : result.deleted,
      SpaceReclaimed: result.spaceReclaimed,
    });
  });
  router.post("/commit", commit);
}

function stopOptions(call: Call): { timeoutSeconds?: number; signal?: string } {
  const t = queryInt(call.query, "t");
  const signal = call.query.get("signal");
  return { ...(t !== undefined && { timeoutSeconds: t }), ...(signal && { signal }) };
}

/** Height and width of a terminal. */
export function sizeOf(call: Call): [number, number] {
  return [queryInt(call.query, "h") ?? 0, queryInt(call.query, "w") ?? 0];
}

async function create(call: Call): Promise<unknown> {
  const name = validateContainerName(call.query.get("name"));
  const body = await call.body(containerCreateSchema, "ContainerConfigWrapper");
  const { HostConfig: hostBody, NetworkingConfig: _, ...configBody } = body;
  if (Object.keys(configBody).length === 0) refuse(400, "Config cannot be empty in order to create a container");
  const config = containerConfig(body);
  const hostConfig = fillHostConfig(hostBody ?? {}, call.engine.settings);
  validateContainer(config, hostConfig);
  const endpoints = endpointsOf(body);
  // Several networks at once came with API 1.44; without a version Docker 20.10's answer is given.
  const names = Object.keys(endpoints);
  if (names.length > 1 && (call.version === undefined || !call.atLeast("1.44")))
    refuse(400, `Container cannot be connected to network endpoints: ${names.join(", ")}`);
  const platform = call.query.get("platform");
  const request: ContainerCreate = { name, config, hostConfig, endpoints, ...(platform && { platform }) };
  const { id, warnings } = await call.engine.containers.create(request);
  return call.json({ Id: id, Warnings: warnings }, 201);
}

/** Only what the client names is changed; the zero value means "as it was", as in Docker. */
async function update(call: Call): Promise<unknown> {
  const container = call.engine.containers.resolve(call.param("id"));
  const body: HostConfigBody = await call.body(hostConfigSchema, "UpdateConfig");
  const changes: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(body)) {
    if (value === null || value === undefined || value === 0 || value === "") continue;
    if (key === "RestartPolicy" && !body.RestartPolicy?.Name) continue;
    changes[key] = key === "RestartPolicy" ? { MaximumRetryCount: 0, ...(value as object) } : value;
  }
  validateHostConfig({ ...container.hostConfig, ...changes } as HostConfig);
  const warnings = await call.engine.containers.update(container.id, changes as Partial<HostConfig>);
  return call.json({ Warnings: warnings.length === 0 ? null : warnings });
}

async function commit(call: Call): Promise<unknown> {
  const { query } = call;
  const ref = query.get("container");
  if (ref === null || ref === "") refuse(400, "container name or id is required");
  const text = (await call.text()).trim();
  const config = text === "" || text === "null" ? undefined : commitConfig(text);
  const id = await call.engine.containers.commit(ref, {
    repo: query.get("repo") ?? "",
    tag: query.get("tag") ?? "",
    comment: query.get("comment") ?? "",
    author: query.get("author") ?? "",
    changes: query
      .getAll("changes")
      .flatMap((c) => c.split("\n"))
      .filter((c) => c !== ""),
    pause: queryBoolOr(query, "pause", true),
    ...(config !== undefined && { config }),
  });
  return call.json({ Id: id }, 201);
}

function commitConfig(text: string): Partial<ContainerConfig> | undefined {
  const body = withoutNulls(decode(containerConfigSchema, "ContainerConfig", text));
  return Object.keys(body).length === 0 ? undefined : (body as Partial<ContainerConfig>);
}
