import { refuse } from "../base/errors.js";
import type { Call, Context, Router } from "./call.js";
import { queryBool } from "./query.js";

const STAT_HEADER = "X-Docker-Container-Path-Stat";

/** `docker cp`. */
export function addArchiveRoutes(router: Router, { engine }: Context): void {
  const { containers } = engine;
  router.head("/containers/:id/archive", async (call) => {
    const stat = await containers.archiveStat(call.param("id"), pathOf(call));
    return call.reply.code(200).header(STAT_HEADER, statHeader(stat)).send();
  });
  router.get("/containers/:id/archive", async (call) => {
    const { stat, tar } = await containers.archiveGet(call.param("id"), pathOf(call));
    return call.reply.header("Content-Type", "application/x-tar").header(STAT_HEADER, statHeader(stat)).send(tar);
  });
  router.put("/containers/:id/archive", async (call) => {
    await containers.archivePut(call.param("id"), pathOf(call), call.bodyStream, {
      noOverwriteDirNonDir: queryBool(call.query, "noOverwriteDirNonDir"),
    });
    return call.empty(200);
  });
}

function pathOf(call: Call): string {
  const path = call.query.get("path");
  if (path === null || path === "") refuse(400, "bad parameter: 'path' cannot be empty");
  return path;
}

/** The engine gives the JSON text or its base64; the header is base64. */
function statHeader(stat: string): string {
  return stat.trimStart().startsWith("{") ? Buffer.from(stat).toString("base64") : stat;
}
