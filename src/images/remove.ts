import { createHash } from "node:crypto";
import { refuse } from "../base/errors.js";
import { getImage, hexOf, matchedName, repositoryOfName } from "./lookup.js";
import type { ImageMetadata } from "./metadata.js";
import { programError } from "./program.js";
import { familiarName } from "./reference.js";
import type { Storage } from "./storage.js";
import type { IndexedImage, Snapshot, StorageIndex } from "./storage-index.js";
import { storeImage } from "./storage-write.js";

export type Removal = { Untagged: string } | { Deleted: string };

export interface RemoveContext {
  readonly storage: Storage;
  readonly index: StorageIndex;
  readonly metadata: ImageMetadata;
  readonly notify: (action: "untag" | "delete", id: string, name: string) => void;
}

export interface RemoveOptions {
  readonly force: boolean;
  readonly noPrune: boolean;
  /** Image id ("sha256:…") → name or id of a container that uses it. */
  readonly inUse: ReadonlyMap<string, string>;
}

/** `docker rmi`: docs.docker.com/reference/cli/docker/image/rm; conflicts are refusals 409 in Docker's words. */
export async function removeImage(context: RemoveContext, ref: string, options: RemoveOptions): Promise<readonly Removal[]> {
  const snapshot = await context.index.read();
  const found = getImage(snapshot, ref);
  const { image } = found;
  const name = matchedName(snapshot, ref, found);
  const user = options.inUse.get(image.id);
  const removals: Removal[] = [];

  if (name !== undefined) {
    const tags = found.names.filter((candidate) => !candidate.includes("@"));
    const isDigest = name.includes("@");
    const last = isDigest ? tags.length === 0 : tags.length === 1;
    if (last && user !== undefined && !options.force)
      refuse(
        409,
        `conflict: unable to remove repository reference ${JSON.stringify(ref)} (must force) - container ${user.slice(0, 12)} is using its referenced image ${hexOf(image).slice(0, 12)}`,
      );
    if (!last || user !== undefined || hasChildren(snapshot, image.id)) {
      await untag(context, snapshot, found, name, removals);
      return removals;
    }
  } else {
    const short = hexOf(image).slice(0, 12);
    if (user !== undefined)
      refuse(
        409,
        `conflict: unable to delete ${short} (${options.force ? "cannot be forced" : "must be forced"}) - image is being used by ${options.force ? "running" : "stopped"} container ${user.slice(0, 12)}`,
      );
    if (hasChildren(snapshot, image.id))
      refuse(409, `conflict: unable to delete ${short} (cannot be forced) - image has dependent child images`);
    if (!options.force && new Set(found.names.map(repositoryOfName)).size > 1)
      refuse(409, `conflict: unable to delete ${short} (must be forced) - image is referenced in multiple repositories`);
  }
  await deleteImage(context, snapshot, found, removals);
  if (!options.noPrune) await deleteOrphans(context, image.parent, options.inUse, removals);
  return removals;
}

export function hasChildren(snapshot: Snapshot, id: string): boolean {
  for (const other of snapshot.images.values()) if (other.image.parent === id) return true;
  return false;
}

/** Deletes an image with all its names. Layers that no other image needs go with it. */
export async function deleteImage(
  context: RemoveContext,
  snapshot: Snapshot,
  found: IndexedImage,
  removals: Removal[],
): Promise<void> {
  const { image } = found;
  const result = await context.storage.skopeo(["delete", context.storage.reference(`@${hexOf(image)}`)]);
  if (result.code !== 0) throw new Error(programError(result.stderr));
  for (const name of [...image.repoTags, ...image.repoDigests]) removals.push({ Untagged: name });
  await context.metadata.updateDigests((digests) =>
    Object.fromEntries(Object.entries(digests).filter(([, id]) => id !== hexOf(image))),
  );
  removals.push({ Deleted: image.id });
  const after = await context.index.read();
  const chains = chainIds(image.diffIds);
  found.layerIds.forEach((layerId, i) => {
    const chain = chains[chains.length - 1 - i];
    if (!after.layers.has(layerId) && snapshot.layers.has(layerId) && chain !== undefined) removals.push({ Deleted: chain });
  });
  for (const name of image.repoTags) context.notify("untag", image.id, name);
  context.notify("delete", image.id, image.id);
}

/** Nameless ancestors that only served the deleted image (build steps). */
async function deleteOrphans(
  context: RemoveContext,
  parent: string,
  inUse: ReadonlyMap<string, string>,
  removals: Removal[],
): Promise<void> {
  let id = parent;
  for (let depth = 0; id !== "" && depth < 1024; depth++) {
    const snapshot = await context.index.read();
    const found = snapshot.images.get(id.slice("sha256:".length));
    if (found === undefined || found.names.length > 0 || found.image.repoDigests.length > 0) return;
    if (inUse.has(id) || hasChildren(snapshot, id)) return;
    await deleteImage(context, snapshot, found, removals);
    id = found.image.parent;
  }
}

/** Takes one name off an image that stays. */
async function untag(
  context: RemoveContext,
  snapshot: Snapshot,
  found: IndexedImage,
  name: string,
  removals: Removal[],
): Promise<void> {
  const hex = hexOf(found.image);
  if (found.names.includes(name)) {
    if (found.names.length > 1) {
      const result = await context.storage.buildah(["rmi", name]);
      if (result.code !== 0) throw new Error(programError(result.stderr));
    } else {
      // No program takes the last name off an image that stays: an empty image takes the name over, and is deleted with it.
      const empty = await storeImage(context.storage, {
        config: JSON.stringify({
          architecture: "amd64",
          os: "linux",
          comment: `holds ${name}`,
          config: {},
          rootfs: { type: "layers", diff_ids: [] },
        }),
        layers: [],
        names: [name],
      });
      const result = await context.storage.skopeo(["delete", context.storage.reference(`@${empty.slice("sha256:".length)}`)]);
      if (result.code !== 0) throw new Error(programError(result.stderr));
    }
  }
  removals.push({ Untagged: familiarName(name) });
  const repository = repositoryOfName(name);
  const remains = found.names.some((other) => other !== name && repositoryOfName(other) === repository);
  const gone = [...snapshot.byName]
    .filter(([digest, id]) => id === hex && digest.includes("@"))
    .map(([digest]) => digest)
    .filter((digest) => digest === name || (!remains && repositoryOfName(digest) === repository));
  if (gone.length > 0) {
    await context.metadata.updateDigests((digests) =>
      Object.fromEntries(Object.entries(digests).filter(([digest]) => !gone.includes(digest))),
    );
    for (const digest of gone) if (digest !== name) removals.push({ Untagged: familiarName(digest) });
  }
  context.notify("untag", found.image.id, familiarName(name));
}

/** OCI image-spec config.md, "Layer ChainID". */
export function chainIds(diffIds: readonly string[]): string[] {
  const out: string[] = [];
  for (const diffId of diffIds) {
    const below = out.at(-1);
    out.push(below === undefined ? diffId : `sha256:${createHash("sha256").update(`${below} ${diffId}`).digest("hex")}`);
  }
  return out;
}
