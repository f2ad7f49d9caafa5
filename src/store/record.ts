import { crc32 } from "node:zlib";
import type { Change, RecordKind } from "../model/state.js";
import { packPorts, unpackPorts } from "./port-runs.js";

/** Raised when a record's shape changes; a record with another number is reported as damaged, never guessed at. */
export const SCHEMA_VERSION = 1;

const kinds: Readonly<Record<RecordKind, true>> = {
  network: true,
  endpoint: true,
  sandbox: true,
  container: true,
  volume: true,
  meta: true,
};

export const recordKey = (change: { readonly kind: RecordKind; readonly id: string }): string => `${change.kind}/${change.id}`;

/** One line: schema version, CRC-32 of the JSON as 8 hex digits, the JSON. Readable with any LevelDB tool. */
export function encodeRecord(value: unknown): string {
  const json = JSON.stringify(value);
  return `${SCHEMA_VERSION} ${checksum(json)} ${json}`;
}

/** What is kept of a change that puts a record. */
export const recordText = (change: Change): string =>
  encodeRecord(change.kind === "container" && change.value !== undefined ? packPorts(change.value) : change.value);

/** The change that puts this record, or a sentence that says what is wrong with it. */
export function decodeRecord(key: string, text: string): Change | string {
  const slash = key.indexOf("/");
  const kind = key.slice(0, slash);
  const id = key.slice(slash + 1);
  if (slash < 0 || !Object.hasOwn(kinds, kind) || id === "") return `${JSON.stringify(key)}: unknown kind of record`;
  const match = /^([0-9]+) ([0-9a-f]{8}) /.exec(text);
  if (match === null) return `${key}: not a record`;
  if (Number(match[1]) !== SCHEMA_VERSION) return `${key}: schema version ${match[1]}, this engine knows ${SCHEMA_VERSION}`;
  const json = text.slice(match[0].length);
  if (checksum(json) !== match[2]) return `${key}: checksum mismatch`;
  try {
    const change = { kind: kind as RecordKind, id, value: JSON.parse(json) } as Change;
    return change.kind === "container" && change.value !== undefined ? { ...change, value: unpackPorts(change.value) } : change;
  } catch {
    return `${key}: not JSON`;
  }
}

const checksum = (json: string): string => crc32(json).toString(16).padStart(8, "0");
