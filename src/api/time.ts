/** RFC 3339 with up to nine decimals → nanoseconds since 1970. Container ages are compared at this precision. */
export function timeNanos(text: string): bigint {
  const m = /^(.*T\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(text);
  if (m === null) return 0n;
  const seconds = Date.parse(`${m[1]}${m[3]}`) / 1000;
  return Number.isNaN(seconds) ? 0n : BigInt(seconds) * 1_000_000_000n + BigInt((m[2] ?? "").padEnd(9, "0"));
}

/** Whole seconds since 1970, as container lists print. */
export function unixSeconds(text: string): number {
  return Number(timeNanos(text) / 1_000_000_000n);
}

export const neverHappened = (text: string): boolean => text === "" || text.startsWith("0001-01-01");

/** Newest first. */
export function byCreatedDescending(a: { readonly created: string }, b: { readonly created: string }): number {
  const x = timeNanos(a.created);
  const y = timeNanos(b.created);
  return x === y ? 0 : x < y ? 1 : -1;
}

/** "5 seconds", "About a minute", "3 weeks": the wording of docker ps. `ms` in milliseconds. */
export function humanDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 1) return "Less than a second";
  if (seconds === 1) return "1 second";
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.floor(seconds / 60);
  if (minutes === 1) return "About a minute";
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.floor(seconds / 3600 + 0.5);
  if (hours === 1) return "About an hour";
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.floor(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(hours / 24 / 30)} months`;
  return `${Math.floor(seconds / 3600 / 24 / 365)} years`;
}

/** Time arguments of logs and events: Unix seconds with a fraction, or RFC 3339. Nanoseconds, undefined when not given. */
export function parseTimeArgument(text: string | null): bigint | undefined {
  if (text === null || text === "" || text === "0") return undefined;
  const m = /^(\d+)(?:\.(\d{1,9}))?$/.exec(text);
  if (m !== null) return BigInt(m[1]!) * 1_000_000_000n + BigInt((m[2] ?? "").padEnd(9, "0"));
  const nanos = timeNanos(text);
  if (nanos !== 0n) return nanos;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : BigInt(ms) * 1_000_000n;
}
