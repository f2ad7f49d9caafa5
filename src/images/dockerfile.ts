import type { Refusal } from "../base/errors.js";
import { refusal } from "../base/errors.js";
import { fail, ok, type Result } from "../base/result.js";
import { applyChanges, jsonWords } from "./changes.js";
import { shellWords, splitWords } from "./dockerfile-words.js";

export interface Instruction {
  /** Upper case. */
  readonly keyword: string;
  /** What follows the keyword, continuation lines joined. */
  readonly rest: string;
  /** The whole instruction as Docker echoes it. */
  readonly original: string;
  readonly line: number;
  /** The bodies of its here-documents. */
  readonly heredocs: readonly string[];
}

export interface Stage {
  /** Lower case; undefined without AS */
  readonly name: string | undefined;
  /** The image or stage after FROM, build arguments filled in. */
  readonly base: string;
  /** The first is the FROM. */
  readonly instructions: readonly Instruction[];
}

export interface Dockerfile {
  /** The ARG instructions before the first FROM. */
  readonly globals: readonly Instruction[];
  readonly stages: readonly Stage[];
}

const keywords = new Set(
  "ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR".split(
    " ",
  ),
);
/** Instructions whose text can be checked before anything runs. */
const checkable = new Set(["EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ONBUILD", "ENV", "LABEL"]);

/**
 * docs.docker.com/reference/dockerfile. Errors in the classic builder's words, status 400.
 * `buildArgs` fill in the FROM lines.
 */
export function parseDockerfile(
  text: string,
  name: string,
  buildArgs: Readonly<Record<string, string | null>>,
): Result<Dockerfile, Refusal> {
  const bad = (message: string) => fail(refusal(400, message));
  const instructions = splitInstructions(text);
  if (instructions.length === 0) return bad(`the Dockerfile (${name}) cannot be empty`);
  const globals: Instruction[] = [];
  const args = new Map<string, string>();
  const stages: { name: string | undefined; base: string; instructions: Instruction[] }[] = [];
  for (const instruction of instructions) {
    const { keyword, rest, line } = instruction;
    if (!keywords.has(keyword)) return bad(`dockerfile parse error line ${line}: unknown instruction: ${keyword}`);
    const stage = stages.at(-1);
    if (keyword === "FROM") {
      const words = splitWords(rest).filter((word) => !word.startsWith("--"));
      const [base = "", as, alias] = words;
      if (words.length !== 1 && !(words.length === 3 && as?.toUpperCase() === "AS"))
        return bad(`dockerfile parse error line ${line}: FROM requires either one or three arguments`);
      const filled = shellWords(base, args);
      if (filled === "") return bad(`base name (${base}) should not be blank`);
      stages.push({ name: alias?.toLowerCase(), base: filled, instructions: [instruction] });
    } else if (stage !== undefined) {
      if (rest === "" && keyword !== "CMD" && keyword !== "ENTRYPOINT")
        return bad(`dockerfile parse error line ${line}: ${keyword} requires at least one argument`);
      stage.instructions.push(instruction);
    } else if (keyword === "ARG") {
      globals.push(instruction);
      for (const word of splitWords(rest)) {
        const equal = word.indexOf("=");
        const key = equal < 0 ? word : word.slice(0, equal);
        const value = buildArgs[key] ?? (equal < 0 ? undefined : shellWords(word.slice(equal + 1), args));
        if (value !== undefined) args.set(key, value);
      }
    } else return bad("no build stage in current context");
  }
  return ok({ globals, stages });
}

/**
 * The first instruction that Docker would refuse for its text alone, with the refusal: known before the first step runs.
 * What names a variable is left to the build.
 */
export function firstBadInstruction(instructions: readonly Instruction[]): { at: number; refusal: Refusal } | undefined {
  for (const [at, { keyword, rest }] of instructions.entries()) {
    if (!checkable.has(keyword) || rest.includes("$")) continue;
    const result = applyChanges({}, [`${keyword} ${rest}`]);
    if (!result.ok) return { at, refusal: result.error };
  }
  return undefined;
}

