import { rm } from "node:fs/promises";
import { messageOf, RefusalError, refuse } from "../base/errors.js";
import type { Exit } from "../containers/contract.js";
import type { Container, ContainerState } from "../model/index.js";
import type { Attachments } from "./attachments.js";
import { nowText } from "./clock.js";
import { containerEvent, volumeEvents } from "./container-events.js";
import { containerDirectory, type EngineContext } from "./context.js";
import type { Health } from "./health.js";
import { linkEnv, linksNow, relinkChanges } from "./links.js";
import type { NamesService } from "./names-service.js";
import { isRunning } from "./resolve.js";
import { afterExit } from "./restart-policy.js";
import { joinNetworks, leaveNetworks } from "./sandboxes.js";
import type { Volumes } from "./volumes.js";
import type { Waiters } from "./waiters.js";

/** What is known of a container besides its record, as long as this engine lives. */
interface Live {
  /** The pause before the run that goes on, 0 if a person began it. */
  delayMs: number;
  restartTimer?: NodeJS.Timeout;
  /** `docker restart` and `rm -f` end a run on purpose: no policy, no --rm. */
  ending?: "restart" | "remove";
}

/** From "created" to "exited" and back: the steps that change a container's state. Callers hold the container's lock. */
export class Lifecycle {
  readonly #ctx: EngineContext;
  readonly #names: NamesService;
  readonly #waiters: Waiters;
  readonly #attachments: Attachments;
  readonly #health: Health;
  readonly #volumes: Volumes;
  readonly #live = new Map<string, Live>();
  #closing = false;

  constructor(parts: {
    ctx: EngineContext;
    names: NamesService;
    waiters: Waiters;
    attachments: Attachments;
    health: Health;
    volumes: Volumes;
  }) {
    this.#ctx = parts.ctx;
    this.#names = parts.names;
    this.#waiters = parts.waiters;
    this.#attachments = parts.attachments;
    this.#health = parts.health;
    this.#volumes = parts.volumes;
    parts.ctx.runtime.onExit((exit) => {
      void this.#ctx.locks
        .run(exit.containerId, () => this.exited(exit))
        .catch((error: unknown) =>
          this.#ctx.log.error("exit of a container", { container: exit.containerId, error: messageOf(error) }),
        );
    });
  }

  live(id: string): Live {
    let live = this.#live.get(id);
    if (live === undefined) {
      live = { delayMs: 0 };
      this.#live.set(id, live);
    }
    return live;
  }

  /** The record as it is now; 404 when it is gone. */
  get(id: string): Container {
    return this.#ctx.state.containers.get(id) ?? refuse(404, `No such container: ${id}`);
  }

  async setState(id: string, change: Partial<ContainerState>): Promise<Container> {
    const container = this.get(id);
    const value: Container = { ...container, state: { ...container.state, ...change } };
    await this.#ctx.committer.commit([{ kind: "container", id, value }]);
    return value;
  }

