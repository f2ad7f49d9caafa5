import type { Refusal } from "../base/errors.js";
import { refusal } from "../base/errors.js";
import { fail, ok, type Result } from "../base/result.js";
import type { ImageRuntimeConfig } from "../model/container.js";
import { shellWords, splitWords } from "./dockerfile-words.js";

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** The instructions that `docker import --change` and `docker commit --change` accept. */
const allowed = new Set([
  ...["CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"],
]);

const none: ReadonlyMap<string, string> = new Map();

/**
 * Applies `--change` lines to a config. Errors in Docker's words, status 400. `args` are variables besides those of the config's
 * environment, which go before them.
 */
export function applyChanges(
  base: ImageRuntimeConfig,
  changes: readonly string[],
  args = none,
): Result<ImageRuntimeConfig, Refusal> {
  let config: ImageRuntimeConfig = base;
  for (const line of changes.flatMap((change) => change.split("\n"))) {
    const text = line.trim();
    if (text === "" || text.startsWith("#")) continue;
    const space = text.search(/\s/);
    const keyword = (space < 0 ? text : text.slice(0, space)).toUpperCase();
    const rest = space < 0 ? "" : text.slice(space).trim();
    if (!allowed.has(keyword)) {
      const known = /^(ADD|ARG|COPY|FROM|MAINTAINER|RUN|SHELL)$/.test(keyword);
      const message = known ? `${keyword} is not a valid change command` : `unknown instruction: ${keyword}`;
      return fail(refusal(400, message));
    }
    const next = applyInstruction(config, keyword, rest, args);
    if (!next.ok) return next;
    config = next.value;
  }
  return ok(config);
}

function applyInstruction(
  config: ImageRuntimeConfig,
  keyword: string,
  rest: string,
  args: ReadonlyMap<string, string>,
): Result<ImageRuntimeConfig, Refusal> {
  const next: Mutable<ImageRuntimeConfig> = { ...config };
  const bad = (message: string) => fail(refusal(400, message));
  const needs = (count: string) => bad(`${keyword} requires ${count}`);
  const variables = new Map([...args, ...environmentOf(config.Env ?? [])]);
  const expand = (text: string) => shellWords(text, variables);
  switch (keyword) {
    case "CMD":
    case "ENTRYPOINT": {
      const words = jsonWords(rest) ?? (rest === "" ? [] : [...(config.Shell ?? ["/bin/sh", "-c"]), rest]);
      if (keyword === "CMD") next.Cmd = words;
      else {
        next.Entrypoint = words;
        // Docker forgets an inherited CMD when the ENTRYPOINT changes in a build; in --change it keeps it.
      }
      return ok(next);
    }
    case "ENV": {
      const pairs = keyValues(rest);
      if (!pairs.ok) return bad(pairs.error === "" ? "ENV requires at least one argument" : pairs.error);
      next.Env = mergeEnv(
        config.Env ?? [],
        pairs.value.map(([key, value]) => `${expand(key)}=${expand(value)}`),
      );
      return ok(next);
    }
    case "LABEL": {
      const pairs = keyValues(rest);
      if (!pairs.ok) return bad(pairs.error === "" ? "LABEL requires at least one argument" : pairs.error);
      next.Labels = { ...config.Labels, ...Object.fromEntries(pairs.value.map(([key, value]) => [expand(key), expand(value)])) };
      return ok(next);
    }
    case "EXPOSE": {
      const words = splitWords(rest).map(expand);
      if (words.length === 0) return needs("at least one argument");
      const ports: Record<string, object> = { ...config.ExposedPorts };
      for (const word of words) {
        const parsed = parseExpose(word);
        if (!parsed.ok) return parsed;
        for (const port of parsed.value) ports[port] = {};
      }
      next.ExposedPorts = ports;
      return ok(next);
    }
    case "VOLUME": {
      const words = (jsonWords(rest) ?? splitWords(rest)).map(expand);
      if (words.length === 0) return needs("at least one argument");
      if (words.some((word) => word.trim() === "")) return bad("VOLUME specified can not be an empty string");
      next.Volumes = { ...config.Volumes, ...Object.fromEntries(words.map((word) => [word, {}])) };
      return ok(next);
    }
    case "USER":
    case "STOPSIGNAL":
    case "WORKDIR": {
      if (rest === "" || (keyword !== "WORKDIR" && splitWords(rest).length !== 1)) return needs("exactly one argument");
      const value = expand(rest);
      if (keyword === "USER") next.User = value;
      else if (keyword === "STOPSIGNAL") next.StopSignal = value;
      else next.WorkingDir = value.startsWith("/") ? value : `${(config.WorkingDir || "/").replace(/\/$/, "")}/${value}`;
      return ok(next);
    }
    case "ONBUILD": {
      if (rest === "") return needs("at least one argument");
      const trigger = (splitWords(rest)[0] ?? "").toUpperCase();
      if (trigger === "ONBUILD") return bad("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
      if (trigger === "FROM" || trigger === "MAINTAINER") return bad(`${trigger} isn't allowed as an ONBUILD trigger`);
      next.OnBuild = [...(config.OnBuild ?? []), rest];
      return ok(next);
    }
    case "HEALTHCHECK": {
      const health = parseHealthcheck(rest);
      if (!health.ok) return health;
      next.Healthcheck = health.value;
      return ok(next);
    }
    default:
      return bad(`unknown instruction: ${keyword}`);
  }
}

/** `["a","b"]` → words; undefined when it is no JSON array of strings (then it is the shell form). */
export function jsonWords(text: string): string[] | undefined {
  if (!text.trimStart().startsWith("[")) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) && value.every((word) => typeof word === "string") ? (value as string[]) : undefined;
  } catch {
    return undefined;
  }
}

