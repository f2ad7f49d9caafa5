import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { orRefuse, refuse } from "../base/errors.js";
import { applyChanges } from "./changes.js";
import { writeUncompressed } from "./layer-file.js";
import { canonicalName, parseReference } from "./reference.js";
import type { Storage } from "./storage.js";
import { makeTemporary, removeTemporary, storeImage } from "./storage-write.js";

export interface ImportRequest {
  readonly repo: string;
  readonly tag: string;
  readonly changes: readonly string[];
  readonly message: string;
  /** "linux/arm64/v8"; the host's where absent */
  readonly platform?: string;
}

/** `docker import`: one layer out of a tar. Resolves to the id; everything is checked before the stream is read. */
export async function importImage(storage: Storage, source: Readable, request: ImportRequest): Promise<string> {
  const names = request.repo === "" ? [] : [nameOf(request.repo, request.tag)];
  const config = orRefuse(applyChanges({}, request.changes));
  const platform = parsePlatform(request.platform ?? "");
  const directory = await makeTemporary(storage);
  try {
    const file = join(directory, "layer.tar");
    const layer = await writeUncompressed(source, file);
    if ((await stat(file)).size < 1024) refuse(400, "Error processing tar file(exit status 1): unexpected EOF");
    const created = new Date().toISOString();
    return await storeImage(storage, {
      config: JSON.stringify({
        ...platform,
        ...(request.message === "" ? {} : { comment: request.message }),
        created,
        config,
        docker_version: "",
        history: [{ created, ...(request.message === "" ? {} : { comment: request.message }) }],
        rootfs: { type: "layers", diff_ids: [layer.digest] },
      }),
      layers: [{ ...layer, file }],
      names,
    });
  } finally {
    await removeTemporary(directory);
  }
}

/** repo and tag as the API gives them (the tag may be in the repo, or be a digest) → storage's name. Refusal 400. */
export function nameOf(repo: string, tag: string): string {
  const reference = orRefuse(parseReference(repo));
  if (reference.digest !== undefined) refuse(400, "cannot import digest reference");
  const withTag = tag === "" ? reference : { ...reference, tag: orRefuse(parseReference(`x:${tag}`)).tag };
  return canonicalName(withTag);
}

const machines: Record<string, string> = {
  x64: "amd64",
  arm64: "arm64",
  arm: "arm",
  ia32: "386",
  ppc64: "ppc64le",
  s390x: "s390x",
};

/** Go's name of this machine's architecture. */
export const hostArchitecture = (): string => machines[process.arch] ?? process.arch;

export function parsePlatform(text: string): { readonly architecture: string; readonly os: string; readonly variant?: string } {
  if (text === "") return { architecture: hostArchitecture(), os: "linux" };
  const [os = "", architecture = hostArchitecture(), variant] = text.toLowerCase().split("/");
  if (!/^[a-z0-9_-]+$/.test(os) || !/^[a-z0-9_-]+$/.test(architecture))
    refuse(
      400,
      `${JSON.stringify(text)} is an invalid OS component: OSAndVersion specifier component must match "^([A-Za-z0-9_-]+)$": invalid argument`,
    );
  return { architecture, os, ...(variant === undefined ? {} : { variant }) };
}
