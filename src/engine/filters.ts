import { refuse } from "../base/errors.js";
import type { Filters } from "./contract.js";

/** `label` and `label!` filters: "key" or "key=value", all of them (for `label!`: none of them). */
export function labelsMatch(labels: Readonly<Record<string, string>>, filters: Filters): boolean {
  const has = (wanted: string) => {
    const equals = wanted.indexOf("=");
    return equals < 0 ? Object.hasOwn(labels, wanted) : labels[wanted.slice(0, equals)] === wanted.slice(equals + 1);
  };
  return (filters.label ?? []).every(has) && !(filters["label!"] ?? []).some(has);
}

/** The `until` filter of prune: milliseconds since the epoch, from a Go duration ("10m", "1h30m"), a Unix time or an RFC 3339 time. */
export function untilOf(filters: Filters, nowMs: number): number | undefined {
  const values = filters.until ?? [];
  if (values.length === 0) return undefined;
  if (values.length > 1) refuse(400, "more than one until filter specified");
  const text = values[0]!;
  if (/^[0-9]+(\.[0-9]+)?$/.test(text)) return Number(text) * 1000;
  const units: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1000, ms: 1 };
  if (/^([0-9.]+(h|ms|m|s))+$/.test(text)) {
    let ago = 0;
    for (const [, number, unit] of text.matchAll(/([0-9.]+)(h|ms|m|s)/g)) ago += Number(number) * units[unit!]!;
    return nowMs - ago;
  }
  const time = Date.parse(text);
  if (Number.isNaN(time)) refuse(400, `invalid filter 'until=${text}'`);
  return time;
}

export function onlyKnown(filters: Filters, known: readonly string[]): void {
  for (const name of Object.keys(filters)) if (!known.includes(name)) refuse(400, `invalid filter '${name}'`);
}
