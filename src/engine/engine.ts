import { messageOf } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import { type Cluster, type ClusterEvents, SharedStore } from "../cluster/index.js";
import type { ContainerRuntime } from "../containers/contract.js";
import { watchHostResolv } from "../dns/index.js";
import type { DriverContext } from "../drivers/index.js";
import type { ImageStore } from "../images/contract.js";
import { applyChanges, emptyState, nextSequence } from "../model/index.js";
import type { KernelPort } from "../plan/port.js";
import type { Store } from "../store/contract.js";
import { Attachments } from "./attachments.js";
import { build } from "./build.js";
import { ClusterLink } from "./cluster-link.js";
import { Committer } from "./commit.js";
import { detachLost } from "./connect.js";
import { createContainers } from "./containers.js";
import type { EngineContext, EngineOptions } from "./context.js";
import type { Engine, EngineSettings } from "./contract.js";
import { Converger } from "./converge.js";
import { Ending } from "./ending.js";
import { createEventBus } from "./events.js";
import { Execs } from "./exec.js";
import { explainRef } from "./explain.js";
import { Health } from "./health.js";
import { Lifecycle } from "./lifecycle.js";
import { KeyedLocks } from "./locks.js";
import { NamesService, type StartDns } from "./names-service.js";
import { createNetworks } from "./networks.js";
import { createNodes } from "./nodes.js";
import { PortReservations } from "./ports/index.js";
import { isRunning } from "./resolve.js";
import { startRefused } from "./start-again.js";
import { recover } from "./startup.js";
import { closesForwarding, FORWARDING, followHost, hostFacts, underlayOf } from "./uplink.js";
import { createVolumes } from "./volumes.js";
import { Waiters } from "./waiters.js";

/** What the composition root hands over. The engine owns these from now on and closes them. */
export interface EngineParts {
  readonly settings: Omit<EngineSettings, "id">;
  /** The default bridge's MTU: undefined follows the uplink. */
  readonly options: Omit<EngineOptions, "bridge"> & {
    readonly bridge: Omit<EngineOptions["bridge"], "mtu"> & { readonly mtu: number | undefined };
  };
  readonly instance: string;
  readonly hostHasIPv6: boolean;
  readonly log: Logger;
  readonly store: Store;
  /** With --cluster-store: opens the shared store for this host. */
  readonly cluster?: {
    /** Underlay address of this host, where tunnels end. */
    readonly address: string;
    open(nodeId: string, events: ClusterEvents): Promise<Cluster>;
  };
  readonly kernel: KernelPort;
  readonly runtime: ContainerRuntime;
  readonly images: ImageStore;
  readonly startDns: StartDns;
}

