import { RefusalError, refuse } from "../base/errors.js";
import type { AttachSession, ExecRequest, ExecStatus } from "../containers/contract.js";
import type { Container } from "../model/index.js";
import { newId } from "./clock.js";
import { containerEvent } from "./container-events.js";
import type { EngineContext } from "./context.js";
import { linkEnv, linksNow } from "./links.js";
import { resolveContainer } from "./resolve.js";

/** Ended execs are kept for `exec inspect`, as many per container as this; Docker forgets them after five minutes. */
const KEPT_PER_CONTAINER = 64;

interface Exec {
  readonly id: string;
  readonly containerId: string;
  readonly request: ExecRequest;
  running: boolean;
  started: boolean;
  exitCode: number | null;
  pid: number;
}

/** `docker exec`. Execs are not kept across a restart of the engine: their streams end with it. */
export class Execs {
  readonly #ctx: EngineContext;
  readonly #execs = new Map<string, Exec>();
  readonly #byContainer = new Map<string, string[]>();

  constructor(ctx: EngineContext) {
    this.#ctx = ctx;
  }

  create(ref: string, request: ExecRequest): string {
    const container = this.#running(ref);
    if (request.cmd.length === 0) refuse(400, "No exec command specified");
    // Docker refuses here when a linked container is away: the environment could not be made.
    const env = [...linkEnv(container, linksNow(this.#ctx, container)), ...request.env];
    const exec: Exec = {
      id: newId(),
      containerId: container.id,
      request: { ...request, env },
      running: false,
      started: false,
      exitCode: null,
      pid: 0,
    };
    this.#execs.set(exec.id, exec);
    const ids = this.#byContainer.get(container.id) ?? [];
    ids.push(exec.id);
    this.#byContainer.set(container.id, ids);
    this.#forgetOld(ids);
    containerEvent(this.#ctx, container, `exec_create: ${request.cmd.join(" ")}`, { execID: exec.id });
    return exec.id;
  }

  /** undefined: detached. The session ends after the exit code is known. */
  async start(id: string, options: { readonly detach: boolean; readonly tty: boolean }): Promise<AttachSession | undefined> {
    const exec = this.#get(id);
    if (exec.started)
      refuse(409, exec.running ? `Error: Exec command ${id} is already running` : `Error: Exec command ${id} has already run`);
    const container = this.#running(exec.containerId);
    exec.started = true;
    exec.running = true;
    containerEvent(this.#ctx, container, `exec_start: ${exec.request.cmd.join(" ")}`, { execID: id });
    let exited: () => void = () => undefined;
    const exit = new Promise<void>((resolve) => {
      exited = resolve;
    });
    const onExit = (code: number) => {
      exec.running = false;
      exec.exitCode = code;
      const now = this.#ctx.state.containers.get(exec.containerId);
      if (now !== undefined) containerEvent(this.#ctx, now, "exec_die", { execID: id, exitCode: String(code) });
      exited();
    };
    const request = options.tty === exec.request.tty ? exec.request : { ...exec.request, tty: options.tty };
    try {
      const { pid, session } = await this.#ctx.runtime.execStart(container, { id, request }, onExit);
      exec.pid = pid;
      if (options.detach) {
        // Read and dropped: a process whose output nobody takes would stand still.
        session.onOutput(() => undefined);
        return undefined;
      }
      return {
        onOutput: (listener) => session.onOutput(listener),
        write: (data) => session.write(data),
        endInput: () => session.endInput(),
        pause: () => session.pause?.(),
        resume: () => session.resume?.(),
        ended: session.ended.then(() => exit),
        close: () => session.close(),
      };
    } catch (error) {
      exec.running = false;
      // Docker's code for every command that could not be started in a container that runs.
      exec.exitCode ??= 126;
      if (options.detach || !(error instanceof RefusalError) || ![400, 500].includes(error.status)) throw error;
      // The client has asked for a stream: it gets the reason on it, and the exit code from inspect.
      return endedSession(`${error.message}\r\n`);
    }
  }

  resize(id: string, height: number, width: number): Promise<void> {
    const exec = this.#get(id);
    if (!exec.running) refuse(409, `Container ${exec.containerId} is not running`);
    return this.#ctx.runtime.execResize(id, height, width);
  }

  inspect(id: string): ExecStatus {
    const { containerId, request, running, exitCode, pid } = this.#get(id);
    return { id, containerId, request, running, exitCode, pid };
  }

  /** Those that run, as `inspect` shows them. */
  ids(containerId: string): readonly string[] {
    return (this.#byContainer.get(containerId) ?? []).filter((id) => this.#execs.get(id)?.running === true);
  }

  forget(containerId: string): void {
    for (const id of this.#byContainer.get(containerId) ?? []) this.#execs.delete(id);
    this.#byContainer.delete(containerId);
  }

  #get(id: string): Exec {
    return this.#execs.get(id) ?? refuse(404, `No such exec instance: ${id}`);
  }

  #running(ref: string): Container {
    const container = resolveContainer(this.#ctx.state, ref);
    const { status } = container.state;
    if (status === "paused") refuse(409, `Container ${ref} is paused, unpause the container before exec`);
    if (status === "restarting") refuse(409, `Container ${container.id} is restarting, wait until the container is running`);
    if (status !== "running") refuse(409, `Container ${container.id} is not running`);
    return container;
  }

  #forgetOld(ids: string[]): void {
    for (let i = 0; i < ids.length && ids.length > KEPT_PER_CONTAINER; ) {
      const exec = this.#execs.get(ids[i]!);
      if (exec?.running === true || exec?.started === false) {
        i++;
        continue;
      }
      this.#execs.delete(ids[i]!);
      ids.splice(i, 1);
    }
  }
}

/** A session whose only output is this text. */
function endedSession(text: string): AttachSession {
  return {
    onOutput: (listener) => listener({ stream: "stdout", data: Buffer.from(text) }),
    write: () => undefined,
    endInput: () => undefined,
    ended: Promise.resolve(),
    close: () => undefined,
  };
}
