import type { Container } from "../model/container.js";

/** First pause before a restart, and its limit (Docker's: 100 ms, doubled each time, at most a minute). */
const FIRST_DELAY_MS = 100;
const MAX_DELAY_MS = 60_000;
/** A run of this length counts as a success: the next pause is the first one again. */
const STEADY_MS = 10_000;

export interface RestartDecision {
  readonly restart: boolean;
  readonly delayMs: number;
}

/** What follows an exit. `ranMs`: how long it ran; `previousDelayMs`: the pause before that run, 0 if a person started it. */
export function afterExit(
  container: Container,
  exit: { readonly exitCode: number; readonly ranMs: number; readonly previousDelayMs: number },
): RestartDecision {
  const { Name: name, MaximumRetryCount: maximum } = container.hostConfig.RestartPolicy;
  const delayMs =
    exit.ranMs >= STEADY_MS || exit.previousDelayMs === 0 ? FIRST_DELAY_MS : Math.min(exit.previousDelayMs * 2, MAX_DELAY_MS);
  const { manuallyStopped, restartCount } = container.state;
  switch (name) {
    case "always":
    case "unless-stopped":
      return { restart: !manuallyStopped, delayMs };
    case "on-failure":
      return { restart: !manuallyStopped && exit.exitCode !== 0 && (maximum === 0 || restartCount < maximum), delayMs };
    default:
      return { restart: false, delayMs };
  }
}

/** What happens to a container that does not run when the engine starts. `wasRunning`: it ran when the engine was last there. */
export function atEngineStart(container: Container, wasRunning: boolean): boolean {
  switch (container.hostConfig.RestartPolicy.Name) {
    case "always":
      // Docker starts these even when a person had stopped them.
      return container.state.status !== "created";
    case "unless-stopped":
      return !container.state.manuallyStopped && container.state.status !== "created";
    case "on-failure":
      return wasRunning && container.state.exitCode !== 0 && !container.state.manuallyStopped;
    default:
      return false;
  }
}
