import { orRefuse, refuse } from "../base/errors.js";
import type { Image } from "./contract.js";
import { canonicalName, familiarName, parseReference, repositoryOf } from "./reference.js";
import type { IndexedImage, Snapshot } from "./storage-index.js";

/**
 * An image by name, "name@sha256:…", id ("sha256:…" or bare hex) or an unambiguous id prefix, in Docker's order: names first.
 * Refusal 400 for text that is neither a name nor an id.
 */
export function findImage(snapshot: Snapshot, ref: string): IndexedImage | undefined {
  const hex = /^(?:sha256:)?([0-9a-f]{1,64})$/.exec(ref)?.[1];
  if (hex !== undefined && (ref.startsWith("sha256:") || hex.length === 64)) return byPrefix(snapshot, hex);
  const reference = orRefuse(parseReference(ref));
  const id = snapshot.byName.get(canonicalName(reference));
  if (id !== undefined) return snapshot.images.get(id);
  return hex === undefined ? undefined : byPrefix(snapshot, hex);
}

function byPrefix(snapshot: Snapshot, hex: string): IndexedImage | undefined {
  const exact = snapshot.images.get(hex);
  if (exact !== undefined) return exact;
  let found: IndexedImage | undefined;
  for (const [id, image] of snapshot.images) {
    if (!id.startsWith(hex)) continue;
    if (found !== undefined) return undefined;
    found = image;
  }
  return found;
}

/** Refusal 404 "No such image: nosuch:latest" */
export function getImage(snapshot: Snapshot, ref: string): IndexedImage {
  const found = findImage(snapshot, ref);
  if (found !== undefined) return found;
  return refuse(404, `No such image: ${displayName(ref)}`);
}

/** The name as Docker repeats it in errors: familiar, with its tag. */
export function displayName(ref: string): string {
  if (/^sha256:[0-9a-f]+$/.test(ref)) return ref;
  const reference = parseReference(ref);
  if (!reference.ok) return ref;
  return familiarName(canonicalName(reference.value));
}

/** The canonical name if `ref` is a name of this image (not an id of it). */
export function matchedName(snapshot: Snapshot, ref: string, image: IndexedImage): string | undefined {
  const reference = parseReference(ref);
  if (!reference.ok || /^sha256:/.test(ref)) return undefined;
  const name = canonicalName(reference.value);
  return snapshot.byName.get(name) === hexOf(image.image) ? name : undefined;
}

export const hexOf = (image: Pick<Image, "id">): string => image.id.slice("sha256:".length);

/** "docker.io/library/x@sha256:…" or "docker.io/library/x:tag" → "docker.io/library/x" */
export function repositoryOfName(name: string): string {
  const reference = parseReference(name);
  return reference.ok ? repositoryOf(reference.value) : name;
}
