import { messageOf } from "../base/errors.js";
import type { Container, ContainerState } from "../model/index.js";
import { newId, nowText } from "./clock.js";
import { containerEvent } from "./container-events.js";
import type { EngineContext } from "./context.js";

type HealthState = NonNullable<ContainerState["health"]>;

/** Docker's: the last five probes, 4 KiB of output each. */
const LOG_ENTRIES = 5;
const OUTPUT_LIMIT = 4096;
const DEFAULT_INTERVAL_MS = 30_000;
const DEFAULT_TIMEOUT_MS = 30_000;
const DEFAULT_START_INTERVAL_MS = 5_000;
const DEFAULT_RETRIES = 3;

interface Watch {
  timer: NodeJS.Timeout | undefined;
  stopped: boolean;
}

/** Runs the healthchecks of running containers and keeps their state. */
export class Health {
  readonly #ctx: EngineContext;
  readonly #watches = new Map<string, Watch>();

  constructor(ctx: EngineContext) {
    this.#ctx = ctx;
  }

  /** Begins to probe a container that has just started (or is taken over running: its state is kept then). */
  watch(container: Container, options: { readonly keepState: boolean } = { keepState: false }): void {
    this.unwatch(container.id);
    const command = probeCommand(container);
    if (command === undefined) return;
    const watch: Watch = { timer: undefined, stopped: false };
    this.#watches.set(container.id, watch);
    if (!options.keepState || container.state.health === undefined)
      void this.#put(container.id, { Status: "starting", FailingStreak: 0, Log: [] });
    this.#schedule(container, command, watch);
  }

  unwatch(id: string): void {
    const watch = this.#watches.get(id);
    if (watch === undefined) return;
    watch.stopped = true;
    clearTimeout(watch.timer);
    this.#watches.delete(id);
  }

  close(): void {
    for (const id of [...this.#watches.keys()]) this.unwatch(id);
  }

  #schedule(container: Container, command: readonly string[], watch: Watch): void {
    const check = container.config.Healthcheck!;
    const starting =
      this.#ctx.state.containers.get(container.id)?.state.health?.Status === "starting" && this.#inStartPeriod(container);
    const interval =
      starting && check.StartInterval
        ? ms(check.StartInterval, DEFAULT_START_INTERVAL_MS)
        : ms(check.Interval, DEFAULT_INTERVAL_MS);
    watch.timer = setTimeout(() => {
      void this.#probe(container, command, watch)
        .catch((error: unknown) => this.#ctx.log.debug("healthcheck", { container: container.id, error: String(error) }))
        .finally(() => {
          if (!watch.stopped) this.#schedule(container, command, watch);
        });
    }, interval);
  }

  async #probe(container: Container, command: readonly string[], watch: Watch): Promise<void> {
    if (this.#ctx.state.containers.get(container.id)?.state.status !== "running") return;
    const check = container.config.Healthcheck!;
    const start = nowText();
    const { exitCode, output } = await this.#run(container, command, ms(check.Timeout, DEFAULT_TIMEOUT_MS));
    const now = this.#ctx.state.containers.get(container.id);
    if (watch.stopped || now === undefined) return;
    const before: HealthState = now.state.health ?? { Status: "starting", FailingStreak: 0, Log: [] };
    const log = [...before.Log, { Start: start, End: nowText(), ExitCode: exitCode, Output: output }].slice(-LOG_ENTRIES);
    const next: HealthState = { Status: before.Status, FailingStreak: before.FailingStreak, Log: log };
    if (exitCode === 0) Object.assign(next, { Status: "healthy", FailingStreak: 0 });
    else if (before.Status !== "starting" || !this.#inStartPeriod(container)) {
      next.FailingStreak++;
      if (next.FailingStreak >= (check.Retries || DEFAULT_RETRIES)) next.Status = "unhealthy";
    }
    await this.#put(container.id, next);
    if (next.Status !== before.Status) containerEvent(this.#ctx, now, `health_status: ${next.Status}`);
  }

  #inStartPeriod(container: Container): boolean {
    const started = Date.parse(this.#ctx.state.containers.get(container.id)?.state.startedAt ?? "");
    return Date.now() < started + ms(container.config.Healthcheck?.StartPeriod, 0);
  }

  async #run(container: Container, command: readonly string[], timeoutMs: number): Promise<{ exitCode: number; output: string }> {
    const id = newId();
    let output = "";
    let timer: NodeJS.Timeout | undefined;
    const exited = new Promise<number>((resolve, reject) => {
      this.#ctx.runtime
        .execStart(
          container,
          {
            id,
            request: {
              cmd: command,
              env: [],
              workingDir: "",
              user: container.config.User,
              tty: false,
              attachStdin: false,
              attachStdout: true,
              attachStderr: true,
              privileged: false,
            },
          },
          resolve,
        )
        .then(({ pid, session }) => {
          session.onOutput(({ data }) => {
            if (output.length < OUTPUT_LIMIT) output = (output + data.toString("utf8")).slice(0, OUTPUT_LIMIT);
          });
          timer = setTimeout(() => {
            output = `Health check exceeded timeout (${timeoutMs / 1000}s)`;
            try {
              process.kill(pid, "SIGKILL");
            } catch {
              // It ended by itself just now.
            }
            session.close();
            resolve(-1);
          }, timeoutMs);
        }, reject);
    });
    try {
      return { exitCode: await exited, output };
    } catch (error) {
      return { exitCode: -1, output: messageOf(error) };
    } finally {
      clearTimeout(timer);
    }
  }

  async #put(id: string, health: HealthState): Promise<void> {
    const container = this.#ctx.state.containers.get(id);
    if (container === undefined) return;
    await this.#ctx.committer.commit([{ kind: "container", id, value: { ...container, state: { ...container.state, health } } }]);
  }
}

/** Nanoseconds of the API → milliseconds. */
const ms = (nanos: number | undefined, otherwise: number): number =>
  nanos === undefined || nanos === 0 ? otherwise : nanos / 1e6;

function probeCommand(container: Container): readonly string[] | undefined {
  const [kind, ...rest] = container.config.Healthcheck?.Test ?? [];
  switch (kind) {
    case "CMD":
      return rest;
    case "CMD-SHELL":
      return [...(container.config.Shell ?? ["/bin/sh", "-c"]), rest.join(" ")];
    default:
      return undefined;
  }
}
