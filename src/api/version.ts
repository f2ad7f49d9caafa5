/** The newest API version that we answer in, and the oldest (docker 1.12's). docker CLI 28.2 asks for 1.50. */
export const API_VERSION = "1.50";
export const MIN_API_VERSION = "1.24";

/** "1.9" < "1.10": compares versions part by part, as numbers. */
export function compareVersions(a: string, b: string): number {
  const x = a.split(".").map(Number);
  const y = b.split(".").map(Number);
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    const d = (x[i] ?? 0) - (y[i] ?? 0);
    if (d !== 0) return d < 0 ? -1 : 1;
  }
  return 0;
}

/** Docker's refusal of a version prefix, or undefined when we speak it. */
export function versionRefusal(version: string): string | undefined {
  if (compareVersions(version, API_VERSION) > 0)
    return `client version ${version} is too new. Maximum supported API version is ${API_VERSION}`;
  if (compareVersions(version, MIN_API_VERSION) < 0)
    return `client version ${version} is too old. Minimum supported API version is ${MIN_API_VERSION}, please upgrade your client to a newer version`;
  return undefined;
}
