import { createHash } from "node:crypto";
import { readFile, rename, writeFile } from "node:fs/promises";

/** Steps remembered at most; the oldest are forgotten. One is about 2 KiB. */
const maxEntries = 2000;

/**
 * What each step of earlier builds made: the id of the image before it, the instruction and what it reads → the image's configuration
 * as text. The layers themselves are in storage; an entry whose layers are gone is of no use and does no harm.
 */
export interface BuildCache {
  get(key: string): Promise<string | undefined>;
  put(key: string, imageText: string): Promise<void>;
  save(): Promise<void>;
  clear(): Promise<void>;
}

export const cacheKey = (...parts: readonly string[]): string =>
  createHash("sha256").update(JSON.stringify(parts)).digest("base64url");

export function openBuildCache(path: string): BuildCache {
  let loading: Promise<Map<string, string>> | undefined;
  let changed = false;
  let writing: Promise<void> = Promise.resolve();
  const entries = () => {
    loading ??= load(path);
    return loading;
  };
  return {
    async get(key) {
      return (await entries()).get(key);
    },
    async put(key, imageText) {
      const map = await entries();
      // Deleted first: the order of a Map is that of insertion, and the oldest go first.
      map.delete(key);
      map.set(key, imageText);
      for (const oldest of map.keys()) {
        if (map.size <= maxEntries) break;
        map.delete(oldest);
      }
      changed = true;
    },
    save() {
      writing = writing.then(async () => {
        if (!changed) return;
        changed = false;
        await write(path, await entries());
      });
      return writing;
    },
    async clear() {
      (await entries()).clear();
      changed = true;
      await this.save();
    },
  };
}

async function load(path: string): Promise<Map<string, string>> {
  try {
    return new Map(Object.entries(JSON.parse(await readFile(path, "utf8")) as Record<string, string>));
  } catch {
    // Absent, or damaged: the next build begins with its first step.
    return new Map();
  }
}

async function write(path: string, map: ReadonlyMap<string, string>): Promise<void> {
  await writeFile(`${path}.new`, JSON.stringify(Object.fromEntries(map)), { mode: 0o600 });
  await rename(`${path}.new`, path);
}
