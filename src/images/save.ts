import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { pack } from "tar-stream";
import { getImage, hexOf, matchedName, repositoryOfName } from "./lookup.js";
import { programError } from "./program.js";
import { familiarName, parseReference } from "./reference.js";
import type { Storage } from "./storage.js";
import type { IndexedImage, Snapshot } from "./storage-index.js";
import { makeTemporary, removeTemporary } from "./storage-write.js";

interface Wanted {
  readonly found: IndexedImage;
  /** Canonical names to write beside it. */
  readonly names: Set<string>;
}

/** `docker save`: one docker-archive with all the images; a repository without a tag means all its tags. */
export async function saveImages(storage: Storage, snapshot: Snapshot, refs: readonly string[]): Promise<Readable> {
  const wanted = new Map<string, Wanted>();
  const want = (found: IndexedImage, name: string | undefined) => {
    const entry = wanted.get(found.image.id) ?? { found, names: new Set<string>() };
    if (name !== undefined) entry.names.add(name);
    wanted.set(found.image.id, entry);
  };
  for (const ref of refs) {
    const reference = parseReference(ref);
    const bare = reference.ok && reference.value.tag === undefined && reference.value.digest === undefined;
    const all = bare ? [...snapshot.byName].filter(([name]) => isTagOf(name, ref)) : [];
    if (all.length > 0) for (const [name] of all) want(getImage(snapshot, name), name);
    else {
      const found = getImage(snapshot, ref);
      const name = matchedName(snapshot, ref, found);
      want(found, name?.includes("@") ? undefined : name);
    }
  }
  const directory = await makeTemporary(storage);
  try {
    for (const { found } of wanted.values()) {
      const id = hexOf(found.image);
      const target = join(directory, id);
      const result = await storage.skopeo(["copy", "--quiet", storage.reference(`@${id}`), `dir:${target}`]);
      if (result.code !== 0) throw new Error(programError(result.stderr));
    }
  } catch (error) {
    await removeTemporary(directory);
    throw error;
  }
  return archiveOf(directory, [...wanted.values()]);
}

function isTagOf(name: string, ref: string): boolean {
  return !name.includes("@") && repositoryOfName(name) === repositoryOfName(ref);
}

function archiveOf(directory: string, wanted: readonly Wanted[]): Readable {
  const archive = pack();
  const mtime = new Date(0);
  const json = (name: string, value: unknown) => {
    archive.entry({ name, mtime, mode: 0o644 }, JSON.stringify(value));
  };
  const file = async (name: string, path: string) => {
    const { size } = await stat(path);
    await pipeline(createReadStream(path), archive.entry({ name, size, mtime, mode: 0o644 }) as unknown as NodeJS.WritableStream);
  };
  const write = async () => {
    const written = new Set<string>();
    const manifest: object[] = [];
    const repositories: Record<string, Record<string, string>> = {};
    for (const { found, names } of wanted) {
      const id = hexOf(found.image);
      const source = join(directory, id);
      const { layers, config } = JSON.parse(await readFile(join(source, "manifest.json"), "utf8")) as {
        layers: readonly { digest: string }[];
        config: { digest: string };
      };
      const paths: string[] = [];
      for (const layer of layers) {
        const hex = layer.digest.slice("sha256:".length);
        paths.push(`${hex}/layer.tar`);
        if (written.has(hex)) continue;
        written.add(hex);
        archive.entry({ name: `${hex}/`, type: "directory", mtime, mode: 0o755 });
        await file(`${hex}/layer.tar`, join(source, hex));
      }
      await file(`${id}.json`, join(source, config.digest.slice("sha256:".length)));
      const tags = [...names].sort().map(familiarName);
      manifest.push({ Config: `${id}.json`, RepoTags: tags.length === 0 ? null : tags, Layers: paths });
      for (const name of tags) {
        const colon = name.lastIndexOf(":");
        repositories[name.slice(0, colon)] = {
          ...repositories[name.slice(0, colon)],
          [name.slice(colon + 1)]: paths.at(-1)?.slice(0, 64) ?? id,
        };
      }
    }
    json("manifest.json", manifest);
    if (Object.keys(repositories).length > 0) json("repositories", repositories);
    archive.finalize();
  };
  async function* chunks() {
    const writing = write();
    writing.catch((error: Error) => archive.destroy(error));
    try {
      for await (const chunk of archive) yield chunk as Buffer;
      await writing;
    } finally {
      archive.destroy();
      await writing.catch(() => undefined);
      await removeTemporary(directory);
    }
  }
  return Readable.from(chunks(), { objectMode: false });
}
