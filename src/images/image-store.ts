import { rm } from "node:fs/promises";
import { join } from "node:path";
import { orRefuse, refuse } from "../base/errors.js";
import { buildImage, mountCachesOf } from "./build.js";
import { openBuildCache } from "./build-cache.js";
import { makeBuiltinBusybox } from "./builtin.js";
import { commitImage } from "./commit.js";
import type { Image, ImageStore } from "./contract.js";
import { importImage, nameOf } from "./import.js";
import { loadImages } from "./load.js";
import { findImage, getImage, hexOf } from "./lookup.js";
import { openMetadata } from "./metadata.js";
import { pruneBuildSteps, pruneImages } from "./prune.js";
import { pullImage, type RegistryContext } from "./pull.js";
import { checkLogin, pushImages } from "./push.js";
import { canonicalName, familiarName, parseReference } from "./reference.js";
import { hasChildren, type RemoveContext, removeImage } from "./remove.js";
import { saveImages } from "./save.js";
import { type ImageStoreOptions, openStorage } from "./storage.js";
import { createStorageIndex, type Snapshot } from "./storage-index.js";
import { addNames } from "./storage-write.js";

type Change = Parameters<Parameters<ImageStore["onChange"]>[0]>[0];

const builtinName = "docker.io/library/busybox:latest";

/**
 * Opens (or makes) the image storage below dataRoot. Only one engine may use a dataRoot at a time.
 * The machine's own container configuration (/etc/containers, ~/.docker) is not used. The one file outside dataRoot and execRoot is
 * skopeo's cache of known digests, /var/lib/containers/cache/blob-info-cache-v1.boltdb, whose place it does not let us choose.
 */
export async function createImageStore(options: ImageStoreOptions): Promise<ImageStore> {
  const storage = await openStorage(options);
  const index = createStorageIndex(storage.root, storage.metadataFile);
  const metadata = openMetadata(storage.metadataFile);
  const buildCache = openBuildCache(join(options.dataRoot, "build-cache.json"));
  const listeners: ((change: Change) => void)[] = [];
  const notify = (action: Change["action"], id: string, name: string) => {
    for (const listener of listeners) listener({ action, id, name });
  };
  const hasBuiltin = (snapshot: Snapshot) => snapshot.byName.has(builtinName);
  let making: Promise<void> | undefined;
  /** Callers at the same time share one making. */
  const ensureBuiltin = () => {
    making ??= makeIfMissing().finally(() => {
      making = undefined;
    });
    return making;
  };
  const makeIfMissing = async () => {
    if (hasBuiltin(await index.read())) return;
    const id = await makeBuiltinBusybox(storage);
    if (id !== undefined) storage.log.info("made the built-in image", { name: "busybox:latest", id: hexOf({ id }) });
  };
  const registries: RegistryContext = {
    storage,
    index,
    metadata,
    async makeBuiltin(ref) {
      const reference = parseReference(ref);
      if (!reference.ok || canonicalName(reference.value) !== builtinName) return false;
      await ensureBuiltin();
      return true;
    },
  };
  const removal: RemoveContext = { storage, index, metadata, notify };

  return {
    async list(listOptions) {
      const snapshot = await index.read();
      const images: Image[] = [];
      for (const { image, names } of snapshot.images.values())
        if (listOptions?.all === true || names.length > 0 || image.repoDigests.length > 0 || !hasChildren(snapshot, image.id))
          images.push(image);
      return images.sort((a, b) => Date.parse(b.created) - Date.parse(a.created));
    },
    async get(ref) {
      return getImage(await index.read(), ref).image;
    },
    async find(ref) {
      return findImage(await index.read(), ref)?.image;
    },
    async layers(imageId) {
      const found = getImage(await index.read(), imageId);
      return found.layerIds.map((id) => index.layerDirectory(id));
    },
    async import(source, request, progress) {
      const id = await importImage(storage, source, request);
      progress({ status: id });
      notify("import", id, request.repo === "" ? id : familiarName(nameOf(request.repo, request.tag)));
      return id;
    },
    async load(source, progress) {
      for (const { id, names } of await loadImages(storage, index, source, progress))
        for (const name of names.length === 0 ? [id] : names) notify("load", id, name);
    },
    async save(refs) {
      const snapshot = await index.read();
      const archive = await saveImages(storage, snapshot, refs);
      for (const ref of refs) notify("save", getImage(snapshot, ref).image.id, ref);
      return archive;
    },
    async pull(ref, pullOptions, progress) {
      // Compose and other clients look for an image, then pull it: without a registry they find what `run` finds. A second pull asks one.
      if (pullOptions.platform === undefined && !hasBuiltin(await index.read()) && (await registries.makeBuiltin(ref))) {
        if (hasBuiltin(await index.read())) {
          progress({ status: "Status: Made busybox:latest of this machine's busybox (pull again for the registry's)" });
          return;
        }
      }
      const { id, name } = await pullImage(registries, ref, pullOptions, progress);
      notify("pull", id, familiarName(name));
    },
    async push(ref, pushOptions, progress) {
      for (const { id, name } of await pushImages(registries, ref, pushOptions, progress)) notify("push", id, name);
    },
    login: (auth) => checkLogin(storage, auth),
    async commit(request) {
      const snapshot = await index.read();
      return commitImage(storage, snapshot, getImage(snapshot, request.imageId), request);
    },
    async build(request, progress, open) {
      const { id, names } = await buildImage(registries, buildCache, request, progress, open);
      for (const name of names.length === 0 ? [id] : names) notify("build", id, name);
      return id;
    },
    async buildCachePrune(inUse) {
      await buildCache.clear();
      await rm(mountCachesOf(storage.root), { recursive: true, force: true });
      return pruneBuildSteps(removal, inUse ?? new Set());
    },
    async tag(ref, repo, tag) {
      const found = getImage(await index.read(), ref);
      const reference = orRefuse(parseReference(repo));
      if (reference.digest !== undefined) refuse(400, "refusing to create a tag with a digest reference");
      const name = tag === "" ? canonicalName(reference) : nameOf(repo, tag);
      if (!found.names.includes(name)) await addNames(storage, found.image.id, [name]);
      notify("tag", found.image.id, familiarName(name));
    },
    remove: (ref, removeOptions) => removeImage(removal, ref, removeOptions),
    prune: (pruneOptions) => pruneImages(removal, pruneOptions, new Date()),
    ensureBuiltin,
    onChange(listener) {
      listeners.push(listener);
    },
    async close() {
      storage.close();
      listeners.length = 0;
    },
  };
}
