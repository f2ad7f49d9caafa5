import type { EngineEvent, Filters } from "../engine/contract.js";
import { anyOf, labelsMatch } from "./query.js";

export const acceptedEventFilters = [
  "config",
  "container",
  "daemon",
  "event",
  "id",
  "image",
  "label",
  "network",
  "node",
  "plugin",
  "scope",
  "secret",
  "service",
  "type",
  "volume",
];

/** Does Docker show this event under these filters? Objects are named by id, id prefix or name. */
export function eventMatches(event: EngineEvent, filters: Filters): boolean {
  const object = (type: EngineEvent["Type"]) =>
    anyOf(filters, type, (v) => event.Type === type && (event.Actor.ID.startsWith(v) || event.Actor.Attributes["name"] === v));
  return (
    anyOf(filters, "event", (v) => event.Action === v || event.Action.startsWith(`${v}:`)) &&
    anyOf(filters, "type", (v) => event.Type === v) &&
    anyOf(filters, "scope", (v) => event.scope === v) &&
    object("container") &&
    object("network") &&
    object("volume") &&
    object("daemon") &&
    anyOf(filters, "image", (v) => imageMatches(event, v)) &&
    anyOf(filters, "id", (v) => event.Actor.ID === v) &&
    labelsMatch(filters["label"], event.Actor.Attributes) &&
    noneOf(filters, ["config", "node", "plugin", "secret", "service"])
  );
}

/** Things that this engine has none of: a filter for one of them lets nothing through. */
function noneOf(filters: Filters, names: readonly string[]): boolean {
  return names.every((name) => (filters[name]?.length ?? 0) === 0);
}

function imageMatches(event: EngineEvent, wanted: string): boolean {
  const names =
    event.Type === "image" ? [event.Actor.ID, event.Actor.Attributes["name"] ?? ""] : [event.Actor.Attributes["image"] ?? ""];
  const bare = (name: string) => name.replace(/:[^/:]*$/, "");
  return names.some((n) => n !== "" && (n === wanted || bare(n) === bare(wanted)));
}
