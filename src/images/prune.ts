import { refuse } from "../base/errors.js";
import { deleteImage, hasChildren, type Removal, type RemoveContext } from "./remove.js";
import type { IndexedImage, Snapshot } from "./storage-index.js";

/** `docker image prune`: dangling images, or with `all` every image that no container uses. */
export async function pruneImages(
  context: RemoveContext,
  options: {
    readonly all: boolean;
    readonly inUse: ReadonlySet<string>;
    readonly filters: Readonly<Record<string, readonly string[]>>;
  },
  now: Date,
): Promise<{ readonly deleted: readonly Removal[]; readonly spaceReclaimed: number }> {
  const matches = filterOf(options.filters, now);
  const before = layerBytes(await context.index.read());
  const deleted: Removal[] = [];
  // Children before their parents: repeated until a round deletes nothing.
  for (let round = 0; round < 1024; round++) {
    const snapshot = await context.index.read();
    const next = [...snapshot.images.values()].find(
      (found) =>
        !options.inUse.has(found.image.id) &&
        (options.all || found.names.length === 0) &&
        !hasChildren(snapshot, found.image.id) &&
        matches(found),
    );
    if (next === undefined) break;
    await deleteImage(context, snapshot, next, deleted);
  }
  return { deleted, spaceReclaimed: Math.max(0, before - layerBytes(await context.index.read())) };
}

/**
 * `docker builder prune`: nameless images from which others were made. Their layers live on in those others, so an image that was
 * built keeps all it needs, and only the next build starts from its first step. Resolves to the bytes freed.
 */
export async function pruneBuildSteps(context: RemoveContext, inUse: ReadonlySet<string>): Promise<number> {
  const snapshot = await context.index.read();
  for (const found of snapshot.images.values())
    if (
      found.names.length === 0 &&
      found.image.repoDigests.length === 0 &&
      !inUse.has(found.image.id) &&
      hasChildren(snapshot, found.image.id)
    )
      await deleteImage(context, snapshot, found, []);
  return Math.max(0, layerBytes(snapshot) - layerBytes(await context.index.read()));
}

function layerBytes(snapshot: Snapshot): number {
  let sum = 0;
  for (const layer of snapshot.layers.values()) sum += layer["diff-size"] ?? 0;
  return sum;
}

/** Filters `until`, `label`, `label!`; refusal 400 for others. */
function filterOf(filters: Readonly<Record<string, readonly string[]>>, now: Date): (found: IndexedImage) => boolean {
  for (const name of Object.keys(filters))
    if (!["dangling", "until", "label", "label!"].includes(name)) refuse(400, `invalid filter '${name}'`);
  const until = (filters.until ?? []).map((text) => instantOf(text, now));
  const hasLabel = (found: IndexedImage, text: string) => {
    const equal = text.indexOf("=");
    const value = found.image.config.Labels?.[equal < 0 ? text : text.slice(0, equal)];
    return value !== undefined && (equal < 0 || value === text.slice(equal + 1));
  };
  return (found) =>
    until.every((limit) => Date.parse(found.image.created) < limit) &&
    (filters.label ?? []).every((text) => hasLabel(found, text)) &&
    !(filters["label!"] ?? []).some((text) => hasLabel(found, text));
}

/** "24h", "10m30s", Unix seconds or RFC 3339 → milliseconds. */
function instantOf(text: string, now: Date): number {
  if (/^[0-9]+(\.[0-9]+)?$/.test(text)) return Number(text) * 1000;
  const units: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };
  if (/^(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h))+$/.test(text)) {
    let back = 0;
    for (const part of text.matchAll(/([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)/g)) back += Number(part[1]) * (units[part[2] ?? ""] ?? 0);
    return now.getTime() - back;
  }
  const instant = Date.parse(text);
  if (Number.isNaN(instant)) refuse(400, `failed to parse value as time or duration: ${JSON.stringify(text)}`);
  return instant;
}
