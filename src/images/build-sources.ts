import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { lstat, readdir, readlink } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { RefusalError, refuse } from "../base/errors.js";
import { globPattern } from "./build-ignore.js";
import { jsonWords } from "./changes.js";
import type { Instruction } from "./dockerfile.js";
import { shellWords, splitWords } from "./dockerfile-words.js";
import { withRooted } from "./rooted.js";

/** A COPY or ADD, taken apart. */
export interface CopyRequest {
  readonly keyword: "ADD" | "COPY";
  readonly sources: readonly string[];
  readonly destination: string;
  /** `--from`, "" without */
  readonly from: string;
  readonly chown: string;
  /** `--chmod`, undefined without */
  readonly chmod: number | undefined;
}

/** Refusals 400 in the classic builder's words. */
export function parseCopy(instruction: Instruction, variables: ReadonlyMap<string, string>): CopyRequest {
  const keyword = instruction.keyword as "ADD" | "COPY";
  const flags = new Map<string, string>();
  let rest = instruction.rest;
  for (let flag = flagOf(rest); flag !== null; flag = flagOf(rest)) {
    const name = flag[1] ?? "";
    if (!["from", "chown", "chmod", "link"].includes(name) || (name === "from" && keyword === "ADD"))
      refuse(400, `dockerfile parse error line ${instruction.line}: Unknown flag: ${name}`);
    flags.set(name, flag[2] ?? "");
    rest = rest.slice(flag[0].length);
  }
  if (instruction.heredocs.length > 0)
    refuse(400, `dockerfile parse error line ${instruction.line}: here-documents are offered in RUN only`);
  const words = (jsonWords(rest) ?? splitWords(rest)).map((word) => shellWords(word, variables));
  if (words.length < 2)
    refuse(
      400,
      `dockerfile parse error line ${instruction.line}: ${keyword} requires at least two arguments, but only one was provided. Destination could not be determined.`,
    );
  const sources = words.slice(0, -1);
  const destination = words.at(-1) ?? "";
  if (sources.length > 1 && !destination.endsWith("/"))
    refuse(400, `When using ${keyword} with more than one source file, the destination must be a directory and end with a /`);
  const chmod = flags.get("chmod");
  if (chmod !== undefined && !/^[0-7]{3,4}$/.test(chmod)) refuse(400, `invalid chmod parameter: '${chmod}'`);
  return {
    keyword,
    sources,
    destination,
    from: flags.get("from") ?? "",
    chown: shellWords(flags.get("chown") ?? "", variables),
    chmod: chmod === undefined ? undefined : Number.parseInt(chmod, 8),
  };
}

const flagOf = (text: string) => /^--([a-z-]+)(?:=(\S*))?\s+/.exec(text);

/** Something to be copied: a path below `root`, free of symbolic links. */
export interface Source {
  readonly root: string;
  readonly path: string;
  /** What the copy is called where the destination is a directory */
  readonly name: string;
  readonly isDirectory: boolean;
}

/** The files and directories that the words mean below `root`; refusal 400 for what is not there. */
export async function findSources(root: string, words: readonly string[], keyword: string): Promise<Source[]> {
  const found: Source[] = [];
  for (const word of words) {
    const paths = /[*?[]/.test(word) ? await matching(root, word) : [word];
    for (const path of paths) found.push(await sourceAt(root, path, keyword));
  }
  if (found.length === 0) refuse(400, `${keyword} failed: no source files were specified`);
  return found;
}

async function sourceAt(root: string, path: string, keyword: string): Promise<Source> {
  try {
    return await withRooted(root, path, { follow: true }, async (rooted) => ({
      root,
      path: rooted.path,
      name: path.replace(/\/+$/, "").split("/").at(-1) ?? "",
      isDirectory: (await lstat(rooted.at)).isDirectory(),
    }));
  } catch (error) {
    if (error instanceof RefusalError) throw error;
    const shown = path.replace(/^\/+/, "");
    return refuse(
      400,
      `${keyword} failed: file not found in build context or excluded by .dockerignore: stat ${shown}: file does not exist`,
    );
  }
}

async function matching(root: string, glob: string): Promise<string[]> {
  const parts = glob.split("/").filter((part) => part !== "" && part !== ".");
  const pattern = globPattern(parts.join("/"));
  const out: string[] = [];
  const walk = async (below: string, depth: number): Promise<void> => {
    const names = await readdir(join(root, below), { withFileTypes: true }).catch(() => []);
    for (const entry of names.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = below === "" ? entry.name : `${below}/${entry.name}`;
      if (pattern.test(path)) out.push(path);
      else if (entry.isDirectory() && (depth + 1 < parts.length || glob.includes("**"))) await walk(path, depth + 1);
    }
  };
  await walk("", 0);
  return out;
}

/** A digest of what would be copied: names, types, modes and contents, but no times (as Docker's cache of COPY). */
export async function digestOf(sources: readonly Source[]): Promise<string> {
  const hash = createHash("sha256");
  const visit = async (path: string, shown: string): Promise<void> => {
    const info = await lstat(path);
    const add = (...values: readonly (string | number)[]) => hash.update(`${JSON.stringify([shown, info.mode, ...values])}\n`);
    if (info.isDirectory()) {
      add();
      for (const name of (await readdir(path)).sort()) await visit(join(path, name), `${shown}/${name}`);
    } else if (info.isSymbolicLink()) add(await readlink(path));
    else if (info.isFile()) {
      add(info.size);
      await pipeline(createReadStream(path), async (chunks) => {
        for await (const chunk of chunks) hash.update(chunk as Buffer);
      });
    } else add(info.rdev);
  };
  for (const source of sources) await visit(join(source.root, source.path), source.isDirectory ? "" : source.name);
  return hash.digest("hex");
}
