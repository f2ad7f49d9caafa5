import type { KernelObject } from "../plan/objects.js";
import type { Drift, HostLink, HostRoute, ObserveScope, OpFailure, SocketRequest } from "../plan/port.js";
import type { ConntrackMatch } from "./conntrack.js";
import type { PackedBatch } from "./packed-batch.js";

/** Namespaces made in advance; `sysctls` are what nearly every one will be given, so that they have it already. */
export interface SpareOptions {
  readonly count: number;
  readonly sysctls: Readonly<Record<string, string>>;
}

/** What crosses between the engine's thread and the kernel thread. */
export interface WorkerOptions {
  readonly execRoot: string;
  /** IFLA_GROUP of our links; the two numbers above it are used as well. */
  readonly group: number;
  /** Path of the namespace to be used as the host's; absent: the process's own. */
  readonly hostNetns?: string;
  readonly spares?: SpareOptions;
}

/** Method → its argument and its result. */
export interface Calls {
  /** Failures come back without their ops: the caller has them. */
  apply: {
    readonly in: readonly PackedBatch[];
    readonly out: { readonly failures: readonly Omit<OpFailure, "op">[]; readonly syscalls: number };
  };
  observe: { readonly in: ObserveScope; readonly out: readonly KernelObject[] };
  watch: { readonly in: boolean; readonly out: undefined };
  hostRoutes: { readonly in: undefined; readonly out: readonly HostRoute[] };
  hostLinks: { readonly in: undefined; readonly out: readonly HostLink[] };
  flushConntrack: { readonly in: ConntrackMatch; readonly out: number };
  openSockets: { readonly in: readonly SocketRequest[]; readonly out: readonly number[] };
  close: { readonly in: undefined; readonly out: undefined };
}
export type Method = keyof Calls;

/** Arguments and results cross as JSON: for 10,000 objects a quarter of what structured cloning takes. */
export interface Request {
  readonly id: number;
  readonly method: Method;
  readonly json: string;
}

/** A KernelError in parts, or the text of any other. */
export type Failure =
  | { readonly operation: string; readonly errno: number; readonly code: string; readonly extAck?: string }
  | { readonly message: string; readonly stack?: string };

export type FromWorker =
  | { readonly id: number; readonly json: string }
  | { readonly id: number; readonly failure: Failure }
  | { readonly drift: Drift }
  | { readonly warn: string; readonly fields: Record<string, unknown> };
