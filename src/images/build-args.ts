import { refuse } from "../base/errors.js";
import { environmentOf } from "./changes.js";
import type { Dockerfile, Instruction } from "./dockerfile.js";
import { shellWords, splitWords } from "./dockerfile-words.js";

/** Known to every RUN without an ARG, and in no history or cache (docs.docker.com/reference/dockerfile/#predefined-args). */
const predefined = [
  "HTTP_PROXY",
  "http_proxy",
  "HTTPS_PROXY",
  "https_proxy",
  "FTP_PROXY",
  "ftp_proxy",
  "NO_PROXY",
  "no_proxy",
  "ALL_PROXY",
  "all_proxy",
];

/** The build's arguments: what was given, what ARG declares, and which of those given nobody asked for. */
export class BuildArgs {
  readonly #given: Readonly<Record<string, string | null>>;
  readonly #globals = new Map<string, string>();
  readonly #used = new Set<string>();

  constructor(given: Readonly<Record<string, string | null>>, dockerfile: Dockerfile) {
    this.#given = given;
    for (const instruction of dockerfile.globals)
      for (const [key, value] of this.declare(instruction, this.#globals)) if (value !== undefined) this.#globals.set(key, value);
  }

  /** What an ARG sets; a value is undefined where neither the request nor the file gives one. */
  declare(instruction: Instruction, variables: ReadonlyMap<string, string>): (readonly [string, string | undefined])[] {
    return splitWords(instruction.rest).map((word) => {
      const equal = word.indexOf("=");
      const key = shellWords(equal < 0 ? word : word.slice(0, equal), variables);
      if (key === "") refuse(400, "ARG names can not be blank");
      this.#used.add(key);
      const fallback = equal < 0 ? this.#globals.get(key) : shellWords(word.slice(equal + 1), variables);
      return [key, this.#given[key] ?? fallback] as const;
    });
  }

  /** `declared` and the proxies, as environment of a RUN; what the image's own environment has goes before them. */
  environment(
    declared: ReadonlyMap<string, string>,
    env: readonly string[],
  ): { readonly shown: string[]; readonly hidden: string[] } {
    const own = environmentOf(env);
    const shown = [...declared].filter(([key]) => !own.has(key)).map(([key, value]) => `${key}=${value}`);
    const hidden = predefined.flatMap((key) => {
      const value = this.#given[key];
      return value === undefined || value === null || own.has(key) || declared.has(key) ? [] : [`${key}=${value}`];
    });
    return { shown: shown.sort(), hidden };
  }

  unused(): string[] {
    return Object.keys(this.#given).filter(
      (key) => this.#given[key] !== null && !this.#used.has(key) && !predefined.includes(key),
    );
  }
}
