import { parentPort, workerData } from "node:worker_threads";
import { KernelError } from "../base/errors.js";
import { assert } from "../base/result.js";
import { HOST_NS } from "../plan/objects.js";
import { type ApplyContext, apply } from "./apply.js";
import { flushConntrack } from "./conntrack.js";
import { Ledger } from "./ledger.js";
import { linkGroups } from "./marks.js";
import { NamespacePool } from "./namespace-pool.js";
import { adoptNamespace } from "./namespaces.js";
import { Nftables } from "./nft/apply.js";
import { hostLinks, hostRoutes, observe } from "./observe.js";
import { unpackBatch } from "./packed-batch.js";
import type { Calls, Failure, FromWorker, Method, Request, WorkerOptions } from "./protocol.js";
import { openSockets } from "./sockets.js";
import { Watcher } from "./watch.js";

/** The kernel thread: the only one that speaks to rtnetlink and nftables and that enters namespaces to change them. */

assert(parentPort !== null, "this is a worker thread");
const port = parentPort;
const options = workerData as WorkerOptions;
if (options.hostNetns !== undefined) adoptNamespace(options.hostNetns);

const pool = new NamespacePool(options.execRoot, options.spares);
const post = (message: FromWorker): void => port.postMessage(message);
const context: ApplyContext = {
  pool,
  nft: new Nftables(pool),
  groups: linkGroups(options.group),
  ledger: new Ledger(),
  hostIndexes: new Map(),
  warn: (warn, fields) => post({ warn, fields }),
  background: new Set(),
  running: 0,
};
let watcher: Watcher | undefined;

const methods: { readonly [M in Method]: (argument: Calls[M]["in"]) => Calls[M]["out"] | Promise<Calls[M]["out"]> } = {
  apply: async (packed) => {
    const { failures, syscalls } = await apply(context, packed.map(unpackBatch));
    return { failures: failures.map(({ op: _, ...failure }) => failure), syscalls };
  },
  observe: (scope) => {
    const found = observe(context, scope);
    for (const object of found) context.ledger.put(object);
    return found;
  },
  watch: (on) => {
    watcher?.close();
    watcher = on ? new Watcher(context, (drift) => post({ drift })) : undefined;
    return undefined;
  },
  hostRoutes: () => hostRoutes(context),
  hostLinks: () => hostLinks(context),
  flushConntrack: (match) => flushConntrack(pool.netfilter(HOST_NS), match),
  openSockets: (requests) => openSockets(pool, requests),
  close: async () => {
    watcher?.close();
    await Promise.all(context.background);
    context.nft.close();
    pool.close();
    return undefined;
  },
};

port.on("message", (request: Request) => {
  void answer(request);
});

async function answer(request: Request): Promise<void> {
  try {
    // The caller has checked the types: Calls says what belongs to which method.
    const method = methods[request.method] as (argument: unknown) => unknown;
    post({ id: request.id, json: JSON.stringify((await method(JSON.parse(request.json))) ?? null) });
  } catch (error) {
    post({ id: request.id, failure: failureOf(error) });
  }
  if (request.method === "close") port.close();
}

function failureOf(error: unknown): Failure {
  if (error instanceof KernelError) {
    const { operation, errno, code, extAck } = error;
    return { operation, errno, code, ...(extAck === undefined ? {} : { extAck }) };
  }
  return error instanceof Error
    ? { message: error.message, ...(error.stack === undefined ? {} : { stack: error.stack }) }
    : { message: String(error) };
}
