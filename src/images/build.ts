import { access, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { orRefuse, RefusalError, refusal, refuse } from "../base/errors.js";
import { unpackInto } from "./archive-put.js";
import { type BuildOutput, type BuildPlan, createBuildOutput, planBuild } from "./build-output.js";
import type { BuildRequest, ImageStore, Progress, RegistryAuth } from "./contract.js";
import { externalImages, firstBadInstruction, parseDockerfile, runCommand, targetStage, withoutHeredocs } from "./dockerfile.js";
import { findImage, hexOf } from "./lookup.js";
import { pullImage, type RegistryContext } from "./pull.js";
import { canonicalName, familiarName, parseReference } from "./reference.js";
import { registryHost } from "./registry-access.js";
import { resolveInRoot } from "./rooted.js";
import { makeTemporary, removeTemporary } from "./storage-write.js";

type MakeNetns = Parameters<ImageStore["build"]>[2];
type BuildNetns = Awaited<ReturnType<MakeNetns>>;

export interface BuiltImage {
  readonly id: string;
  /** Familiar names. */
  readonly names: readonly string[];
}

/**
 * `docker build`, the classic builder's look over buildah. Base images are pulled by us beforehand, RUN steps run in the
 * namespace that `netns` makes. Failures are refusals in Docker's words.
 */
export async function buildImage(
  context: RegistryContext,
  request: BuildRequest,
  progress: Progress,
  netns: MakeNetns,
): Promise<BuiltImage> {
  const names = request.tags.map((tag) => canonicalName(orRefuse(parseReference(tag))));
  const directory = await makeTemporary(context.storage);
  const emit: Progress = request.quiet ? () => undefined : progress;
  try {
    const contextDirectory = join(directory, "context");
    await mkdir(contextDirectory);
    await unpackInto(contextDirectory, "", request.context, { noOverwriteDirNonDir: false });
    const { file, text } = await dockerfileOf(contextDirectory, request.dockerfile);
    const dockerfile = orRefuse(parseDockerfile(text, request.dockerfile, request.buildArgs));
    const rewritten = orRefuse(withoutHeredocs(dockerfile));
    const rewrittenFile = join(directory, "Dockerfile");
    if (rewritten !== undefined) await writeFile(rewrittenFile, rewritten);
    const last = targetStage(dockerfile, request.target);
    if (last === undefined) refuse(400, `failed to reach build target ${request.target} in Dockerfile`);
    const plan = planBuild(dockerfile, last, Object.keys(request.labels).length > 0 ? 1 : 0);
    announce(plan, emit);
    const bases = await ensureBases(context, externalImages(dockerfile, last), request, emit);
    failEarly(plan, emit);

    const namespace = await netns(request.networkMode);
    try {
      const output = createBuildOutput({
        plan,
        progress: emit,
        baseId: (stage) => bases.get(stage.base),
        async longId(prefix) {
          const ids = [...(await context.index.read()).images.keys()].filter((id) => id.startsWith(prefix));
          return ids.length === 1 ? ids[0] : undefined;
        },
      });
      const args = buildahArguments(context, request, namespace, names);
      const result = await context.storage.buildah(
        [...args, "--file", rewritten === undefined ? file : rewrittenFile, ...(await runtimeFlags(context)), contextDirectory],
        { onStdout: output.stdout, onStderr: output.stderr, cwd: directory },
      );
      await output.end();
      if (result.code !== 0) throw new RefusalError(refusal(500, buildError(output, result.stderr)));
      // Not --iidfile: with it buildah keeps the steps' ids to itself.
      const hex = /([0-9a-f]{64})\s*$/.exec(result.stdout)?.[1];
      if (hex === undefined) throw new Error(`buildah told no image id: ${result.stdout.slice(-200)}`);
      const id = `sha256:${hex}`;
      emit({ aux: { ID: id } });
      emit({ stream: `Successfully built ${id.slice(7, 19)}\n` });
      for (const name of names) emit({ stream: `Successfully tagged ${familiarName(name)}\n` });
      if (request.quiet) progress({ stream: `${id}\n` });
      return { id, names: names.map(familiarName) };
    } finally {
      await namespace.release();
    }
  } finally {
    await removeTemporary(directory);
  }
}

async function dockerfileOf(directory: string, name: string): Promise<{ file: string; text: string }> {
  const missing = () => refuse(400, `Cannot locate specified Dockerfile: ${name}`);
  const rooted = await resolveInRoot(directory, name, { follow: true }).catch(missing);
  await rooted.close();
  const file = join(directory, rooted.path);
  return { file, text: await readFile(file, "utf8").catch(missing) };
}

/** The first steps are told before the base images are looked for: a pull belongs below its FROM. */
function announce(plan: BuildPlan, emit: Progress): void {
  const first = plan.stages[0]?.instructions[0];
  for (const instruction of [...plan.dockerfile.globals, ...(first === undefined ? [] : [first])])
    emit({ stream: `Step ${plan.numberOf.get(instruction)}/${plan.total} : ${instruction.original}\n` });
}

/** Every image that the file names is in storage afterwards. Image as written → hex id. */
async function ensureBases(
  context: RegistryContext,
  images: readonly string[],
  request: BuildRequest,
  emit: Progress,
): Promise<ReadonlyMap<string, string>> {
  const ids = new Map<string, string>();
  for (const ref of images) {
    let found = findImage(await context.index.read(), ref);
    if (found === undefined && (await context.makeBuiltin(ref))) found = findImage(await context.index.read(), ref);
    if (found === undefined || request.pull) {
      const reference = orRefuse(parseReference(ref));
      const auth = authFor(request.auth, reference.domain);
      const platform = request.platform === "" ? {} : { platform: request.platform };
      await pullImage(context, ref, { ...(auth === undefined ? {} : { auth }), ...platform }, emit);
      found = findImage(await context.index.read(), ref);
    }
    if (found !== undefined) ids.set(ref, hexOf(found.image));
  }
  return ids;
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
  if (instruction !== undefined)
    emit({ stream: `Step ${plan.numberOf.get(instruction)}/${plan.total} : ${instruction.original}\n` });
  throw new RefusalError(bad.refusal);
}

function buildahArguments(
  context: RegistryContext,
  request: BuildRequest,
  namespace: BuildNetns,
  names: readonly string[],
): string[] {
  const each = (flag: string, values: readonly string[]) => values.flatMap((value) => [flag, value]);
  const args = Object.entries(request.buildArgs).filter((entry): entry is [string, string] => entry[1] !== null);
  return [
    ...["build", "--layers", "--format", "docker", "--identity-label=false", "--http-proxy=false", "--pull=never"],
    // Never without --network: buildah would set up a network of its own.
    ...["--isolation", "oci", "--network", namespace.path === undefined ? "host" : `ns:${namespace.path}`],
    ...["--signature-policy", context.storage.policyFile, "--force-rm"],
    ...each("--tag", names),
    ...each(
      "--build-arg",
      args.map(([key, value]) => `${key}=${value}`),
    ),
    ...each(
      "--label",
      Object.entries(request.labels).map(([key, value]) => `${key}=${value}`),
    ),
    ...each("--add-host", namespace.hosts),
    ...resolverFlags(namespace.resolvConf),
    ...(request.target === "" ? [] : ["--target", request.target]),
    ...(request.noCache ? ["--no-cache"] : []),
    ...(request.platform === "" ? [] : ["--platform", request.platform]),
    ...(request.memory > 0 ? ["--memory", String(request.memory)] : []),
    ...(request.shmSize > 0 ? ["--shm-size", `${request.shmSize}b`] : []),
  ];
}

/** resolv.conf(5) text → buildah's flags. */
function resolverFlags(text: string): string[] {
  const flags: string[] = [];
  for (const line of text.split("\n")) {
    const [keyword, ...words] = line.trim().split(/\s+/);
    if (keyword === "nameserver" && words[0] !== undefined) flags.push("--dns", words[0]);
    if (keyword === "search") for (const word of words) flags.push("--dns-search", word);
    if (keyword === "options") for (const word of words) flags.push("--dns-option", word);
  }
  return flags;
}

/** crun refuses hosts whose cgroups are half v1, half v2; runc runs on all. */
async function runtimeFlags(context: RegistryContext): Promise<string[]> {
  const directories = (context.storage.env().PATH ?? "").split(":");
  for (const runtime of ["runc", "crun"])
    for (const path of directories.map((directory) => join(directory, runtime)))
      if (
        await access(path).then(
          () => true,
          () => false,
        )
      )
        return ["--runtime", path];
  return [];
}

/** buildah's last words → the classic builder's. */
function buildError(output: BuildOutput, stderr: string): string {
  const text = output.error();
  const instruction = output.current();
  const exit = /while running runtime: exit status ([0-9]+)$/.exec(text)?.[1];
  const runtime = /msg="runc create failed: ((?:[^"\\]|\\.)*)"/.exec(stderr)?.[1];
  if (exit !== undefined && runtime !== undefined)
    return `OCI runtime create failed: runc create failed: ${runtime.replace(/\\(.)/g, "$1")}: unknown`;
  if (exit !== undefined && instruction !== undefined)
    return `The command '${runCommand(instruction)}' returned a non-zero code: ${exit}`;
  const missing =
    /^(?:error )?building at STEP "(ADD|COPY) .*copier: (?:stat|get): "\/?([^"]*)": no such file or directory$/s.exec(text);
  if (missing !== null)
    return `${missing[1]} failed: file not found in build context or excluded by .dockerignore: stat ${missing[2]}: file does not exist`;
  const reason = /^(?:error )?building at STEP ".*?": (.*)$/s.exec(text)?.[1];
  if (reason !== undefined && instruction !== undefined && /^(ADD|COPY)$/.test(instruction.keyword))
    return `${instruction.keyword} failed: ${reason}`;
  return reason ?? (text === "" ? stderr.trim().split("\n").at(-1) || "the build failed" : text);
}
