import { closeSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import { assert, unreachable } from "../base/result.js";
import type { DnsSandbox, DnsStats } from "./contract.js";
import { type Client, Forwarder } from "./forward.js";
import { NameTables } from "./names.js";
import type { Call, CallMessage, ReplyMessage } from "./protocol.js";
import { SandboxServer, type ServeCounters } from "./sandbox-server.js";

/** The resolver's thread: keeps the tables and serves the sandboxes' sockets. Its own namespace is the engine's, so it forwards from there. */
const tables = new NameTables();
const forwarder = new Forwarder();
const counters: ServeCounters = { queries: 0, local: 0, dropped: 0 };
const servers = new Map<string, SandboxServer>();
const port = parentPort;
assert(port !== null, "the resolver runs in a worker thread");

port.on("message", ({ number, call }: CallMessage) => {
  const reply = (message: Omit<ReplyMessage, "number">) => port.postMessage({ number, ...message });
  try {
    const value = handle(call);
    if (value instanceof Promise)
      value.then(
        () => reply({}),
        (error: unknown) => reply({ error: String(error) }),
      );
    else reply({ value });
  } catch (error) {
    reply({ error: String(error) });
  }
});

function handle(call: Call): unknown {
  switch (call.op) {
    case "addSandbox":
      return addSandbox(call.sandbox);
    case "updateSandbox": {
      const server = servers.get(call.sandbox.sandboxId);
      if (server !== undefined) apply(server, call.sandbox);
      return undefined;
    }
    case "removeSandbox":
      return removeSandbox(call.sandboxId);
    case "putNetwork":
      return tables.putNetwork(call.network);
    case "removeNetwork":
      return tables.removeNetwork(call.networkId);
    case "putEndpoint":
      return tables.putEndpoint(call.networkId, call.networkName, call.endpoint);
    case "removeEndpoint":
      return tables.removeEndpoint(call.endpointId);
    case "reserveNames":
      return tables.reserve(call.ownerId, call.names);
    case "setHostUpstreams":
      return forwarder.setHostUpstreams(call.upstreams);
    case "stats":
      return stats();
    case "close":
      return close();
    default:
      return unreachable(call);
  }
}

async function addSandbox(sandbox: DnsSandbox & { readonly udpFd: number; readonly tcpFd: number }): Promise<void> {
  removeSandbox(sandbox.sandboxId);
  const client: Client = { upstreams: undefined, inFlight: 0 };
  const { udpFd, tcpFd } = sandbox;
  const server = new SandboxServer({
    udpFd,
    tcpFd,
    client,
    forward: true,
    view: { networks: [], links: new Map() },
    tables,
    forwarder,
    counters,
  });
  apply(server, sandbox);
  servers.set(sandbox.sandboxId, server);
  try {
    await server.start(tcpFd);
  } catch (error) {
    removeSandbox(sandbox.sandboxId);
    try {
      closeSync(tcpFd);
    } catch {
      // it was no descriptor
    }
    throw error;
  }
}

function apply(server: SandboxServer, sandbox: DnsSandbox): void {
  server.view = tables.view(sandbox.sandboxId, sandbox.networks, sandbox.links);
  server.forward = sandbox.forward ?? true;
  // 127.0.0.11 as a container's own upstream means this resolver. (As the host's it is another engine's, outside this one.)
  const own = forwarder.upstreams(sandbox.upstreams.filter((ip) => !/^127\.0\.0\.11(:\d+)?$/.test(ip)));
  server.client.upstreams = own.length === 0 ? undefined : own;
}

function removeSandbox(sandboxId: string): void {
  const server = servers.get(sandboxId);
  if (server === undefined) return;
  servers.delete(sandboxId);
  tables.releaseView(sandboxId);
  server.close();
}

function stats(): DnsStats {
  return {
    ...counters,
    ...forwarder.counters,
    sandboxes: servers.size,
    endpoints: tables.endpointCount,
    inFlight: forwarder.inFlight,
  };
}

function close(): void {
  for (const id of [...servers.keys()]) removeSandbox(id);
  forwarder.close();
  // the reply to this call is sent first
  setImmediate(() => port?.close());
}
