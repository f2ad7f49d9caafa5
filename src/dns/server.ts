import { Worker } from "node:worker_threads";
import { builtUrl } from "../base/built.js";
import type { Logger } from "../base/log.js";
import type { DnsService, DnsStats } from "./contract.js";
import type { Call, CallMessage, ReplyMessage } from "./protocol.js";

export interface DnsOptions {
  readonly log: Logger;
  /** The thread is gone although nobody closed it: containers have no resolver until the service is started anew with new sockets. */
  readonly onDown?: (error: Error) => void;
}

interface Waiter {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Starts the resolver's thread. */
export async function startDns(options: DnsOptions): Promise<DnsService> {
  const worker = new Worker(builtUrl(import.meta.url, "dns/worker.js"));
  const waiters = new Map<number, Waiter>();
  let last = 0;
  let down: Error | undefined;
  let closing = false;
  const goDown = (error: Error) => {
    if (down !== undefined) return;
    down = error;
    for (const waiter of waiters.values()) waiter.reject(error);
    waiters.clear();
    if (closing) return;
    options.log.error("the resolver's thread ended", { error: error.message });
    options.onDown?.(error);
  };
  worker.on("message", ({ number, value, error }: ReplyMessage) => {
    const waiter = waiters.get(number);
    waiters.delete(number);
    if (error === undefined) waiter?.resolve(value);
    else waiter?.reject(new Error(error));
  });
  worker.on("error", goDown);
  worker.on("exit", (code) => goDown(new Error(`the resolver's thread exited with ${code}`)));

  const call = (request: Call): Promise<unknown> => {
    if (down !== undefined) return Promise.reject(down);
    const number = ++last;
    return new Promise((resolve, reject) => {
      waiters.set(number, { resolve, reject });
      worker.postMessage({ number, call: request } satisfies CallMessage);
    });
  };
  const done = async (request: Call): Promise<void> => {
    await call(request);
  };
  await call({ op: "stats" });
  return {
    addSandbox: (sandbox) => done({ op: "addSandbox", sandbox }),
    updateSandbox: (sandbox) => done({ op: "updateSandbox", sandbox }),
    removeSandbox: (sandboxId) => done({ op: "removeSandbox", sandboxId }),
    putNetwork: (network) => done({ op: "putNetwork", network }),
    removeNetwork: (networkId) => done({ op: "removeNetwork", networkId }),
    putEndpoint: (networkId, networkName, endpoint) => done({ op: "putEndpoint", networkId, networkName, endpoint }),
    removeEndpoint: (endpointId) => done({ op: "removeEndpoint", endpointId }),
    reserveNames: (ownerId, names) => done({ op: "reserveNames", ownerId, names }),
    setHostUpstreams: (upstreams) => done({ op: "setHostUpstreams", upstreams }),
    stats: async () => (await call({ op: "stats" })) as DnsStats,
    close: async () => {
      if (closing || down !== undefined) return;
      closing = true;
      await call({ op: "close" });
      await worker.terminate();
    },
  };
}
