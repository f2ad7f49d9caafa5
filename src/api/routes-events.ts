import type { EngineEvent } from "../engine/contract.js";
import type { Call, Router } from "./call.js";
import { acceptedEventFilters, eventMatches } from "./filter-events.js";
import { parseFilters } from "./query.js";
import { parseTimeArgument } from "./time.js";

export function addEventRoutes(router: Router): void {
  router.get("/events", streamEvents);
}

/** One JSON object a line: what happened since `since`, then what happens, until `until` or for ever. */
function streamEvents(call: Call): unknown {
  const { engine, query } = call;
  const filters = parseFilters(query.get("filters"), acceptedEventFilters);
  const since = parseTimeArgument(query.get("since"));
  const until = parseTimeArgument(query.get("until"));
  const response = call.openStream("application/json");
  const write = (event: EngineEvent) => {
    if (until !== undefined && BigInt(event.timeNano) > until) return;
    if (eventMatches(event, filters)) response.write(`${renderEvent(event)}\n`);
  };
  // Subscribed before history is read: both happen in this turn, so no event is lost or doubled.
  const unsubscribe = engine.events.subscribe(write);
  response.once("close", unsubscribe);
  if (since !== undefined || until !== undefined)
    for (const event of engine.events.recent()) if (since === undefined || BigInt(event.timeNano) >= since) write(event);
  if (until !== undefined) {
    const ms = Math.max(0, Number(until / 1_000_000n) - Date.now());
    const timer = setTimeout(
      () => {
        unsubscribe();
        response.end();
      },
      Math.min(ms, 2 ** 31 - 1),
    );
    response.once("close", () => clearTimeout(timer));
  }
  return call.reply;
}

/** With the fields of old (status, id, from) for containers and images. timeNano is a number beyond 2^53: spliced in as text. */
export function renderEvent(event: EngineEvent): string {
  const old: Record<string, string> = {};
  if (event.Type === "container" || event.Type === "image") {
    old["status"] = event.Action;
    old["id"] = event.Actor.ID;
    if (event.Type === "container" && event.Actor.Attributes["image"]) old["from"] = event.Actor.Attributes["image"];
  }
  const text = JSON.stringify({
    ...old,
    Type: event.Type,
    Action: event.Action,
    Actor: event.Actor,
    scope: event.scope,
    time: event.time,
  });
  return `${text.slice(0, -1)},"timeNano":${event.timeNano}}`;
}
