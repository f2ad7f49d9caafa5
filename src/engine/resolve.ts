import { refuse } from "../base/errors.js";
import type { Container } from "../model/container.js";
import type { ModelState } from "../model/indexes.js";

/** A container by id, name (with or without its slash) or unique id prefix. `status` is what the refusal carries where there is none. */
export function resolveContainer(state: ModelState, ref: string, status = 404): Container {
  const whole = state.containers.get(ref);
  if (whole !== undefined) return whole;
  const named = state.index.containerByName.get(ref.replace(/^\//, ""));
  if (named !== undefined) return state.containers.get(named)!;
  if (/^[0-9a-f]+$/.test(ref)) {
    let found: Container | undefined;
    for (const container of state.containers.values()) {
      if (!container.id.startsWith(ref)) continue;
      if (found !== undefined) refuse(400, `Multiple IDs found with provided prefix: ${ref}`);
      found = container;
    }
    if (found !== undefined) return found;
  }
  return refuse(status, `No such container: ${ref}`);
}

export const isRunning = (c: Container): boolean => c.state.status === "running" || c.state.status === "paused";
