import { refuse } from "../base/errors.js";
import type { Filters } from "../engine/contract.js";
import { GoSyntaxError, parseFirstValue } from "./go-json.js";

/** Docker's BoolValue: everything but "", 0, no, false, none is true. */
export function queryBool(query: URLSearchParams, name: string): boolean {
  return !["", "0", "no", "false", "none"].includes((query.get(name) ?? "").trim().toLowerCase());
}

export function queryBoolOr(query: URLSearchParams, name: string, fallback: boolean): boolean {
  return query.has(name) && query.get(name) !== "" ? queryBool(query, name) : fallback;
}

/** An integer parameter, or undefined when absent or empty. 400 in strconv's words otherwise. */
export function queryInt(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === "" || text === "null" || text === "undefined") return undefined;
  if (!/^[+-]?[0-9]+$/.test(text)) refuse(400, `strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`);
  return Number(text);
}

/** `{"name":["x"]}` and the older `{"name":{"x":true}}`; 400 when a name is not in `accepted`. */
export function parseFilters(text: string | null, accepted: readonly string[] | undefined): Filters {
  if (text === null || text === "") return {};
  let value: unknown;
  try {
    value = parseFirstValue(text);
  } catch (error) {
    refuse(400, error instanceof GoSyntaxError ? error.message : "invalid filter");
  }
  if (value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) refuse(400, "invalid filter");
  const filters: Record<string, readonly string[]> = {};
  for (const [name, list] of Object.entries(value)) {
    if (accepted !== undefined && !accepted.includes(name)) refuse(400, `invalid filter '${name}'`);
    if (list === null) continue;
    if (Array.isArray(list)) filters[name] = list.map(String);
    else if (typeof list === "object")
      filters[name] = Object.entries(list)
        .filter(([, on]) => on !== false)
        .map(([v]) => v);
    else refuse(400, "invalid filter");
  }
  return filters;
}

/** No value given, or one of them satisfies `test`. */
export function anyOf(filters: Filters, name: string, test: (value: string) => boolean): boolean {
  const values = filters[name];
  return values === undefined || values.length === 0 || values.some(test);
}

/** Docker's filters.Match: equal, or matched as a regular expression. */
export function matches(pattern: string, source: string): boolean {
  if (pattern === source) return true;
  try {
    return new RegExp(pattern).test(source);
  } catch {
    return false;
  }
}

/** `key` or `key=value`, all of them. */
export function labelsMatch(wanted: readonly string[] | undefined, labels: Readonly<Record<string, string>>): boolean {
  return (wanted ?? []).every((w) => {
    const eq = w.indexOf("=");
    return eq < 0 ? w in labels : labels[w.slice(0, eq)] === w.slice(eq + 1);
  });
}

/** A boolean filter ("true"/"1"/"false"/"0"), undefined when it is not given. */
export function filterBool(filters: Filters, name: string): boolean | undefined {
  const values = filters[name];
  if (values === undefined || values.length === 0) return undefined;
  const kinds = new Set(
    values.map((v) => (["1", "true"].includes(v.toLowerCase()) ? 1 : ["0", "false"].includes(v.toLowerCase()) ? 0 : 2)),
  );
  if (kinds.has(2) || kinds.size > 1) refuse(400, `invalid filter '${name}=${JSON.stringify(values).replaceAll(",", " ")}'`);
  return kinds.has(1);
}
