import { orRefuse } from "../base/errors.js";
import type { Progress, RegistryAuth } from "./contract.js";
import { findImage } from "./lookup.js";
import type { ImageMetadata } from "./metadata.js";
import { canonicalName, familiarName, parseReference, type Reference, repositoryOf } from "./reference.js";
import { isInsecure, refuseRegistry, withAuthFile } from "./registry-access.js";
import type { Storage } from "./storage.js";
import type { StorageIndex } from "./storage-index.js";

export interface RegistryContext {
  readonly storage: Storage;
  readonly index: StorageIndex;
  readonly metadata: ImageMetadata;
  /** Makes the built-in image if `ref` names it; false if it does not. */
  makeBuiltin(ref: string): Promise<boolean>;
}

interface Inspected {
  readonly Digest: string;
  readonly Layers: readonly string[] | null;
}

/**
 * `docker pull`: Docker's progress messages; nothing is sent to `progress` before the registry has named the image, so that
 * what fails at once is an ordinary error. Resolves to the image's id and canonical name.
 */
export async function pullImage(
  context: RegistryContext,
  ref: string,
  options: { readonly auth?: RegistryAuth; readonly platform?: string },
  progress: Progress,
): Promise<{ readonly id: string; readonly name: string }> {
  const { storage } = context;
  const reference = orRefuse(parseReference(ref));
  const insecure = isInsecure(storage, reference.domain);
  const auths = options.auth === undefined ? {} : { [reference.domain]: options.auth };
  return withAuthFile(storage, auths, async (authFile) => {
    const failed = (stderr: string) =>
      refuseRegistry(stderr, { reference, action: "pull", hasAuth: options.auth !== undefined, insecure });
    const platform = platformFlags(options.platform ?? "");
    const source = (suffix: string) => `docker://${repositoryOf(reference)}${suffix}`;
    const wanted = reference.digest === undefined ? `:${reference.tag ?? "latest"}` : `@${reference.digest}`;
    const tls = insecure ? ["--tls-verify=false"] : [];
    const inspected = await storage.skopeo([...platform, "inspect", "--no-tags", "--authfile", authFile, ...tls, source(wanted)]);
    if (inspected.code !== 0) failed(inspected.stderr);
    const { Digest: digest, Layers } = JSON.parse(inspected.stdout) as Inspected;
    const layers = [...new Set(Layers ?? [])];

    progress({ status: `Pulling from ${reference.path}`, id: reference.digest ?? reference.tag ?? "latest" });
    const before = await context.index.read();
    const present = new Set(
      [...before.layers.values()].flatMap((layer) => [layer["diff-digest"], layer["compressed-diff-digest"]]),
    );
    const missing = layers.filter((layer) => !present.has(layer));
    const say = (layer: string, status: string) => progress({ status, progressDetail: {}, id: shortId(layer) });
    for (const layer of layers) say(layer, present.has(layer) ? "Already exists" : "Pulling fs layer");
    // By digest: the tag may move between the two requests.
    const name = canonicalName(reference);
    const copy = ["copy", "--authfile", authFile, ...(insecure ? ["--src-tls-verify=false"] : [])];
    const result = await storage.skopeo([...platform, ...copy, source(`@${digest}`), storage.reference(name)]);
    if (result.code !== 0) failed(result.stderr);
    for (const layer of missing) say(layer, "Download complete");
    for (const layer of missing) say(layer, "Pull complete");

    const after = await context.index.read();
    const image = findImage(after, name)?.image;
    const id = image?.id ?? "";
    await context.metadata.updateDigests((digests) => ({
      ...digests,
      [`${repositoryOf(reference)}@${digest}`]: id.slice("sha256:".length),
    }));
    progress({ status: `Digest: ${digest}` });
    const upToDate = `sha256:${before.byName.get(name) ?? ""}` === id;
    progress({
      status: upToDate
        ? `Status: Image is up to date for ${familiarName(name)}`
        : `Status: Downloaded newer image for ${familiarName(name)}`,
    });
    return { id, name };
  });
}

const shortId = (digest: string): string => digest.slice("sha256:".length, "sha256:".length + 12);

function platformFlags(platform: string): string[] {
  if (platform === "") return [];
  const [os = "linux", architecture, variant] = platform.split("/");
  return [
    ...["--override-os", os],
    ...(architecture === undefined ? [] : ["--override-arch", architecture]),
    ...(variant === undefined ? [] : ["--override-variant", variant]),
  ];
}

/** The local tags that `docker push REF` means: the one named, or all of the repository when none is. Canonical names. */
export function pushTargets(byName: ReadonlyMap<string, string>, reference: Reference): readonly string[] {
  const repository = `${repositoryOf(reference)}:`;
  const all = [...byName.keys()].filter((name) => name.startsWith(repository) && !name.includes("@"));
  return reference.tag === undefined ? all.sort() : all.filter((name) => name === canonicalName(reference));
}
