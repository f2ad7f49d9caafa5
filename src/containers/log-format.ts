import type { OutputChunk } from "./contract.js";

/**
 * conmon's k8s-file: one record per line, "<time> <stream> <F|P> <text>\n", where time is RFC 3339 with nanoseconds (in UTC, as conmon
 * is started with TZ=UTC), F ends a line of the process, P does not (longer than conmon's buffer, or no newline at the end).
 */
export interface LogRecord {
  /** "2024-01-31T10:00:00.123456789Z" */
  readonly time: string;
  readonly stream: "stdout" | "stderr";
  readonly partial: boolean;
  readonly text: Buffer;
}

/** `line` is without its newline. Undefined for what is no record (cut off by a crash). */
export function parseRecord(line: Buffer): LogRecord | undefined {
  const first = line.indexOf(32);
  const second = line.indexOf(32, first + 1);
  const third = line.indexOf(32, second + 1);
  if (first < 0 || second < 0 || third < 0) return undefined;
  const stream = line.toString("latin1", first + 1, second);
  const tag = line.toString("latin1", second + 1, third);
  if ((stream !== "stdout" && stream !== "stderr") || (tag !== "F" && tag !== "P")) return undefined;
  return { time: utc(line.toString("latin1", 0, first)), stream, partial: tag === "P", text: line.subarray(third + 1) };
}

function utc(time: string): string {
  if (time.endsWith("+00:00")) return `${time.slice(0, -6)}Z`;
  if (time.endsWith("Z")) return time;
  const fraction = /\.(\d+)/.exec(time)?.[1] ?? "0";
  const seconds = new Date(time);
  if (Number.isNaN(seconds.getTime())) return time;
  return `${seconds.toISOString().slice(0, 19)}.${fraction.padEnd(9, "0")}Z`;
}

/** Seconds since 1970 of a record's time, to the microsecond or so (a double). */
export function timeSeconds(time: string): number {
  const fraction = /\.(\d+)Z$/.exec(time)?.[1];
  const whole = Date.parse(`${time.slice(0, 19)}Z`) / 1000;
  return fraction === undefined ? whole : whole + Number(`0.${fraction}`);
}

const newline = Buffer.from("\n");

/** Gives records back as the process wrote them; with timestamps, one before each line. */
export class LogRenderer {
  readonly #timestamps: boolean;
  readonly #inLine = { stdout: false, stderr: false };

  constructor(timestamps: boolean) {
    this.#timestamps = timestamps;
  }

  render(record: LogRecord): OutputChunk {
    const parts: Buffer[] = [];
    if (this.#timestamps && !this.#inLine[record.stream]) parts.push(Buffer.from(`${record.time} `));
    parts.push(record.text);
    if (!record.partial) parts.push(newline);
    this.#inLine[record.stream] = record.partial;
    return { stream: record.stream, data: Buffer.concat(parts) };
  }
}
