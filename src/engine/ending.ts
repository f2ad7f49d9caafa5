import { RefusalError, refuse } from "../base/errors.js";
import type { Container } from "../model/index.js";
import { containerEvent } from "./container-events.js";
import type { EngineContext } from "./context.js";
import type { Lifecycle } from "./lifecycle.js";
import { isRunning, resolveContainer } from "./resolve.js";
import { SIGKILL, SIGTERM, signalNumber } from "./signals.js";
import type { Waiters, WaitResult } from "./waiters.js";

const DEFAULT_STOP_SECONDS = 10;
/** How long a process may take to vanish after SIGKILL (uninterruptible I/O) before the request gives up. */
const KILL_SECONDS = 30;

export interface StopOptions {
  readonly timeoutSeconds?: number;
  readonly signal?: string;
}

/** stop, kill, restart, pause: what ends or holds a running process. The container's lock is not held while waiting for an exit. */
export class Ending {
  readonly #ctx: EngineContext;
  readonly #lifecycle: Lifecycle;
  readonly #waiters: Waiters;

  constructor(ctx: EngineContext, lifecycle: Lifecycle, waiters: Waiters) {
    this.#ctx = ctx;
    this.#lifecycle = lifecycle;
    this.#waiters = waiters;
  }

  /** false: it did not run. `byPerson`: an unless-stopped container stays down at the next start of the engine. */
  async stop(ref: string, options: StopOptions, byPerson = true): Promise<boolean> {
    const { id } = resolveContainer(this.#ctx.state, ref);
    const signal = options.signal === undefined || options.signal === "" ? undefined : signalNumber(options.signal);
    const exit = await this.#ctx.locks.run(id, async () => {
      const container = this.#lifecycle.get(id);
      if (container.state.status === "restarting") {
        this.#lifecycle.cancelRestart(id);
        await this.#lifecycle.setState(id, { status: "exited", manuallyStopped: byPerson });
        this.#waiters.settle(id, ["not-running"], { StatusCode: container.state.exitCode });
        return "done";
      }
      if (!isRunning(container)) return undefined;
      if (byPerson) await this.#lifecycle.setState(id, { manuallyStopped: true });
      return { done: this.#waiters.wait(id, "next-exit"), container };
    });
    if (exit === undefined) return false;
    if (exit !== "done") {
      const { container, done } = exit;
      const seconds = options.timeoutSeconds ?? container.config.StopTimeout ?? DEFAULT_STOP_SECONDS;
      await this.#signal(container, signal ?? stopSignalOf(container));
      if (!(await within(done, seconds < 0 ? undefined : seconds * 1000))) await this.#killAndWait(container, done);
    }
    const stopped = this.#ctx.state.containers.get(id);
    if (stopped !== undefined) containerEvent(this.#ctx, stopped, "stop");
    return true;
  }

  async kill(ref: string, signalText: string): Promise<void> {
    const { id } = resolveContainer(this.#ctx.state, ref);
    const signal = signalText === "" ? SIGKILL : signalNumber(signalText);
    const found = await this.#ctx.locks.run(id, async () => {
      const container = this.#lifecycle.get(id);
      if (container.state.status === "restarting" && signal === SIGKILL) {
        this.#lifecycle.cancelRestart(id);
        await this.#lifecycle.setState(id, { status: "exited", manuallyStopped: true });
        this.#waiters.settle(id, ["not-running"], { StatusCode: container.state.exitCode });
        return undefined;
      }
      if (!isRunning(container)) refuse(409, `Cannot kill container: ${ref}: Container ${id} is not running`);
      if (signal === SIGKILL || signal === stopSignalOf(container)) await this.#lifecycle.setState(id, { manuallyStopped: true });
      return { container, done: this.#waiters.wait(id, "next-exit") };
    });
    if (found === undefined) return;
    if (signal === SIGKILL) await this.#killAndWait(found.container, found.done);
    else await this.#signal(found.container, signal);
  }

  async restart(ref: string, options: StopOptions): Promise<void> {
    const { id } = resolveContainer(this.#ctx.state, ref);
    const live = this.#lifecycle.live(id);
    live.ending = "restart";
    try {
      await this.stop(id, options);
      await this.#ctx.locks.run(id, async () => {
        const container = this.#lifecycle.get(id);
        delete live.ending;
        live.delayMs = 0;
        if (!isRunning(container)) await this.#lifecycle.start(container);
        containerEvent(this.#ctx, container, "restart");
      });
    } finally {
      delete live.ending;
    }
  }

  /** For `rm -f`: gone when this resolves, whatever its policy. */
  async killForRemoval(id: string): Promise<void> {
    const live = this.#lifecycle.live(id);
    live.ending = "remove";
    const found = await this.#ctx.locks.run(id, async () => {
      this.#lifecycle.cancelRestart(id);
      const container = this.#lifecycle.get(id);
      if (container.state.status === "restarting") await this.#lifecycle.setState(id, { status: "exited" });
      return isRunning(container) ? { container, done: this.#waiters.wait(id, "next-exit") } : undefined;
    });
    if (found !== undefined) await this.#killAndWait(found.container, found.done);
  }

