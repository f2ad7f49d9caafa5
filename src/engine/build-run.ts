import type { Exit } from "../containers/contract.js";
import type { BuildRunner, BuildStep } from "../images/contract.js";
import { type Container, createdState, plainConfig, plainHostConfig } from "../model/index.js";
import { nowText } from "./clock.js";
import type { EngineContext } from "./context.js";

/** Where the steps of one build run. */
export interface BuildPlace {
  readonly netnsPath: string | undefined;
  readonly networkMode: string;
  readonly hostname: string;
  readonly etcFiles: { readonly hosts?: string; readonly resolvConf?: string; readonly hostname?: string };
}

/** One RUN: a container that is in no list, on the build's network, run to its end. Its writable layer stays until it is forgotten. */
export async function runBuildStep(ctx: EngineContext, place: BuildPlace, step: BuildStep): ReturnType<BuildRunner["run"]> {
  const { runtime } = ctx;
  const ended = exitOf(ctx, step.id);
  const stop = () => void runtime.kill(step.id, "SIGKILL").catch(() => undefined);
  try {
    await runtime.create({
      container: containerOf(step, place),
      netnsPath: place.netnsPath,
      hostname: place.hostname,
      layers: step.layers,
      imageConfig: step.config,
      mounts: step.mounts,
      etcFiles: place.etcFiles,
      linkEnv: [],
    });
    const session = await runtime.attach(step.id, { tty: false, stdin: false });
    session.onOutput((chunk) => step.onOutput(chunk));
    await runtime.start(step.id);
    step.signal?.addEventListener("abort", stop, { once: true });
    if (step.signal?.aborted === true) stop();
    const exit = await ended.exit;
    await session.ended;
    return { exitCode: exit.exitCode, upper: runtime.upperDir(step.id) };
  } finally {
    step.signal?.removeEventListener("abort", stop);
    ended.forget();
    await runtime.cleanup(step.id);
  }
}

const waiting = new WeakMap<EngineContext, Map<string, (exit: Exit) => void>>();

/** The runtime tells every exit to every listener: one is enough for all builds. */
function exitOf(ctx: EngineContext, id: string): { readonly exit: Promise<Exit>; forget(): void } {
  let byId = waiting.get(ctx);
  if (byId === undefined) {
    const map = new Map<string, (exit: Exit) => void>();
    ctx.runtime.onExit((exit) => map.get(exit.containerId)?.(exit));
    waiting.set(ctx, map);
    byId = map;
  }
  const listeners = byId;
  const exit = new Promise<Exit>((resolve) => listeners.set(id, resolve));
  return { exit, forget: () => void listeners.delete(id) };
}

function containerOf(step: BuildStep, place: BuildPlace): Container {
  const [path = "", ...args] = step.command;
  return {
    id: step.id,
    name: `build-${step.id.slice(0, 12)}`,
    created: nowText(),
    imageId: "",
    path,
    args,
    config: {
      ...plainConfig(step.command),
      Hostname: place.hostname,
      User: step.config.User ?? "",
      WorkingDir: step.config.WorkingDir ?? "",
    },
    hostConfig: {
      ...plainHostConfig(place.networkMode),
      LogConfig: { Type: "none", Config: {} },
      Memory: step.memory,
      ShmSize: step.shmSize,
    },
    networks: [],
    mounts: [...step.mounts],
    state: createdState(),
  };
}
