import { messageOf } from "../base/errors.js";
import { ClusterUnavailable } from "../cluster/index.js";
import type { EngineContext } from "./context.js";
import type { Lifecycle } from "./lifecycle.js";
import { isRunning } from "./resolve.js";
import { atEngineStart } from "./restart-policy.js";

const REFUSAL = new ClusterUnavailable("").message.trim();

/**
 * After a power failure engines are often there before etcd: containers that a restart policy wanted running and that were refused for its absence
 * start when it is there.
 */
export function startRefused(ctx: EngineContext, lifecycle: Lifecycle): void {
  for (const { id } of [...ctx.state.containers.values()]) {
    const wanted = () => {
      const c = ctx.state.containers.get(id);
      return c !== undefined && !isRunning(c) && c.state.error.startsWith(REFUSAL) && atEngineStart(c, true) ? c : undefined;
    };
    if (wanted() === undefined) continue;
    ctx.locks
      .run(id, async () => {
        const container = wanted();
        if (container !== undefined) await lifecycle.start(container);
      })
      .catch((error: unknown) => ctx.log.error("restart policy", { container: id, error: messageOf(error) }));
  }
}