/** Loads the store, takes over what runs, repairs what differs, and returns the engine that serves. */
export async function startEngine(parts: EngineParts): Promise<Engine> {
  const { log, kernel, runtime, images } = parts;
  const state = emptyState();
  const { changes, damaged } = await parts.store.load();
  for (const record of damaged) log.error("store: record left out", { record });
  applyChanges(state, changes);
  const id = typeof state.meta.get("engine-id") === "string" ? (state.meta.get("engine-id") as string) : crypto.randomUUID();
  const settings: EngineSettings = { ...parts.settings, id };
  const link = new ClusterLink(state);
  const cluster = await parts.cluster?.open(id, link);
  const store: Store = cluster === undefined ? parts.store : new SharedStore(parts.store, cluster, state);
  const { uplinkMtu: mtu, foreignBridges } = await hostFacts(kernel);
  const forwarding = closesForwarding(state.meta.get(FORWARDING));
  const driverContext: DriverContext = {
    instance: parts.instance,
    uplinkMtu: parts.options.bridge.mtu ?? mtu,
    hostHasIPv6: parts.hostHasIPv6,
    foreignBridges,
    closeForeignForwarding: forwarding.closed && !foreignBridges,
    ...(parts.cluster === undefined ? {} : { nodeId: id, ...(await underlayOf(kernel, parts.cluster.address)) }),
  };
  const converger = new Converger({ state, kernel, log, context: driverContext });
  const committer = new Committer(state, store, converger);
  const locks = new KeyedLocks();
  let sequence = nextSequence(state);
  const ctx: EngineContext = {
    settings,
    options: { ...parts.options, bridge: { ...parts.options.bridge, mtu: parts.options.bridge.mtu ?? mtu } },
    log,
    state,
    committer,
    converger,
    kernel,
    runtime,
    images,
    ports: new PortReservations({ kernel, log }),
    events: createEventBus((problem) => log.error(problem)),
    locks,
    cluster,
    ipv6: parts.hostHasIPv6,
    nextSequence(count) {
      const first = sequence;
      sequence += count;
      return first;
    },
  };
  if (state.meta.get("engine-id") === undefined)
    await committer.commit([{ kind: "meta", id: "engine-id", value: { id: "engine-id", value: id } }]);
  if (forwarding.record !== undefined)
    await committer.commit([{ kind: "meta", id: FORWARDING, value: { id: FORWARDING, value: forwarding.record } }]);
  const names = new NamesService(ctx, parts.startDns);
  const waiters = new Waiters();
  const attachments = new Attachments();
  const health = new Health(ctx);
  const volumes = createVolumes(ctx);
  const lifecycle = new Lifecycle({ ctx, names, waiters, attachments, health, volumes });
  const ending = new Ending(ctx, lifecycle, waiters);
  const execs = new Execs(ctx);
  images.onChange((change) => ctx.events.emit("image", change.action, change.id, { name: change.name }));
  await recover(ctx, { names, health, lifecycle });
  await link.start(ctx, names, (ids) => void detachLost(ctx, names, ids));
  link.onReturn = () => startRefused(ctx, lifecycle);
  if (cluster?.available) link.onReturn();
  const stopResolv = watchHostResolv((resolv) => {
    names
      .setHostUpstreams(resolv.nameservers)
      .catch((error: unknown) => log.error("host resolvers", { error: messageOf(error) }));
  });
  const stopUplink = followHost(ctx, { fixedMtu: parts.options.bridge.mtu !== undefined });
  let closing: Promise<void> | undefined;
  const containers = createContainers({ ctx, names, volumes, lifecycle, ending, waiters, attachments, execs });

  const close = async (options: { readonly stopContainers: boolean }): Promise<void> => {
    lifecycle.close();
    stopResolv();
    stopUplink();
    health.close();
    if (options.stopContainers) await stopAll(ctx, ending);
    await locks.idle();
    await converger.idle();
    converger.stop();
    await names.close();
    ctx.ports.close();
    await runtime.close();
    await images.close();
    await cluster?.close();
    await kernel.close();
    await store.close();
  };

  return {
    state,
    settings,
    networks: createNetworks(ctx, names),
    containers,
    images,
    volumes,
    events: ctx.events,
    explain: async (ref) => explainRef(ctx, ref),
    verify: () => converger.verify(),
    build: (request, progress) => build(ctx, names, request, progress),
    ...(cluster === undefined ? {} : { nodes: createNodes(state, cluster) }),
    close: (options) => {
      closing ??= close(options);
      return closing;
    },
  };
}

/** Docker's way at SIGTERM: every container gets its stop signal and its time, all at once. */
async function stopAll(ctx: EngineContext, ending: Ending): Promise<void> {
  const running = [...ctx.state.containers.values()].filter((c) => isRunning(c) || c.state.status === "restarting");
  await Promise.all(
    running.map((c) =>
      ending
        .stop(c.id, { timeoutSeconds: Math.min(c.config.StopTimeout ?? 10, ctx.options.shutdownTimeoutSeconds) }, false)
        .catch((error: unknown) => ctx.log.error("stopping a container", { container: c.id, error: messageOf(error) })),
    ),
  );
}