/** "80", "80/udp", "7000-7002/tcp" → ["80/tcp"] …; Docker's (go-connections') error texts. */
export function parseExpose(word: string): Result<readonly string[], Refusal> {
  const slash = word.indexOf("/");
  const ports = slash < 0 ? word : word.slice(0, slash);
  const protocol = (slash < 0 ? "" : word.slice(slash + 1)).toLowerCase() || "tcp";
  // The part before the last colon would be an address or a host port; EXPOSE keeps the container's port only.
  const container = ports.slice(ports.lastIndexOf(":") + 1);
  if (container === "") return fail(refusal(400, `No port specified: ${word}<empty>`));
  const range = /^([0-9]+)(?:-([0-9]+))?$/.exec(container);
  const first = Number(range?.[1]);
  const last = Number(range?.[2] ?? range?.[1]);
  if (range === null || first > 65535 || last > 65535 || last < first)
    return fail(refusal(400, `Invalid containerPort: ${container}`));
  if (!["tcp", "udp", "sctp"].includes(protocol)) return fail(refusal(400, `Invalid proto: ${protocol}`));
  return ok(Array.from({ length: last - first + 1 }, (_, i) => `${first + i}/${protocol}`));
}

/** `a=b "c d"=e` or the old `KEY value with spaces`. Values still carry their quotes for `shellWords`. */
function keyValues(rest: string): Result<readonly (readonly [string, string])[], string> {
  const words = splitWords(rest);
  const first = words[0];
  if (first === undefined) return fail("");
  if (!first.includes("=")) {
    const gap = rest.search(/\s/);
    if (gap < 0) return fail(`Syntax error - can't find = in ${JSON.stringify(first)}. Must be of the form: name=value`);
    return ok([[rest.slice(0, gap), rest.slice(gap).trim()]]);
  }
  const pairs: (readonly [string, string])[] = [];
  for (const word of words) {
    const equal = word.indexOf("=");
    if (equal < 0) return fail(`Syntax error - can't find = in ${JSON.stringify(word)}. Must be of the form: name=value`);
    pairs.push([word.slice(0, equal), word.slice(equal + 1)]);
  }
  return ok(pairs);
}

export function environmentOf(env: readonly string[]): ReadonlyMap<string, string> {
  return new Map(
    env.map((entry) => {
      const equal = entry.indexOf("=");
      return equal < 0 ? [entry, ""] : [entry.slice(0, equal), entry.slice(equal + 1)];
    }),
  );
}

/** Later entries replace earlier ones of the same name, in the earlier one's place. */
export function mergeEnv(base: readonly string[], more: readonly string[]): string[] {
  const out = [...base];
  for (const entry of more) {
    const key = entry.slice(0, entry.indexOf("=") + 1);
    const at = out.findIndex((present) => present.startsWith(key));
    if (at < 0) out.push(entry);
    else out[at] = entry;
  }
  return out;
}

function parseHealthcheck(rest: string): Result<NonNullable<ImageRuntimeConfig["Healthcheck"]>, Refusal> {
  const bad = (message: string) => fail(refusal(400, message));
  const health: Mutable<NonNullable<ImageRuntimeConfig["Healthcheck"]>> = {};
  let text = rest;
  for (let flag = /^--([a-z-]+)=(\S+)\s*/.exec(text); flag !== null; flag = /^--([a-z-]+)=(\S+)\s*/.exec(text)) {
    const value = flag[2] ?? "";
    const nanoseconds = parseDuration(value);
    if (flag[1] === "retries") health.Retries = Number.parseInt(value, 10);
    else if (nanoseconds === undefined) return bad(`time: invalid duration ${JSON.stringify(value)}`);
    else if (flag[1] === "interval") health.Interval = nanoseconds;
    else if (flag[1] === "timeout") health.Timeout = nanoseconds;
    else if (flag[1] === "start-period") health.StartPeriod = nanoseconds;
    else return bad(`Unknown flag: ${flag[1]}`);
    text = text.slice(flag[0].length);
  }
  const space = text.search(/\s/);
  const type = (space < 0 ? text : text.slice(0, space)).toUpperCase();
  const command = space < 0 ? "" : text.slice(space).trim();
  if (type === "NONE") return command === "" ? ok({ Test: ["NONE"] }) : bad("HEALTHCHECK NONE takes no arguments");
  if (type !== "CMD") return bad(`Unknown type ${JSON.stringify(type)} in HEALTHCHECK (try CMD)`);
  if (command === "") return bad("Missing command after HEALTHCHECK CMD");
  const words = jsonWords(command);
  health.Test = words === undefined ? ["CMD-SHELL", command] : ["CMD", ...words];
  return ok(health);
}

/** Go's durations: "1m30s" → nanoseconds. */
function parseDuration(text: string): number | undefined {
  const units: Record<string, number> = { ns: 1, us: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 };
  let total = 0;
  let rest = text;
  while (rest !== "") {
    const part = /^([0-9]+(?:\.[0-9]+)?)(ns|us|ms|s|m|h)/.exec(rest);
    if (part === null) return undefined;
    total += Number(part[1]) * (units[part[2] ?? ""] ?? 0);
    rest = rest.slice(part[0].length);
  }
  return text === "" ? undefined : Math.round(total);
}
