import { refuse } from "../../src/base/errors.js";
import type { Engine, EngineEvent, NetworkCreate } from "../../src/engine/contract.js";
import type { Container } from "../../src/model/container.js";
import type { Endpoint, Network, Sandbox } from "../../src/model/network.js";
import { networkRecord } from "../lib/records.js";

/** An engine without a kernel: only what the tests of shapes (not of behaviour) need. */
export interface FakeEngine {
  readonly engine: Engine;
  readonly networks: Map<string, Network>;
  readonly containers: Map<string, Container>;
  readonly endpoints: Map<string, Endpoint>;
  readonly sandboxes: Map<string, Sandbox>;
  readonly calls: { readonly method: string; readonly args: readonly unknown[] }[];
  emit(event: Partial<EngineEvent>): void;
}

export const hexId = (n: number): string => n.toString(16).padStart(4, "0").repeat(16);

export function network(name: string, over: Partial<Network> = {}): Network {
  return networkRecord({ id: hexId(name.length * 257), name, created: "2026-11-21T00:50:36.531816341Z", ...over });
}

export function fakeEngine(overrides: Partial<Record<string, unknown>> = {}): FakeEngine {
  const networks = new Map<string, Network>();
  const containers = new Map<string, Container>();
  const endpoints = new Map<string, Endpoint>();
  const sandboxes = new Map<string, Sandbox>();
  const calls: { method: string; args: unknown[] }[] = [];
  const listeners = new Set<(e: EngineEvent) => void>();
  const recent: EngineEvent[] = [];
  const find = <T extends { readonly id: string; readonly name: string }>(map: Map<string, T>, ref: string): T | undefined =>
    map.get(ref) ?? [...map.values()].find((x) => x.name === ref.replace(/^\//, "") || (ref.length > 2 && x.id.startsWith(ref)));
  const parts: Record<string, unknown> = {
    networks: {
      list: () => [...networks.values()],
      resolve: (ref: string) => find(networks, ref) ?? refuse(404, `network ${ref} not found`),
      remoteEndpoints: () => [],
      peers: () => [],
      create: async (request: NetworkCreate) => {
        calls.push({ method: "networks.create", args: [request] });
        const made = network(request.Name, { id: hexId(networks.size + 4000) });
        networks.set(made.id, made);
        return { network: made, warning: "" };
      },
      connect: async (...args: unknown[]) => void calls.push({ method: "networks.connect", args }),
      prune: async () => [],
    },
    containers: {
      list: () => [...containers.values()],
      resolve: (ref: string) => find(containers, ref) ?? refuse(404, `No such container: ${ref}`),
      create: async (request: unknown) => {
        calls.push({ method: "containers.create", args: [request] });
        return { id: hexId(containers.size + 1), warnings: [] };
      },
      remove: async (...args: unknown[]) => void calls.push({ method: "containers.remove", args }),
      execIds: () => [],
      paths: () => ({
        ResolvConfPath: "/r",
        HostnamePath: "/n",
        HostsPath: "/h",
        LogPath: "/l",
        SandboxKey: "/x/netns/1",
        graph: { UpperDir: "u", LowerDir: "l", MergedDir: "m", WorkDir: "w" },
      }),
    },
    images: {
      find: async () => undefined,
      list: async () => [],
      get: async (ref: string) => refuse(404, `No such image: ${ref}`),
    },
    volumes: { list: () => [], get: (name: string) => refuse(404, `get ${name}: no such volume`) },
  };
  const merged: Record<string, unknown> = {};
  for (const key of Object.keys(parts)) merged[key] = { ...(parts[key] as object), ...(overrides[key] as object | undefined) };
  const engine = {
    state: { networks, containers, endpoints, sandboxes, volumes: new Map(), meta: new Map() },
    settings: {
      version: "0.1.0",
      id: "TEST",
      hostname: "lab",
      dataRoot: "/d",
      execRoot: "/x",
      startedAt: "2026-01-01T00:00:00Z",
      labels: [],
      runtimeName: "crun",
      cgroupVersion: "1",
    },
    ...merged,
    events: {
      emit: () => undefined,
      recent: () => recent,
      subscribe: (listener: (e: EngineEvent) => void) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    explain: async (ref: string) => `ip link add ${ref}\n`,
    verify: async () => [],
    close: async () => undefined,
  } as unknown as Engine;
  return {
    engine,
    networks,
    containers,
    endpoints,
    sandboxes,
    calls,
    emit(event) {
      const full: EngineEvent = {
        Type: "container",
        Action: "start",
        Actor: { ID: "x", Attributes: {} },
        scope: "local",
        time: 1,
        timeNano: "1000000000",
        ...event,
      };
      recent.push(full);
      for (const listener of listeners) listener(full);
    },
  };
}
