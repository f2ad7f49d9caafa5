import { messageOf } from "../base/errors.js";
import { nowNanos } from "./clock.js";
import type { EngineEvent, EventBus } from "./contract.js";

/** How many events `docker events --since` can look back; Docker keeps 256. */
const KEPT = 256;

export function createEventBus(log: (problem: string) => void): EventBus {
  const kept: EngineEvent[] = [];
  const listeners = new Set<(event: EngineEvent) => void>();
  return {
    emit(type, action, id, attributes) {
      const nanos = nowNanos();
      const event: EngineEvent = {
        Type: type,
        Action: action,
        Actor: { ID: id, Attributes: { ...attributes } },
        scope: "local",
        time: Number(nanos / 1_000_000_000n),
        timeNano: nanos.toString(),
      };
      kept.push(event);
      if (kept.length > KEPT) kept.shift();
      for (const listener of listeners) {
        try {
          listener(event);
        } catch (error) {
          // A client that went away must not stop the operation that is being told about.
          log(`event listener: ${messageOf(error)}`);
        }
      }
    },
    recent: () => kept.slice(),
    subscribe(listener) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}
