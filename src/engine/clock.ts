import { randomBytes } from "node:crypto";

const base = BigInt(Date.now()) * 1_000_000n - process.hrtime.bigint();

/** Nanoseconds since the epoch; strictly growing within one process, so that events keep their order. */
let last = 0n;
export function nowNanos(): bigint {
  // The wall clock may have been set since the start: more than a second off, and it wins.
  const wall = BigInt(Date.now()) * 1_000_000n;
  let nanos = base + process.hrtime.bigint();
  if (nanos - wall > 1_000_000_000n || wall - nanos > 1_000_000_000n) nanos = wall;
  last = nanos > last ? nanos : last + 1n;
  return last;
}

/** RFC 3339 in UTC with nine decimals, as Docker prints times. */
export function nanosToText(nanos: bigint): string {
  const seconds = nanos / 1_000_000_000n;
  const fraction = (nanos % 1_000_000_000n).toString().padStart(9, "0");
  return `${new Date(Number(seconds) * 1000).toISOString().slice(0, 19)}.${fraction}Z`;
}

export const nowText = (): string => nanosToText(nowNanos());

/** 64 hex digits. The short form (12) never reads as a number: `docker stop 123456789012` must not be ambiguous in YAML. */
export function newId(): string {
  for (;;) {
    const id = randomBytes(32).toString("hex");
    if (/[a-f]/.test(id.slice(0, 12)) && !/^[0-9]+e[0-9]+$/.test(id.slice(0, 12))) return id;
  }
}