  async pause(ref: string): Promise<void> {
    const { id } = resolveContainer(this.#ctx.state, ref);
    await this.#ctx.locks.run(id, async () => {
      const { state } = this.#lifecycle.get(id);
      if (state.status === "paused") refuse(409, `Container ${id} is already paused`);
      if (state.status !== "running") refuse(409, `Container ${id} is not running`);
      await this.#ctx.runtime.pause(id);
      containerEvent(this.#ctx, await this.#lifecycle.setState(id, { status: "paused" }), "pause");
    });
  }

  async unpause(ref: string): Promise<void> {
    const { id } = resolveContainer(this.#ctx.state, ref);
    await this.#ctx.locks.run(id, async () => {
      if (this.#lifecycle.get(id).state.status !== "paused") refuse(409, `Container ${id} is not paused`);
      await this.#ctx.runtime.unpause(id);
      containerEvent(this.#ctx, await this.#lifecycle.setState(id, { status: "running" }), "unpause");
    });
  }

  async #signal(container: Container, signal: number): Promise<void> {
    try {
      await this.#ctx.runtime.kill(container.id, String(signal));
    } catch (error) {
      // It ended just before: its exit is on the way.
      if (error instanceof RefusalError && error.status === 409) return;
      throw error;
    }
    containerEvent(this.#ctx, container, "kill", { signal: String(signal) });
    // A frozen process takes a signal only when it is thawed.
    if (this.#ctx.state.containers.get(container.id)?.state.status !== "paused") return;
    await this.#ctx.locks.run(container.id, async () => {
      if (this.#lifecycle.get(container.id).state.status !== "paused") return;
      await this.#ctx.runtime.unpause(container.id);
      await this.#lifecycle.setState(container.id, { status: "running" });
    });
  }

  async #killAndWait(container: Container, done: Promise<WaitResult>): Promise<void> {
    await this.#signal(container, SIGKILL);
    if (!(await within(done, KILL_SECONDS * 1000)))
      refuse(500, `cannot stop container: ${container.id}: tried to kill container, but did not receive an exit event`);
  }
}

function stopSignalOf(container: Container): number {
  const text = container.config.StopSignal;
  return text === undefined || text === "" ? SIGTERM : signalNumber(text);
}

/** Did it happen in time? `undefined`: wait for ever. */
async function within(happening: Promise<unknown>, timeoutMs: number | undefined): Promise<boolean> {
  if (timeoutMs === undefined) return happening.then(() => true);
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), timeoutMs);
  });
  const result = await Promise.race([happening.then(() => true), timeout]);
  clearTimeout(timer);
  return result;
}
