import { readFile, rename, writeFile } from "node:fs/promises";
import type { RepoDigests } from "./storage-index.js";

/** What Docker knows of images and containers/storage does not: in which repository, by which digest, an image was pulled or pushed. */
export interface ImageMetadata {
  /** Changes are made one after the other; `change` gets the present map and gives the next one. */
  updateDigests(change: (digests: RepoDigests) => RepoDigests): Promise<void>;
}

export function openMetadata(path: string): ImageMetadata {
  let last: Promise<void> = Promise.resolve();
  return {
    updateDigests(change) {
      const next = last.then(async () => {
        const present = await readDigests(path);
        const changed = change(present);
        if (changed === present) return;
        // A reader sees the old file or the new one, never half of one.
        await writeFile(`${path}.new`, JSON.stringify({ repoDigests: changed }), { mode: 0o600 });
        await rename(`${path}.new`, path);
      });
      last = next.catch(() => undefined);
      return next;
    },
  };
}

async function readDigests(path: string): Promise<RepoDigests> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  if (text === undefined) return {};
  try {
    return (JSON.parse(text) as { repoDigests?: RepoDigests }).repoDigests ?? {};
  } catch {
    // Only display data: a damaged file is not a reason to fail.
    return {};
  }
}
