import { readFileSync, renameSync, writeFileSync } from "node:fs";
import type { ProcessIdentity } from "./process-identity.js";

/** What is to be known of a running container after the engine's restart. */
export interface RunRecord {
  readonly identity: ProcessIdentity;
  readonly cgroupPath: string;
  readonly ipcShareable: boolean;
}

export function readRecord(path: string): RunRecord | undefined {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as RunRecord;
  } catch {
    return undefined;
  }
}

/** Whole or not at all: an engine killed in between leaves the old one. */
export function writeRecord(path: string, record: RunRecord): void {
  writeFileSync(`${path}.new`, JSON.stringify(record));
  renameSync(`${path}.new`, path);
}
