import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { type Header, pack } from "tar-stream";
import type { ImageStore } from "../../src/images/contract.js";
import { createImageStore } from "../../src/images/index.js";
import { stderrLog } from "../lib/log.js";

export interface TestStore {
  readonly store: ImageStore;
  readonly root: string;
  remove(): Promise<void>;
}

/** A store of its own in a temporary directory. */
export async function openTestStore(): Promise<TestStore> {
  const root = await mkdtemp(join(tmpdir(), "lstimages-"));
  const store = await createImageStore({ dataRoot: join(root, "data"), execRoot: join(root, "exec"), log: stderrLog() });
  return {
    store,
    root,
    async remove() {
      await store.close();
      await rm(root, { recursive: true, force: true });
    },
  };
}

/** Puts a wrapper before skopeo and buildah in PATH that notes each start; `started` gives and forgets the notes. */
export function watchPrograms(directory: string): { started(): string[]; restore(): void } {
  const path = process.env.PATH;
  const bin = join(directory, "watched-bin");
  const notes = join(directory, "programs");
  mkdirSync(bin);
  for (const program of ["skopeo", "buildah"]) {
    writeFileSync(join(bin, program), `#!/bin/sh\necho ${program} >>${notes}\nPATH='${path}' exec ${program} "$@"\n`);
    chmodSync(join(bin, program), 0o755);
  }
  process.env.PATH = `${bin}:${path}`;
  return {
    started() {
      const text = existsSync(notes) ? readFileSync(notes, "utf8") : "";
      writeFileSync(notes, "");
      return text.split("\n").filter((line) => line !== "");
    },
    restore() {
      process.env.PATH = path;
    },
  };
}

/** A tar of these files: text is a file's content, null a directory, an object whatever tar-stream takes. */
export function tarOf(
  files: Readonly<Record<string, string | null | (Partial<Header> & { readonly content?: Buffer })>>,
): Readable {
  const archive = pack();
  for (const [name, value] of Object.entries(files)) {
    if (value === null) archive.entry({ name, type: "directory", mode: 0o755 });
    else if (typeof value === "string") archive.entry({ name, mode: 0o644 }, value);
    else if (value.content !== undefined) archive.entry({ name, mode: 0o644 }, value.content);
    else archive.entry({ name, ...value } as Header);
  }
  archive.finalize();
  return Readable.from(archive as AsyncIterable<Buffer>, { objectMode: false });
}

export async function bytesOf(stream: Readable): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
