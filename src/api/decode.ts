import { z } from "zod";
import { refuse } from "../base/errors.js";
import { GoSyntaxError, parseFirstValue } from "./go-json.js";

const handChecks = new WeakMap<z.ZodType, (value: unknown) => boolean>();

/**
 * For a map that may have ten thousand entries: it is taken as it is, the schema left out, if all of its values are plainly right. The schema
 * is for the others, and for the texts of errors.
 */
export function checkedByHand<T extends z.ZodType>(schema: T, plain: (value: unknown) => boolean): T {
  handChecks.set(schema, plain);
  return schema;
}

/** Building blocks of request bodies. Go takes null and a missing field for the zero value; so do these. */
export const str = z.string().nullish();
export const bool = z.boolean().nullish();
export const int = z.int().nullish();
export const strings = z.array(z.string()).nullish();
export const stringMap = z.record(z.string(), z.string()).nullish();
export const setOfKeys = checkedByHand(
  z.record(z.string(), z.looseObject({}).nullable()).nullish(),
  (value) => value === null || (typeof value === "object" && !Array.isArray(value) && Object.keys(value as object).length === 0),
);
/** Docker's strslice: a string is a list of one. */
export const strslice = z
  .union([z.string(), z.array(z.string())])
  .nullish()
  .transform((v) => (typeof v === "string" ? [v] : v));

/**
 * A request body as `schema` says. `struct` is the name of Docker's Go type, for the texts of errors:
 * 400 "json: cannot unmarshal number into Go struct field NetworkCreate.Name of type string".
 */
export function decode<T extends z.ZodType>(schema: T, struct: string, text: string): z.output<T> {
  if (text.trim() === "") refuse(400, "got EOF while reading request body");
  let value: unknown;
  try {
    value = parseFirstValue(text);
  } catch (error) {
    if (error instanceof GoSyntaxError) refuse(400, error.message);
    throw error;
  }
  return decodeValue(schema, struct, value);
}

/** As `decode`, from a value that is parsed already. */
export function decodeValue<T extends z.ZodType>(schema: T, struct: string, value: unknown): z.output<T> {
  if (value !== null && (typeof value !== "object" || Array.isArray(value)))
    refuse(400, `json: cannot unmarshal ${goKind(value)} into Go value of type types.${struct}`);
  const checked: Checked[] = [];
  const result = schema.safeParse(foldKeys(schema, value ?? {}, checked));
  if (result.success) {
    for (const { path, map } of checked) {
      const parent = path
        .slice(0, -1)
        .reduce((v, key) => v[key] as Record<string, unknown>, result.data as Record<string, unknown>);
      parent[path.at(-1)!] = map;
    }
    return result.data;
  }
  const issue = firstIssue(result.error.issues[0]!);
  const field = issue.path.filter((p) => typeof p === "string").join(".");
  refuse(
    400,
    `json: cannot unmarshal ${goKind(at(value, issue.path))} into Go struct field ${struct}.${field} of type ${goType(issue)}`,
    field,
  );
}

/** A map that needs no schema, and where it belongs. */
interface Checked {
  readonly path: readonly string[];
  readonly map: object;
}

function needsSchema(schema: z.ZodType, value: unknown): value is null {
  const plain = handChecks.get(schema);
  if (plain === undefined || typeof value !== "object" || value === null || Array.isArray(value)) return true;
  for (const key of Object.keys(value)) if (!plain((value as Record<string, unknown>)[key])) return true;
  return false;
}

/** Go matches the names of fields without regard to case. Only names that our schema knows are put right. Undefined `path`: inside a list. */
function foldKeys(schema: z.ZodType, value: unknown, checked: Checked[], path: readonly string[] | undefined = []): unknown {
  let inner: z.ZodType = schema;
  while (inner instanceof z.ZodOptional || inner instanceof z.ZodNullable) inner = inner.unwrap() as z.ZodType;
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) {
    const element = inner instanceof z.ZodArray ? (inner.element as z.ZodType) : undefined;
    return element === undefined ? value : value.map((v) => foldKeys(element, v, checked, undefined));
  }
  if (inner instanceof z.ZodRecord) {
    const valueType = inner.valueType as z.ZodType;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, foldKeys(valueType, v, checked, undefined)]));
  }
  if (!(inner instanceof z.ZodObject)) return value;
  const shape = inner.shape as Record<string, z.ZodType>;
  const lower = new Map(Object.keys(shape).map((k) => [k.toLowerCase(), k]));
  const out: Record<string, unknown> = {};
  for (const [key, v] of Object.entries(value)) {
    const known = key in shape ? key : lower.get(key.toLowerCase());
    if (known === undefined) out[key] = v;
    else if (path === undefined || needsSchema(shape[known]!, v))
      out[known] = foldKeys(shape[known]!, v, checked, path === undefined ? undefined : [...path, known]);
    else checked.push({ path: [...path, known], map: v });
  }
  return out;
}

type Issue = z.core.$ZodIssue;

/** The issue inside a union that is about the member of the right outer kind (a list with a wrong element). */
function firstIssue(issue: Issue): Issue {
  if (issue.code !== "invalid_union") return issue;
  const inner = issue.errors.map((list) => list[0]).find((i) => i !== undefined && i.path.length > 0) ?? issue.errors[0]?.[0];
  return inner === undefined ? issue : { ...inner, path: [...issue.path, ...inner.path] };
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  let v = value;
  for (const key of path) {
    if (v === null || typeof v !== "object") return undefined;
    const record = v as Record<PropertyKey, unknown>;
    const folded = typeof key === "string" ? Object.keys(record).find((k) => k.toLowerCase() === key.toLowerCase()) : undefined;
    v = record[folded ?? key];
  }
  return v;
}

function goKind(value: unknown): string {
  if (Array.isArray(value)) return "array";
  if (value === null || value === undefined) return "null";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "number") return Number.isInteger(value) ? "number" : `number ${value}`;
  return typeof value === "string" ? "string" : "object";
}

function goType(issue: Issue): string {
  const names: Record<string, string> = {
    string: "string",
    boolean: "bool",
    number: "int",
    int: "int",
    array: "[]string",
    record: "map[string]string",
    object: "object",
  };
  return issue.code === "invalid_type" ? (names[issue.expected] ?? issue.expected) : "string";
}