  /** Namespace, endpoints, ports, files, then the process. On failure nothing of it remains and the record says why. */
  async start(container: Container): Promise<void> {
    const { ctx, id } = { ctx: this.#ctx, id: container.id };
    this.cancelRestart(id);
    let created = false;
    let published = Promise.resolve();
    try {
      const links = linksNow(ctx, container);
      const [layers, image] = await Promise.all([ctx.images.layers(container.imageId), ctx.images.get(container.imageId)]);
      const networking = await joinNetworks(ctx, this.#names, this.get(id));
      created = true;
      ({ published } = networking);
      const made = ctx.runtime.create({
        container: this.get(id),
        netnsPath: networking.netnsPath,
        hostname: networking.hostname,
        layers,
        imageConfig: image.config,
        mounts: container.mounts,
        etcFiles: networking.etcFiles,
        linkEnv: linkEnv(container, links),
      });
      const [, { pid }] = await bothOf(published, made);
      await this.#attachments.join(id, () =>
        ctx.runtime.attach(id, { tty: container.config.Tty, stdin: container.config.OpenStdin }),
      );
      await ctx.runtime.start(id);
      const running = await this.setState(id, {
        status: "running",
        pid,
        exitCode: 0,
        error: "",
        oomKilled: false,
        startedAt: nowText(),
        manuallyStopped: false,
      });
      volumeEvents(ctx, running, "mount");
      containerEvent(ctx, running, "start");
      this.#health.watch(running);
    } catch (error) {
      await published.catch(() => undefined);
      await this.#startFailed(container, created, error);
      throw error;
    }
  }

  async #startFailed(container: Container, created: boolean, error: unknown): Promise<void> {
    const { ctx, id } = { ctx: this.#ctx, id: container.id };
    this.#attachments.end(id);
    if (created) {
      await ctx.runtime
        .cleanup(id)
        .catch((e: unknown) => ctx.log.error("clean-up after a failed start", { container: id, error: messageOf(e) }));
      await leaveNetworks(ctx, this.#names, this.get(id));
    }
    const text = messageOf(error);
    const exitCode = /executable file not found|no such file or directory/i.test(text)
      ? 127
      : /permission denied/i.test(text)
        ? 126
        : 128;
    if (!(error instanceof RefusalError)) ctx.log.error("start failed", { container: id, error: text });
    const status = container.state.status === "created" ? "created" : "exited";
    await this.setState(id, { status, pid: 0, exitCode, error: text });
    this.#waiters.settle(id, ["next-exit", "not-running"], { StatusCode: exitCode, Error: { Message: text } });
    if (container.hostConfig.AutoRemove) await this.remove(this.get(id), { volumes: true });
  }

  /** The process ended: take everything back, tell, and do what the restart policy says. */
  async exited(exit: Exit): Promise<void> {
    const { ctx, id } = { ctx: this.#ctx, id: exit.containerId };
    const container = ctx.state.containers.get(id);
    if (container === undefined || !isRunning(container)) return;
    this.#health.unwatch(id);
    await ctx.runtime
      .cleanup(id)
      .catch((e: unknown) => ctx.log.error("clean-up of an ended container", { container: id, error: messageOf(e) }));
    await leaveNetworks(ctx, this.#names, container);
    volumeEvents(ctx, container, "unmount");
    const live = this.live(id);
    const ranMs = Date.parse(exit.finishedAt) - Date.parse(container.state.startedAt);
    const decision = afterExit(this.get(id), { exitCode: exit.exitCode, ranMs, previousDelayMs: live.delayMs });
    const restart = decision.restart && live.ending === undefined && !this.#closing;
    const ended = await this.setState(id, {
      status: restart ? "restarting" : "exited",
      pid: 0,
      exitCode: exit.exitCode,
      oomKilled: exit.oomKilled,
      finishedAt: exit.finishedAt,
      restartCount: this.get(id).state.restartCount + (restart ? 1 : 0),
    });
    if (exit.oomKilled) containerEvent(ctx, ended, "oom");
    containerEvent(ctx, ended, "die", {
      exitCode: String(exit.exitCode),
      execDuration: String(Math.max(0, Math.floor(ranMs / 1000))),
    });
    this.#waiters.settle(id, restart ? ["next-exit"] : ["next-exit", "not-running"], { StatusCode: exit.exitCode });
    if (restart) this.#scheduleRestart(id, decision.delayMs);
    else if (ended.hostConfig.AutoRemove && live.ending === undefined) await this.remove(ended, { volumes: true });
  }

  #scheduleRestart(id: string, delayMs: number): void {
    const live = this.live(id);
    live.restartTimer = setTimeout(() => {
      void this.#ctx.locks
        .run(id, async () => {
          const container = this.#ctx.state.containers.get(id);
          if (container?.state.status !== "restarting") return;
          live.delayMs = delayMs;
          try {
            await this.start(container);
          } catch (error) {
            // What made the start fail (a port in use, say) may pass: the policy goes on with it as with any other exit.
            const failed = this.#ctx.state.containers.get(id);
            if (failed === undefined || this.#closing) return;
            const next = afterExit(failed, { exitCode: failed.state.exitCode, ranMs: 0, previousDelayMs: delayMs });
            this.#ctx.log.warn("restart failed", { container: id, error: messageOf(error), again: next.restart });
            if (!next.restart) return;
            await this.setState(id, { status: "restarting", restartCount: failed.state.restartCount + 1 });
            this.#scheduleRestart(id, next.delayMs);
          }
        })
        .catch((error: unknown) => this.#ctx.log.error("restart", { container: id, error: messageOf(error) }));
    }, delayMs);
  }

  cancelRestart(id: string): void {
    const live = this.live(id);
    clearTimeout(live.restartTimer);
    delete live.restartTimer;
  }

  /** Record, storage and anonymous volumes of a container that does not run. */
  async remove(container: Container, options: { readonly volumes: boolean }): Promise<void> {
    const { ctx, id } = { ctx: this.#ctx, id: container.id };
    this.cancelRestart(id);
    // The record goes first: from here on nobody finds it, and what a crash leaves of its files is swept at the next start.
    await ctx.committer.commit([
      { kind: "container", id, value: undefined },
      ...relinkChanges(ctx, container.name, undefined).filter((c) => c.id !== id),
    ]);
    this.#live.delete(id);
    this.#attachments.end(id);
    await this.#names.release(id);
    await ctx.runtime.cleanup(id);
    await ctx.runtime.removeStorage(id);
    await rm(containerDirectory(ctx, id), { recursive: true, force: true });
    if (options.volumes)
      for (const m of container.mounts) {
        if (m.Type !== "volume" || m.Name === undefined || ctx.state.volumes.get(m.Name)?.anonymous !== true) continue;
        await this.#volumes
          .remove(m.Name, true)
          .catch((e: unknown) => ctx.log.debug("anonymous volume stays", { volume: m.Name, error: messageOf(e) }));
      }
    containerEvent(ctx, container, "destroy");
    this.#waiters.settle(id, ["removed", "next-exit", "not-running"], { StatusCode: container.state.exitCode });
  }

  /** No policy starts anything from now on. */
  close(): void {
    this.#closing = true;
    for (const live of this.#live.values()) clearTimeout(live.restartTimer);
  }
}

/** When both have come to an end: their results, or the first one's error before the second one's. */
async function bothOf<A, B>(first: Promise<A>, second: Promise<B>): Promise<[A, B]> {
  await Promise.allSettled([first, second]);
  return [await first, await second];
}
