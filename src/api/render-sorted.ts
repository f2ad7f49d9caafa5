/** Go prints the keys of its maps in order; so do we, to be comparable with Docker's answers byte by byte. */
export function sorted<T>(map: Readonly<Record<string, T>> | null | undefined): Record<string, T> {
  const out: Record<string, T> = {};
  for (const key of Object.keys(map ?? {}).sort(byBytes)) out[key] = map![key]!;
  return out;
}

/** As `sorted`, but absent stays null. */
export function sortedOrNull<T>(map: Readonly<Record<string, T>> | null | undefined): Record<string, T> | null {
  return map === null || map === undefined ? null : sorted(map);
}

export const byBytes = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