/** The names after `--from=` of COPY instructions and in FROM that are images, not stages. */
export function externalImages(dockerfile: Dockerfile, lastStage: number): readonly string[] {
  const images = new Set<string>();
  const names = new Set<string>();
  dockerfile.stages.slice(0, lastStage + 1).forEach((stage, i) => {
    if (stage.base !== "scratch" && !names.has(stage.base.toLowerCase())) images.add(stage.base);
    for (const { keyword, rest } of stage.instructions) {
      const from = keyword === "COPY" ? /(?:^|\s)--from=(\S+)/.exec(rest)?.[1] : undefined;
      if (from === undefined || from.includes("$")) continue;
      const isStage = names.has(from.toLowerCase()) || (/^[0-9]+$/.test(from) && Number(from) < i);
      if (!isStage) images.add(from);
    }
    if (stage.name !== undefined) names.add(stage.name);
  });
  return [...images];
}

/** Which stage `--target` means: a name or a number; the last one without it. Undefined: there is no such stage. */
export function targetStage(dockerfile: Dockerfile, target: string): number | undefined {
  if (target === "") return dockerfile.stages.length - 1;
  const named = dockerfile.stages.findIndex((stage) => stage.name === target.toLowerCase());
  if (named >= 0) return named;
  const number = /^[0-9]+$/.test(target) ? Number(target) : Number.NaN;
  return number < dockerfile.stages.length ? number : undefined;
}

/** A RUN's command: JSON words, or the shell with the text (here-documents included). `flags` are the `--name=value` before it. */
export function runCommand(
  instruction: Instruction,
  shell: readonly string[] = ["/bin/sh", "-c"],
): { readonly words: readonly string[]; readonly flags: readonly string[] } {
  const flags = /^(?:--\S+\s+)*/.exec(instruction.rest)?.[0] ?? "";
  const command = instruction.rest.slice(flags.length);
  const words = jsonWords(command) ?? [...shell, withHeredocs(command, instruction.heredocs)];
  return { words, flags: flags.split(/\s+/).filter((flag) => flag !== "") };
}

/** `RUN <<EOF` gives the text to the shell; `RUN cmd <<EOF` is the shell's own here-document. */
function withHeredocs(command: string, heredocs: readonly string[]): string {
  if (heredocs.length === 0) return command;
  if (/^<<-?\s*["']?[A-Za-z_][A-Za-z0-9_]*["']?\s*$/.test(command)) return heredocs.join("\n");
  const ends = [...command.matchAll(/<<-?\s*["']?([A-Za-z_][A-Za-z0-9_]*)/g)].map((match) => match[1] ?? "");
  return [command, ...heredocs.map((text, i) => `${text}\n${ends[i] ?? ""}`)].join("\n");
}

function splitInstructions(text: string): Instruction[] {
  const lines = text.replace(/^\uFEFF/, "").split(/\r?\n/);
  let continuation = "\\";
  let directives = true;
  const out: Instruction[] = [];
  for (let i = 0; i < lines.length; i++) {
    const first = lines[i] ?? "";
    if (directives) {
      const directive = /^\s*#\s*([a-z]+)\s*=\s*(\S+)\s*$/i.exec(first);
      if (directive?.[1]?.toLowerCase() === "escape") continuation = directive[2] ?? "\\";
      if (directive === null) directives = false;
    }
    if (/^\s*(#|$)/.test(first)) continue;
    const line = i + 1;
    let original = "";
    for (let current = first.trimStart(); ; ) {
      const trimmed = current.trimEnd();
      const goesOn = trimmed.endsWith(continuation) && i + 1 < lines.length;
      original += goesOn ? trimmed.slice(0, -1) : current;
      if (!goesOn) break;
      // Comments and empty lines between continued lines are no part of the instruction.
      while (i + 1 < lines.length && /^\s*(#|$)/.test(lines[i + 1] ?? "")) i++;
      if (i + 1 >= lines.length) break;
      current = lines[++i] ?? "";
    }
    original = original.trim();
    const gap = original.search(/\s/);
    const keyword = (gap < 0 ? original : original.slice(0, gap)).toUpperCase();
    const rest = gap < 0 ? "" : original.slice(gap).trim();
    const heredocs: string[] = [];
    if (keyword === "RUN" || keyword === "COPY" || keyword === "ADD")
      for (const match of rest.matchAll(/(?<!<)<<(-?)\s*(["']?)([A-Za-z_][A-Za-z0-9_]*)\2/g)) {
        const end = lines.findIndex(
          (candidate, at) => at > i && (match[1] === "-" ? candidate.trimStart() : candidate) === match[3],
        );
        if (end < 0) break;
        heredocs.push(lines.slice(i + 1, end).join("\n"));
        i = end;
      }
    out.push({ keyword, rest, original, line, heredocs });
  }
  return out;
}
