import { z } from "zod";
import { refuse } from "../base/errors.js";
import type { Call, Context, Router } from "./call.js";
import { withoutNulls } from "./container-config.js";
import { str, stringMap } from "./decode.js";
import { anyOf, filterBool, labelsMatch, matches, parseFilters, queryBool } from "./query.js";
import { renderVolume } from "./render-volume.js";

const volumeCreateSchema = z.looseObject({ Name: str, Driver: str, DriverOpts: stringMap, Labels: stringMap });
const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

export function addVolumeRoutes(router: Router, { engine }: Context): void {
  const { volumes } = engine;
  router.get("/volumes", list);
  router.post("/volumes/create", async (call) => {
    const { Name, Driver, DriverOpts, Labels } = await call.optionalBody(volumeCreateSchema, "VolumeCreateBody");
    if (Name && !namePattern.test(Name))
      refuse(
        400,
        `create ${Name}: ${JSON.stringify(Name)} includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
      );
    return call.json(renderVolume(await volumes.create(withoutNulls({ Name, Driver, DriverOpts, Labels }))), 201);
  });
  router.get("/volumes/:name", (call) => call.json(renderVolume(volumes.get(call.param("name")))));
  router.delete("/volumes/:name", async (call) => {
    await volumes.remove(call.param("name"), queryBool(call.query, "force"));
    return call.empty();
  });
  router.post("/volumes/prune", async (call) => {
    const filters = parseFilters(call.query.get("filters"), ["all", "label", "label!"]);
    // Before API 1.42 all unused volumes were meant; since, only the anonymous ones unless all=true.
    const effective = call.atLeast("1.42") ? filters : { ...filters, all: ["true"] };
    const result = await volumes.prune(effective);
    return call.json({
      VolumesDeleted: result.deleted.length === 0 ? null : result.deleted,
      SpaceReclaimed: result.spaceReclaimed,
    });
  });
}

function list(call: Call): unknown {
  const { volumes } = call.engine;
  const filters = parseFilters(call.query.get("filters"), ["dangling", "driver", "label", "name"]);
  const dangling = filterBool(filters, "dangling");
  const chosen = [...volumes.list()]
    .filter(
      (v) =>
        anyOf(filters, "name", (f) => matches(f, v.name)) &&
        anyOf(filters, "driver", (f) => f === v.driver) &&
        labelsMatch(filters["label"], v.labels) &&
        (dangling === undefined || (volumes.refCount(v.name) === 0) === dangling),
    )
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  return call.json({ Volumes: chosen.map((v) => renderVolume(v)), Warnings: null });
}
