import { unreachable } from "../base/result.js";
import { type ModelState, MutableIndexes } from "./indexes.js";
import type { Change, RecordKind, Records } from "./state.js";

/** A state that holds nothing. */
export function emptyState(): ModelState {
  return new MutableState();
}

/**
 * Makes the changes in place: O(changes), whatever the size of the state. Only what emptyState() returned can be changed.
 * Readers hold the same maps, so decide → apply must not be interrupted by an await.
 */
export function applyChanges(state: ModelState, changes: readonly Change[]): void {
  const target = state as MutableState;
  for (const change of changes) target.apply(change);
}

/** The changes that take back `changes`; to be asked for before they are applied. */
export function inverseOf(state: ModelState, changes: readonly Change[]): readonly Change[] {
  const seen = new Set<string>();
  const out: Change[] = [];
  for (const change of changes) {
    const key = `${change.kind}|${change.id}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const value = mapOf(state, change.kind).get(change.id);
    // State.meta holds the bare values.
    const record = change.kind === "meta" && value !== undefined ? { id: change.id, value } : value;
    out.push({ kind: change.kind, id: change.id, value: record } as Change);
  }
  return out.reverse();
}

function mapOf(state: ModelState, kind: RecordKind): ReadonlyMap<string, unknown> {
  return {
    network: state.networks,
    endpoint: state.endpoints,
    sandbox: state.sandboxes,
    container: state.containers,
    volume: state.volumes,
    meta: state.meta,
  }[kind];
}

class MutableState implements ModelState {
  readonly networks = new Map<string, Records["network"]>();
  readonly endpoints = new Map<string, Records["endpoint"]>();
  readonly sandboxes = new Map<string, Records["sandbox"]>();
  readonly containers = new Map<string, Records["container"]>();
  readonly volumes = new Map<string, Records["volume"]>();
  readonly meta = new Map<string, unknown>();
  readonly index = new MutableIndexes();
  /** Container records are changed in place by their owner: the name under which one stands in the index is kept apart. */
  private readonly indexedNames = new Map<string, string>();

  apply(change: Change): void {
    switch (change.kind) {
      case "network":
        this.index.network(this.networks.get(change.id), change.value);
        put(this.networks, change.id, change.value);
        break;
      case "endpoint":
        this.index.endpoint(this.endpoints.get(change.id), change.value);
        put(this.endpoints, change.id, change.value);
        break;
      case "sandbox":
        this.index.sandbox(this.sandboxes.get(change.id), change.value);
        put(this.sandboxes, change.id, change.value);
        break;
      case "container":
        this.index.container(this.indexedNames.get(change.id), change.value, change.id);
        put(this.indexedNames, change.id, change.value?.name);
        put(this.containers, change.id, change.value);
        break;
      case "volume":
        put(this.volumes, change.id, change.value);
        break;
      case "meta":
        put(this.meta, change.id, change.value?.value);
        break;
      default:
        unreachable(change);
    }
  }
}

function put<V>(map: Map<string, V>, id: string, value: V | undefined): void {
  if (value === undefined) map.delete(id);
  else map.set(id, value);
}
