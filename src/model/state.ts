import type { Container, Volume } from "./container.js";
import type { Endpoint, Network, Sandbox } from "./network.js";

/** Everything that the engine knows by decision (not by looking). Kept in the store, record by record. */
export interface Records {
  network: Network;
  endpoint: Endpoint;
  sandbox: Sandbox;
  container: Container;
  volume: Volume;
  /** engine-wide values: the id of this engine, counters */
  meta: { readonly id: string; readonly value: unknown };
}
export type RecordKind = keyof Records;

export type Change = {
  [K in RecordKind]: { readonly kind: K; readonly id: string; readonly value: Records[K] | undefined };
}[RecordKind];

export interface State {
  readonly networks: ReadonlyMap<string, Network>;
  readonly endpoints: ReadonlyMap<string, Endpoint>;
  readonly sandboxes: ReadonlyMap<string, Sandbox>;
  readonly containers: ReadonlyMap<string, Container>;
  readonly volumes: ReadonlyMap<string, Volume>;
  readonly meta: ReadonlyMap<string, unknown>;
}
