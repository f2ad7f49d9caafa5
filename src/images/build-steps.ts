import { randomBytes } from "node:crypto";
import { createWriteStream } from "node:fs";
import { lstat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { StringDecoder } from "node:string_decoder";
import { orRefuse, refuse } from "../base/errors.js";
import type { ImageRuntimeConfig } from "../model/container.js";
import type { BuildArgs } from "./build-args.js";
import { type BuildCache, cacheKey } from "./build-cache.js";
import { copySources, makeDirectories, ownerOf } from "./build-copy.js";
import { type BuildLayer, nextImage, type StepImage, type StepResult } from "./build-image.js";
import { mountsOf, parseRunFlags } from "./build-mounts.js";
import { type CopyRequest, digestOf, findSources, parseCopy, type Source } from "./build-sources.js";
import { applyChanges, environmentOf, jsonWords } from "./changes.js";
import { layerOfUpper } from "./commit.js";
import type { BuildRequest, BuildRunner, Progress } from "./contract.js";
import { type Instruction, runCommand } from "./dockerfile.js";
import { writeUncompressed } from "./layer-file.js";
import { withOverlay } from "./overlay-mount.js";
import { withRooted } from "./rooted.js";

/** What the steps of a build share. */
export interface BuildContext {
  readonly request: BuildRequest;
  /** Directory of working files */
  readonly directory: string;
  readonly contextDirectory: string;
  /** Where RUN --mount=type=cache keeps its files */
  readonly mountCaches: string;
  readonly args: BuildArgs;
  readonly cache: BuildCache;
  readonly emit: Progress;
  /** The namespace for RUN steps; made when the first one asks. */
  runner(): Promise<BuildRunner>;
  /** A stage by name or number, or an image. */
  imageNamed(ref: string): Promise<StepImage>;
  /** What an earlier build made of this step, if its layers are still there. */
  remembered(key: string): Promise<StepImage | undefined>;
}

export interface StageState {
  readonly image: StepImage;
  /** ARGs declared so far */
  readonly args: ReadonlyMap<string, string>;
  /** A CMD of this stage's own survives an ENTRYPOINT */
  readonly cmdSet: boolean;
}

const ansi = { red: "\u001b[91m", off: "\u001b[0m" } as const;
const nop = (text: string) => `/bin/sh -c #(nop) ${text}`;
const configOf = (image: StepImage): ImageRuntimeConfig => image.file.config ?? {};
const directoriesOf = (image: StepImage): string[] => image.layers.map((layer) => layer.directory).reverse();

/** One instruction but FROM: its message to the user, and the state after it. */
export async function runInstruction(build: BuildContext, state: StageState, instruction: Instruction): Promise<StageState> {
  const config = configOf(state.image);
  const variables = new Map([...state.args, ...environmentOf(config.Env ?? [])]);
  switch (instruction.keyword) {
    case "RUN":
      return { ...state, image: await runStep(build, state, instruction) };
    case "COPY":
    case "ADD":
      return { ...state, image: await copyStep(build, state, parseCopy(instruction, variables)) };
    case "WORKDIR":
      return { ...state, image: await workdirStep(build, state, instruction) };
    case "ARG": {
      const declared = build.args.declare(instruction, variables);
      const args = new Map([...state.args, ...declared.flatMap(([k, v]) => (v === undefined ? [] : [[k, v] as const]))]);
      return { ...state, args, image: await plain(build, state.image, `ARG ${instruction.rest}`, {}) };
    }
    case "MAINTAINER":
      return { ...state, image: await plain(build, state.image, `MAINTAINER ${instruction.rest}`, { author: instruction.rest }) };
    case "SHELL": {
      const words = jsonWords(instruction.rest);
      if (words === undefined || words.length === 0) return refuse(400, "SHELL requires the arguments to be in JSON form");
      const text = `SHELL ${quotedList(words)}`;
      return { ...state, image: await plain(build, state.image, text, { config: { ...config, Shell: words } }) };
    }
    default: {
      const { keyword, rest } = instruction;
      const changed = orRefuse(applyChanges(config, [`${keyword} ${rest}`], state.args));
      const forgets = keyword === "ENTRYPOINT" && !state.cmdSet && changed.Cmd !== undefined;
      const { Cmd, ...others } = changed;
      const words = keyword === "CMD" ? changed.Cmd : keyword === "ENTRYPOINT" ? changed.Entrypoint : undefined;
      const text = `${keyword} ${words === undefined ? rest : quotedList(words)}`;
      const image = await plain(build, state.image, text, { config: forgets ? others : changed });
      return { ...state, image, cmdSet: state.cmdSet || keyword === "CMD" };
    }
  }
}

const quotedList = (words: readonly string[]): string => `[${words.map((word) => JSON.stringify(word)).join(" ")}]`;

/** A step that only changes the configuration. */
function plain(build: BuildContext, from: StepImage, text: string, change: Omit<StepResult, "createdBy">): Promise<StepImage> {
  const key = cacheKey(from.id, text, JSON.stringify(change));
  return step(build, key, from, async () => ({ ...change, createdBy: nop(` ${text}`) }));
}

/** Looks for the step in the cache, does it otherwise, and tells the result. */
async function step(build: BuildContext, key: string, from: StepImage, work: () => Promise<StepResult>): Promise<StepImage> {
  build.request.signal?.throwIfAborted();
  const known = build.request.noCache ? undefined : await build.remembered(key);
  if (known !== undefined) build.emit({ stream: " ---> Using cache\n" });
  const image = known ?? nextImage(from, await work());
  if (known === undefined) await build.cache.put(key, image.text);
  build.emit({ stream: ` ---> ${image.id.slice(7, 19)}\n` });
  return image;
}

async function runStep(build: BuildContext, state: StageState, instruction: Instruction): Promise<StepImage> {
  const config = configOf(state.image);
  const { words, flags } = runCommand(instruction, config.Shell);
  const mounts = parseRunFlags(flags, config.WorkingDir || "/");
  const { shown, hidden } = build.args.environment(state.args, config.Env ?? []);
  const key = cacheKey(state.image.id, "RUN", ...words, "--", ...shown, "--", ...flags);
  return step(build, key, state.image, async () => {
    const id = randomBytes(32).toString("hex");
    build.emit({ stream: ` ---> Running in ${id.slice(0, 12)}\n` });
    const work = async (): Promise<BuildLayer> => {
      const runner = await build.runner();
      const { signal } = build.request;
      const roots = await mountsOf(mounts, build.mountCaches, async (from) => {
        if (from === "") return build.contextDirectory;
        return mergedCopy(build, await build.imageNamed(from));
      });
      const output = printer(build.emit);
      const { exitCode, upper } = await runner.run({
        id,
        command: words,
        config: { ...config, Env: [...shown, ...hidden, ...(config.Env ?? [])] },
        layers: directoriesOf(state.image),
        mounts: roots,
        memory: build.request.memory,
        shmSize: build.request.shmSize,
        ...(signal === undefined ? {} : { signal }),
        onOutput: output.push,
      });
      output.end();
      signal?.throwIfAborted();
      if (exitCode !== 0) refuse(500, `The command '${words.join(" ")}' returned a non-zero code: ${exitCode}`);
      const layer = await layerOf(build, upper);
      build.emit({ stream: `Removing intermediate container ${id.slice(0, 12)}\n` });
      return layer;
    };
    const arguments_ = shown.length === 0 ? "" : `|${shown.length} ${shown.join(" ")} `;
    return { layer: await work(), createdBy: `${arguments_}${words.join(" ")}` };
  });
}

/** A file system to bind from, for as long as the build lasts: the layers laid over each other into one directory. */
async function mergedCopy(build: BuildContext, image: StepImage): Promise<string> {
  const target = join(build.directory, randomBytes(8).toString("hex"));
  const { upper } = await withOverlay(target, [], async (root) => {
    await withOverlay(`${target}-from`, directoriesOf(image), async (from) => {
      await copySources(
        root,
        [{ root: from, path: "/", name: "", isDirectory: true }],
        "/",
        { keyword: "COPY", chmod: undefined },
        undefined,
      );
    });
  });
  return upper;
}

/** What was written, as a layer. */
async function layerOf(build: BuildContext, upper: string): Promise<BuildLayer> {
  const file = join(build.directory, `${randomBytes(8).toString("hex")}.tar`);
  const { digest, size } = await writeUncompressed(layerOfUpper(upper), file);
  return { digest, size, directory: upper, file };
}

/** Runs `work` on the image's file system, mounted; the layer is what it wrote. */
async function withImage(build: BuildContext, image: StepImage, work: (root: string) => Promise<void>): Promise<BuildLayer> {
  const directory = join(build.directory, randomBytes(8).toString("hex"));
  const { upper } = await withOverlay(directory, directoriesOf(image), work);
  return layerOf(build, upper);
}

async function copyStep(build: BuildContext, state: StageState, request: CopyRequest): Promise<StepImage> {
  const workingDir = configOf(state.image).WorkingDir || "/";
  const destination = request.destination.startsWith("/")
    ? request.destination
    : `${workingDir.replace(/\/$/, "")}/${request.destination.replace(/^\.(?:\/|$)/, "")}`;
  const copy = (found: readonly Source[]) => async (root: string) => {
    const owner =
      request.chown !== "" ? await ownerOf(root, request.chown) : request.from === "" ? { uid: 0, gid: 0 } : undefined;
    await copySources(root, found, destination, request, owner);
  };
  const flags = [request.chown, String(request.chmod ?? ""), destination];
  if (request.from !== "") {
    const from = await build.imageNamed(request.from);
    const key = cacheKey(state.image.id, request.keyword, "--from", from.id, ...flags, ...request.sources);
    return step(build, key, state.image, async () => {
      let layer: BuildLayer | undefined;
      await withOverlay(join(build.directory, randomBytes(8).toString("hex")), directoriesOf(from), async (root) => {
        const found = await findSources(root, request.sources, request.keyword);
        layer = await withImage(build, state.image, copy(found));
      });
      return {
        ...(layer === undefined ? {} : { layer }),
        createdBy: nop(`COPY ${request.sources.join(" ")} in ${destination} `),
      };
    });
  }
  const found = await sourcesOf(build, request);
  const digest = await digestOf(found);
  const kind = found.length > 1 ? "multi" : found[0]?.isDirectory === true ? "dir" : "file";
  const key = cacheKey(state.image.id, request.keyword, digest, ...flags, ...found.map((source) => source.name));
  return step(build, key, state.image, async () => ({
    layer: await withImage(build, state.image, copy(found)),
    createdBy: nop(`${request.keyword} ${kind}:${digest} in ${destination} `),
  }));
}

/** Files of the context, and what ADD fetches from elsewhere. */
async function sourcesOf(build: BuildContext, request: CopyRequest): Promise<Source[]> {
  const isUrl = (source: string) => request.keyword === "ADD" && /^(https?|ftp):\/\//.test(source);
  const local = request.sources.filter((source) => !isUrl(source));
  const found = local.length === 0 ? [] : await findSources(build.contextDirectory, local, request.keyword);
  for (const source of request.sources.filter(isUrl)) found.push(await fetchSource(build, source, request.destination));
  return found;
}

async function fetchSource(build: BuildContext, url: string, destination: string): Promise<Source> {
  const name = new URL(url).pathname.split("/").at(-1) ?? "";
  if (name === "" && destination.endsWith("/")) refuse(400, `cannot determine filename for source ${url}`);
  const path = `/${randomBytes(8).toString("hex")}`;
  const file = join(build.directory, path);
  const answer = await fetch(url, build.request.signal === undefined ? {} : { signal: build.request.signal }).catch(
    (error: Error) =>
      refuse(500, `ADD failed: failed to GET ${url}: ${(error.cause as Error | undefined)?.message ?? error.message}`),
  );
  if (!answer.ok || answer.body === null)
    refuse(500, `ADD failed: failed to GET ${url} with status ${answer.status} ${answer.statusText}`);
  await pipeline(Readable.fromWeb(answer.body!), createWriteStream(file, { mode: 0o600 }));
  const modified = Date.parse(answer.headers.get("last-modified") ?? "");
  const time = Number.isNaN(modified) ? 0 : modified / 1000;
  await utimes(file, time, time);
  return { root: build.directory, path, name, isDirectory: false };
}

async function workdirStep(build: BuildContext, state: StageState, instruction: Instruction): Promise<StepImage> {
  const config = orRefuse(applyChanges(configOf(state.image), [`WORKDIR ${instruction.rest}`], state.args));
  const path = normal(config.WorkingDir ?? "/");
  const changed = { ...config, WorkingDir: path };
  const text = `WORKDIR ${path}`;
  return step(build, cacheKey(state.image.id, text), state.image, async () => {
    const directory = join(build.directory, randomBytes(8).toString("hex"));
    const { value: made, upper } = await withOverlay(directory, directoriesOf(state.image), async (root) => {
      const present = await withRooted(root, path, { follow: true }, async (rooted) =>
        (await lstat(rooted.at)).isDirectory(),
      ).catch(() => false);
      return present ? false : makeDirectories(root, path, undefined);
    });
    return { config: changed, createdBy: nop(text), ...(made ? { layer: await layerOf(build, upper) } : {}) };
  });
}

function normal(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}

/** A step's output as messages; what goes to stderr is red, as the classic builder shows it. */
function printer(emit: Progress): { push(chunk: { stream: "stdout" | "stderr"; data: Buffer }): void; end(): void } {
  const decoders = { stdout: new StringDecoder("utf8"), stderr: new StringDecoder("utf8") };
  const say = (stream: "stdout" | "stderr", text: string) => {
    if (text !== "") emit({ stream: stream === "stdout" ? text : `${ansi.red}${text}${ansi.off}` });
  };
  return {
    push: ({ stream, data }) => say(stream, decoders[stream].write(data)),
    end() {
      for (const stream of ["stdout", "stderr"] as const) say(stream, decoders[stream].end());
    },
  };
}
