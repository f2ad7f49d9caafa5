import { refuse } from "../base/errors.js";
import type { Call, Context, Router } from "./call.js";
import { GoSyntaxError, parseFirstValue } from "./go-json.js";
import { streamProgress } from "./progress.js";
import { queryBool, queryBoolOr, queryInt } from "./query.js";
import { registryConfig } from "./registry-auth.js";
import { imagesInUse } from "./routes-images.js";
import type { BuildRequest } from "./types.js";

/** The classic builder: a context archive in, a stream of messages out. */
export function addBuildRoutes(router: Router, { engine }: Context): void {
  router.post("/build", (call) => {
    const gone = new AbortController();
    call.response.once("close", () => {
      if (!call.response.writableFinished) gone.abort();
    });
    const request = { ...buildRequest(call), signal: gone.signal };
    return streamProgress(call, (progress) => engine.build(request, progress));
  });
  router.post("/build/prune", async (call) => {
    const reclaimed = await engine.images.buildCachePrune(new Set(imagesInUse(engine).keys()));
    return call.json({ CachesDeleted: null, SpaceReclaimed: reclaimed });
  });
  router.post("/build/cancel", (call) => call.empty());
}

function buildRequest(call: Call): BuildRequest {
  const { query } = call;
  if (query.get("version") === "2")
    refuse(400, "this engine builds with the classic builder: set DOCKER_BUILDKIT=0 (BuildKit is not served)");
  const remote = query.get("remote") ?? "";
  if (remote !== "" && remote !== "client-session")
    refuse(400, `remote build contexts are not offered (${remote}): fetch it and send it as the context`);
  if (queryBool(query, "squash")) refuse(400, "squash is only supported with experimental mode");
  return {
    context: call.bodyStream,
    dockerfile: query.get("dockerfile") || "Dockerfile",
    tags: query.getAll("t").filter((t) => t !== ""),
    buildArgs: jsonMap(query, "buildargs") as Record<string, string | null>,
    target: query.get("target") ?? "",
    noCache: queryBool(query, "nocache"),
    pull: queryBool(query, "pull"),
    labels: jsonMap(query, "labels") as Record<string, string>,
    networkMode: query.get("networkmode") || "default",
    extraHosts: extraHosts(query),
    quiet: queryBool(query, "q"),
    remove: queryBoolOr(query, "rm", true),
    auth: registryConfig(call.request.headers["x-registry-config"]),
    platform: query.get("platform") ?? "",
    memory: queryInt(query, "memory") ?? 0,
    shmSize: queryInt(query, "shmsize") ?? 0,
  };
}

/** The CLI repeats the parameter; docker-py sends one JSON object or a list joined by commas. */
function extraHosts(query: URLSearchParams): string[] {
  return query.getAll("extrahosts").flatMap((text) => {
    if (text.startsWith("{")) return Object.entries(parse(text, "extrahosts")).map(([k, v]) => `${k}:${String(v)}`);
    return text.split(",").filter((h) => h !== "");
  });
}

function jsonMap(query: URLSearchParams, name: string): Record<string, unknown> {
  const text = query.get(name);
  return text === null || text === "" ? {} : parse(text, name);
}

function parse(text: string, name: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = parseFirstValue(text);
  } catch (error) {
    refuse(400, `error reading ${name}: ${error instanceof GoSyntaxError ? error.message : String(error)}`);
  }
  if (value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) refuse(400, `error reading ${name}: not an object`);
  return value as Record<string, unknown>;
}
