import { mkdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { orRefuse, RefusalError, refuse } from "../base/errors.js";
import { unpackInto } from "./archive-put.js";
import { BuildArgs } from "./build-args.js";
import type { BuildCache } from "./build-cache.js";
import { applyIgnore } from "./build-ignore.js";
import { emptyImage, imageInStorage, layerSources, layersInStorage, rememberedImage, type StepImage } from "./build-image.js";
import { type BuildPlan, planBuild } from "./build-plan.js";
import { type BuildContext, runInstruction, type StageState } from "./build-steps.js";
import type { BuildRequest, BuildRunner, Progress, RegistryAuth } from "./contract.js";
import { externalImages, firstBadInstruction, type Instruction, parseDockerfile, type Stage, targetStage } from "./dockerfile.js";
import { findImage } from "./lookup.js";
import { pullImage, type RegistryContext } from "./pull.js";
import { canonicalName, familiarName, parseReference } from "./reference.js";
import { registryHost } from "./registry-access.js";
import { resolveInRoot } from "./rooted.js";
import { addNames, makeTemporary, removeTemporary, storeImage } from "./storage-write.js";

export interface BuiltImage {
  readonly id: string;
  /** Familiar names. */
  readonly names: readonly string[];
}

export const mountCachesOf = (storageRoot: string): string => join(dirname(storageRoot), "build-mounts");

/**
 * `docker build` as the classic builder does it: step by step, each on the layers before it, RUN in a container of the engine's own
 * (`open` joins its network). Only what a stage ends with, or fails at, becomes an image in storage; the steps before it are remembered in
 * `cache`. Failures are refusals in Docker's words.
 */
export async function buildImage(
  context: RegistryContext,
  cache: BuildCache,
  request: BuildRequest,
  progress: Progress,
  open: (mode: string) => Promise<BuildRunner>,
): Promise<BuiltImage> {
  const names = request.tags.map((tag) => canonicalName(orRefuse(parseReference(tag))));
  const directory = await makeTemporary(context.storage);
  const emit: Progress = request.quiet ? () => undefined : progress;
  const runner = lazyRunner(() => open(request.networkMode));
  try {
    const contextDirectory = join(directory, "context");
    await mkdir(contextDirectory);
    await unpackInto(contextDirectory, "", request.context, { noOverwriteDirNonDir: false });
    const text = await dockerfileOf(contextDirectory, request.dockerfile);
    await applyIgnore(contextDirectory);
    const dockerfile = orRefuse(parseDockerfile(text, request.dockerfile, request.buildArgs));
    const last = targetStage(dockerfile, request.target);
    if (last === undefined) refuse(400, `failed to reach build target ${request.target} in Dockerfile`);
    const plan = planBuild(dockerfile, last, request.labels);
    announce(plan, emit);
    await ensureBases(context, externalImages(dockerfile, last), request, emit);
    failEarly(plan, emit);

    const args = new BuildArgs(request.buildArgs, dockerfile);
    const build = { request, directory, contextDirectory, args, cache, emit, runner: runner.get };
    const image = await buildStages(context, { ...build, mountCaches: mountCachesOf(context.storage.root) }, plan);
    const unused = args.unused();
    if (unused.length > 0) emit({ stream: `[Warning] One or more build-args [${unused.join(" ")}] were not consumed\n` });
    const id = await store(context, image, names);
    emit({ aux: { ID: id } });
    emit({ stream: `Successfully built ${id.slice(7, 19)}\n` });
    for (const name of names) emit({ stream: `Successfully tagged ${familiarName(name)}\n` });
    if (request.quiet) progress({ stream: `${id}\n` });
    return { id, names: names.map(familiarName) };
  } catch (error) {
    if (request.signal?.aborted === true && !(error instanceof RefusalError)) refuse(499, "build cancelled");
    throw error;
  } finally {
    await cache.save();
    await runner.release();
    await removeTemporary(directory);
  }
}

/** The namespace is made for the first RUN that must run; what its steps wrote is kept until the build's end. */
function lazyRunner(open: () => Promise<BuildRunner>): { get(): Promise<BuildRunner>; release(): Promise<void> } {
  let opened: Promise<BuildRunner> | undefined;
  const steps: string[] = [];
  return {
    get() {
      opened ??= open().then((runner) => ({
        ...runner,
        run(step) {
          steps.push(step.id);
          return runner.run(step);
        },
      }));
      return opened;
    },
    async release() {
      const runner = await opened?.catch(() => undefined);
      for (const id of steps) await runner?.forget(id);
      await runner?.release();
    },
  };
}

type StageTools = Omit<BuildContext, "imageNamed" | "remembered">;

async function buildStages(context: RegistryContext, tools: StageTools, plan: BuildPlan): Promise<StepImage> {
  const done: { readonly name: string | undefined; readonly image: StepImage }[] = [];
  const made = new Map<string, StepImage>();
  const { index } = context;
  const stageNamed = (ref: string) =>
    done.find((stage) => stage.name === ref.toLowerCase())?.image ??
    (/^[0-9]+$/.test(ref) ? done[Number(ref)]?.image : undefined);
  const build: BuildContext = {
    ...tools,
    async imageNamed(ref) {
      const stage = stageNamed(ref);
      if (stage !== undefined) return stage;
      const snapshot = await index.read();
      const found = findImage(snapshot, ref) ?? refuse(400, `invalid from flag value ${ref}: No such image: ${ref}`);
      return imageInStorage(found, snapshot, index.layerDirectory);
    },
    async remembered(key) {
      const text = await tools.cache.get(key);
      if (text === undefined) return undefined;
      const own = made.get(text);
      if (own !== undefined) return own;
      const image = rememberedImage(text, []);
      const layers = layersInStorage(image.file.rootfs?.diff_ids ?? [], await index.read(), index.layerDirectory);
      return layers === undefined ? undefined : { ...image, layers };
    },
  };
  for (const stage of plan.stages) {
    let state: StageState | undefined;
    try {
      for (const instruction of stage.instructions) {
        // The very first FROM was told above the pull of its image.
        if (instruction !== plan.stages[0]?.instructions[0]) announceStep(plan, instruction, tools.emit);
        if (state === undefined) {
          state = { image: await baseOf(build, stage, stageNamed(stage.base)), args: new Map(), cmdSet: false };
          tools.emit({ stream: ` ---> ${state.image.id.slice(7, 19)}\n` });
          state = await runTriggers(build, state);
        } else state = await runInstruction(build, state, instruction);
        made.set(state.image.text, state.image);
      }
    } catch (error) {
      // What went well before need not be done again: Docker keeps the steps of a failed build, too.
      if (state !== undefined)
        await keep(context, state.image).catch((e: unknown) => context.storage.log.warn("build steps", { error: String(e) }));
      throw error;
    }
    if (state === undefined) throw new Error("a stage without FROM");
    if (stage !== plan.stages.at(-1)) await keep(context, state.image);
    done.push({ name: stage.name, image: state.image });
  }
  return done.at(-1)!.image;
}

async function baseOf(build: BuildContext, stage: Stage, earlier: StepImage | undefined): Promise<StepImage> {
  if (earlier !== undefined) return earlier;
  return stage.base === "scratch" ? emptyImage() : build.imageNamed(stage.base);
}

/** ONBUILD of the base image: run after its FROM, and not inherited further. */
async function runTriggers(build: BuildContext, from: StageState): Promise<StageState> {
  const triggers = from.image.file.config?.OnBuild ?? [];
  if (triggers.length === 0) return from;
  build.emit({ stream: `# Executing ${triggers.length} build trigger${triggers.length === 1 ? "" : "s"}\n` });
  const { OnBuild: _, ...config } = from.image.file.config ?? {};
  const file = { ...from.image.file, config };
  let state: StageState = { ...from, image: { ...from.image, file, text: JSON.stringify(file) } };
  const parsed = orRefuse(parseDockerfile(["FROM scratch", ...triggers].join("\n"), "ONBUILD", build.request.buildArgs));
  for (const instruction of parsed.stages[0]?.instructions.slice(1) ?? [])
    state = await runInstruction(build, state, instruction);
  return state;
}

/** A nameless image that holds the layers which storage does not have yet. */
async function keep(context: RegistryContext, image: StepImage): Promise<void> {
  if (image.layers.some((layer) => layer.file !== undefined)) await store(context, image, []);
}

async function store(context: RegistryContext, image: StepImage, names: readonly string[]): Promise<string> {
  if (image.id === "") refuse(400, "No image was generated. Is your Dockerfile empty?");
  const snapshot = await context.index.read();
  const hex = image.id.slice("sha256:".length);
  const present = snapshot.images.get(hex);
  if (present === undefined) return storeImage(context.storage, { config: image.text, layers: layerSources(image), names });
  await addNames(
    context.storage,
    image.id,
    names.filter((name) => !present.names.includes(name)),
  );
  return image.id;
}

async function dockerfileOf(directory: string, name: string): Promise<string> {
  const missing = () => refuse(400, `Cannot locate specified Dockerfile: ${name}`);
  const rooted = await resolveInRoot(directory, name, { follow: true }).catch(missing);
  await rooted.close();
  return readFile(join(directory, rooted.path), "utf8").catch(missing);
}

const announceStep = (plan: BuildPlan, instruction: Instruction, emit: Progress): void =>
  emit({ stream: `Step ${plan.numberOf.get(instruction)}/${plan.total} : ${instruction.original}\n` });

/** The first steps are told before the base images are looked for: a pull belongs below its FROM. */
function announce(plan: BuildPlan, emit: Progress): void {
  const first = plan.stages[0]?.instructions[0];
  for (const instruction of [...plan.dockerfile.globals, ...(first === undefined ? [] : [first])])
    announceStep(plan, instruction, emit);
}

/** Every image that the file names is in storage afterwards. */
async function ensureBases(
  context: RegistryContext,
  images: readonly string[],
  request: BuildRequest,
  emit: Progress,
): Promise<void> {
  for (const ref of images) {
    const present = findImage(await context.index.read(), ref) !== undefined || (await context.makeBuiltin(ref));
    if (present && !request.pull) continue;
    const reference = orRefuse(parseReference(ref));
    const auth = authFor(request.auth, reference.domain);
    const platform = request.platform === "" ? {} : { platform: request.platform };
    await pullImage(context, ref, { ...(auth === undefined ? {} : { auth }), ...platform }, emit);
  }
}

function authFor(auths: Readonly<Record<string, RegistryAuth>>, domain: string): RegistryAuth | undefined {
  return Object.entries(auths).find(([address]) => registryHost(address) === domain)?.[1];
}

/** An instruction that can only fail is refused before the steps above it are paid for. */
function failEarly(plan: BuildPlan, emit: Progress): void {
  const instructions = plan.stages.flatMap((stage) => stage.instructions);
  const bad = firstBadInstruction(instructions);
  if (bad === undefined) return;
  const instruction = instructions[bad.at];
  if (instruction !== undefined) announceStep(plan, instruction, emit);
  throw new RefusalError(bad.refusal);
}
