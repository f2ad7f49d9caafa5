import { type Refusal, refusal } from "../base/errors.js";
import { fail, ok, type Result } from "../base/result.js";
import { parseGoBool } from "./bridge-options.js";
import { endpointsOfNetwork, type ModelState } from "./indexes.js";
import type { Network } from "./network.js";

/** A network by name, id or unique id prefix, in Docker's order: whole id, name, prefix. */
export function resolveNetwork(state: ModelState, ref: string): Result<Network, Refusal> {
  const whole = state.networks.get(ref);
  if (whole !== undefined) return ok(whole);
  const named = [...(state.index.networksByName.get(ref) ?? [])];
  if (named.length > 1) return fail(refusal(400, `network ${ref} is ambiguous (${named.length} matches found based on name)`));
  if (named.length === 1) return ok(state.networks.get(named[0]!)!);
  if (/^[0-9a-f]+$/.test(ref)) {
    const matches = [...state.networks.values()].filter((n) => n.id.startsWith(ref));
    if (matches.length > 1)
      return fail(refusal(400, `network ${ref} is ambiguous (${matches.length} matches found based on ID prefix)`));
    if (matches.length === 1) return ok(matches[0]!);
  }
  return fail(refusal(404, `network ${ref} not found`));
}

/** `docker network ls` order: by name. */
export function listNetworks(state: ModelState): readonly Network[] {
  return [...state.networks.values()].sort((a, b) =>
    a.name < b.name ? -1 : a.name > b.name ? 1 : a.created < b.created ? -1 : 1,
  );
}

type Filters = Readonly<Record<string, readonly string[]>>;

const LIST_FILTERS = ["driver", "id", "label", "name", "scope", "type", "dangling"];
const PRUNE_FILTERS = ["label", "label!", "until"];

/** The networks that pass all filters; values of one filter are alternatives, except labels, which must all be there. */
export function filterNetworks(state: ModelState, filters: Filters): Result<readonly Network[], Refusal> {
  for (const key of Object.keys(filters)) if (!LIST_FILTERS.includes(key)) return fail(refusal(400, `Invalid filter '${key}'`));
  for (const type of filters["type"] ?? [])
    if (type !== "custom" && type !== "builtin") return fail(refusal(400, `Invalid filter: 'type'='${type}'`));
  const dangling = (filters["dangling"] ?? []).map((text) => parseGoBool(text));
  if (dangling.includes(undefined) || new Set(dangling).size > 1)
    return fail(refusal(400, `Invalid filter 'dangling=[${(filters["dangling"] ?? []).join(" ")}]'`));
  return ok(listNetworks(state).filter((n) => matches(state, n, filters, dangling[0])));
}

function matches(state: ModelState, n: Network, filters: Filters, dangling: boolean | undefined): boolean {
  const any = (key: string, test: (value: string) => boolean) => !filters[key]?.length || filters[key]!.some(test);
  return (
    any("driver", (v) => v === n.driver) &&
    any("id", (v) => n.id.startsWith(v) || matchesPattern(n.id, v)) &&
    any("name", (v) => matchesPattern(n.name, v)) &&
    any("scope", (v) => v === n.scope || (v === "swarm" && n.scope === "global")) &&
    any("type", (v) => (v === "builtin") === n.predefined) &&
    (filters["label"] ?? []).every((v) => hasLabel(n.labels, v)) &&
    (dangling === undefined || dangling === isDangling(state, n))
  );
}

const isDangling = (state: ModelState, n: Network): boolean => !n.predefined && endpointsOfNetwork(state, n.id).size === 0;

/** Docker takes name filters as regular expressions, "^bridge$"; one that does not compile is taken as plain text. */
function matchesPattern(text: string, pattern: string): boolean {
  try {
    return new RegExp(pattern).test(text);
  } catch {
    return text.includes(pattern);
  }
}

/** "key" or "key=value" */
export function hasLabel(labels: Readonly<Record<string, string>>, wanted: string): boolean {
  const eq = wanted.indexOf("=");
  const key = eq < 0 ? wanted : wanted.slice(0, eq);
  return Object.hasOwn(labels, key) && (eq < 0 || labels[key] === wanted.slice(eq + 1));
}

/**
 * What `network prune` removes: user-made, without a running container. `until` is RFC 3339, Unix seconds, or a Go duration
 * ("24h") before `nowMs` (milliseconds since 1970).
 */
export function pruneSelection(state: ModelState, filters: Filters, nowMs: number): Result<readonly Network[], Refusal> {
  for (const key of Object.keys(filters)) if (!PRUNE_FILTERS.includes(key)) return fail(refusal(400, `Invalid filter '${key}'`));
  const untils = filters["until"] ?? [];
  if (untils.length > 1) return fail(refusal(400, "more than one until filter specified"));
  const until = untils[0] === undefined ? undefined : untilMs(untils[0], nowMs);
  if (untils[0] !== undefined && until === undefined) return fail(refusal(400, `failed to parse until timestamp: ${untils[0]}`));
  return ok(
    listNetworks(state).filter(
      (n) =>
        isDangling(state, n) &&
        n.driver !== "host" &&
        n.driver !== "null" &&
        (until === undefined || Date.parse(n.created) <= until) &&
        (filters["label"] ?? []).every((v) => hasLabel(n.labels, v)) &&
        !(filters["label!"] ?? []).some((v) => hasLabel(n.labels, v)),
    ),
  );
}

const UNIT_MS: Record<string, number> = { ns: 1e-6, us: 1e-3, ms: 1, s: 1e3, m: 6e4, h: 3.6e6 };

function untilMs(text: string, nowMs: number): number | undefined {
  if (/^[0-9]+(\.[0-9]+)?$/.test(text)) return Number(text) * 1000;
  if (/^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$/.test(text)) {
    let total = 0;
    for (const [, amount, , unit] of text.matchAll(/([0-9]+(\.[0-9]+)?)(ns|us|ms|s|m|h)/g))
      total += Number(amount) * UNIT_MS[unit!]!;
    return nowMs - total;
  }
  const at = Date.parse(text);
  return Number.isNaN(at) ? undefined : at;
}
