import { join } from "node:path";
import type { Logger } from "../base/log.js";
import type { Cluster } from "../cluster/index.js";
import type { ContainerRuntime } from "../containers/contract.js";
import type { ImageStore } from "../images/contract.js";
import type { AddressPool, DefaultBridgeSettings, DriverName, ModelState } from "../model/index.js";
import type { KernelPort } from "../plan/port.js";
import type { Committer } from "./commit.js";
import type { EngineSettings, EventBus } from "./contract.js";
import type { Converger } from "./converge.js";
import type { KeyedLocks } from "./locks.js";
import type { PortReservations } from "./ports/index.js";

/** dockerd's flags, as far as the engine acts on them. */
export interface EngineOptions {
  readonly bridge: DefaultBridgeSettings;
  readonly addressPools: readonly AddressPool[];
  readonly drivers: ReadonlySet<DriverName>;
  /** `--dns`, `--dns-search`, `--dns-opt` */
  readonly dns: readonly string[];
  readonly dnsSearch: readonly string[];
  readonly dnsOptions: readonly string[];
  /** `--host-gateway-ip`; undefined: the default bridge's gateway */
  readonly hostGatewayIp: string | undefined;
  /** `--shutdown-timeout` */
  readonly shutdownTimeoutSeconds: number;
}

/** What the engine's parts share. Made once, in engine.ts. */
export interface EngineContext {
  readonly settings: EngineSettings;
  readonly options: EngineOptions;
  readonly log: Logger;
  readonly state: ModelState;
  readonly committer: Committer;
  readonly converger: Converger;
  readonly kernel: KernelPort;
  readonly runtime: ContainerRuntime;
  readonly images: ImageStore;
  readonly ports: PortReservations;
  readonly events: EventBus;
  readonly locks: KeyedLocks;
  /** The shared store, with --cluster-store. */
  readonly cluster: Cluster | undefined;
  /** The kernel has IPv6. */
  readonly ipv6: boolean;
  nextSequence(count: number): number;
}

/** Where a container's /etc files are. */
export const containerDirectory = (ctx: EngineContext, id: string): string => join(ctx.settings.dataRoot, "containers", id);
export const etcPath = (ctx: EngineContext, id: string, file: "hosts" | "resolv.conf" | "hostname"): string =>
  join(containerDirectory(ctx, id), file);
/** Path of a pinned network namespace. */
export const netnsPath = (ctx: EngineContext, netns: string): string => join(ctx.settings.execRoot, "netns", netns);
