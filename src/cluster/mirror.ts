import type { Endpoint, Network } from "../model/network.js";
import type { Change } from "../model/state.js";
import type { ClusterNode } from "./contract.js";
import { type Keys, parseKey } from "./keys.js";
import type { MirrorView } from "./txn.js";
import { decodeEndpoint, decodeNetwork, encodeEndpoint, parseJson } from "./values.js";

interface Entry {
  readonly value: string;
  readonly revision: number;
}

/**
 * The store's content as last seen, key by key, and what it means. Own transactions are entered when they are acknowledged, others' changes when the
 * watch tells; an older revision never overwrites a newer one, so that the echo of an own write does nothing.
 */
export class Mirror implements MirrorView {
  private readonly entries = new Map<string, Entry>();
  /** Revisions at which keys were deleted, until the watch has passed them. */
  private readonly tombstones = new Map<string, number>();
  private readonly networks = new Map<string, Network>();
  private readonly endpoints = new Map<string, Endpoint>();
  private readonly nodeValues = new Map<string, Omit<ClusterNode, "alive">>();
  private readonly live = new Map<string, string>();
  /** The newest revision that was seen in full. */
  revision = 0;

  private readonly keys: Keys;
  private readonly endpointStart: string;
  private readonly self: string;
  constructor(keys: Keys, self: string) {
    this.keys = keys;
    this.endpointStart = `${keys.tree}endpoint/`;
    this.self = self;
  }

  revisionOf = (key: string): number => this.entries.get(key)?.revision ?? 0;
  valueOf = (key: string): string | undefined => this.entries.get(key)?.value;
  networkOf = (id: string): Network | undefined => this.networks.get(id);
  endpointOf = (networkId: string, id: string): Endpoint | undefined => {
    const e = this.endpoints.get(id);
    return e?.networkId === networkId ? e : undefined;
  };
  networkIdOfEndpoint = (id: string): string | undefined => this.endpoints.get(id)?.networkId;
  networkIds(): Iterable<string> {
    return this.networks.keys();
  }
  allEndpoints(): Iterable<Endpoint> {
    return this.endpoints.values();
  }
  allKeys(): Iterable<string> {
    return this.entries.keys();
  }
  /**
   * What the copy on disk keeps: key, value and revision of networks, hosts and blocks, and of the endpoints on networks where this host has some. The
   * rest is needed for decisions only, and for these the store itself.
   */
  snapshot(): readonly (readonly [string, string, number])[] {
    const starts = [this.keys.network(""), this.keys.node(""), `${this.keys.tree}block/`];
    const out: (readonly [string, string, number])[] = [];
    for (const [key, e] of this.entries) if (starts.some((s) => key.startsWith(s))) out.push([key, e.value, e.revision]);
    const here = new Set<string>();
    for (const e of this.endpoints.values()) if (e.node === this.self) here.add(e.networkId);
    for (const e of this.endpoints.values()) {
      if (!here.has(e.networkId)) continue;
      const key = this.keys.endpoint(e.networkId, e.id);
      out.push([key, encodeEndpoint(e, ""), this.revisionOf(key)]);
    }
    return out;
  }

  newestRevision(): number {
    let newest = 0;
    for (const e of this.entries.values()) if (e.revision > newest) newest = e.revision;
    return newest;
  }
  forgetRevisions(): void {
    for (const [key, e] of this.entries) this.entries.set(key, { value: e.value, revision: 0 });
    this.tombstones.clear();
    this.revision = 0;
  }

  nodes(): readonly ClusterNode[] {
    return [...this.nodeValues.values()].map((n) => ({ ...n, alive: this.live.get(n.advertise) === n.id }));
  }

  /** Enters one change; returns what it means to the engine (nothing for our own and for unknown keys) and endpoints of ours that went. */
  apply(
    key: string,
    value: string | undefined,
    revision: number,
    options: { readonly own: boolean },
  ): { readonly changes: readonly Change[]; readonly lost: readonly string[]; readonly own?: Endpoint } {
    const nothing = { changes: [], lost: [] };
    if (revision <= Math.max(this.revisionOf(key), this.tombstones.get(key) ?? 0)) return nothing;
    if (value === undefined) {
      this.entries.delete(key);
      this.tombstones.set(key, revision);
    } else {
      // Endpoints are kept decoded; their text would be most of what a large cluster costs in memory.
      this.entries.set(key, { value: key.startsWith(this.endpointStart) ? "" : value, revision });
      this.tombstones.delete(key);
    }
    const parsed = parseKey(this.keys, key);
    switch (parsed?.kind) {
      case "network": {
        const network = value === undefined ? undefined : decodeNetwork(value);
        if (network) this.networks.set(parsed.id, network);
        else this.networks.delete(parsed.id);
        return options.own ? nothing : { changes: [{ kind: "network", id: parsed.id, value: network }], lost: [] };
      }
      case "endpoint": {
        const before = this.endpoints.get(parsed.id);
        const endpoint = value === undefined ? undefined : decodeEndpoint(value);
        if (endpoint) this.endpoints.set(parsed.id, endpoint);
        else this.endpoints.delete(parsed.id);
        if (options.own) return nothing;
        if ((endpoint ?? before)?.node === this.self)
          return endpoint ? { ...nothing, own: endpoint } : { changes: [], lost: [parsed.id] };
        return { changes: [{ kind: "endpoint", id: parsed.id, value: endpoint }], lost: [] };
      }
      case "node": {
        const node = value === undefined ? undefined : (parseJson(value) as Omit<ClusterNode, "alive"> | undefined);
        if (node) this.nodeValues.set(parsed.id, node);
        else this.nodeValues.delete(parsed.id);
        return { changes: [this.nodeChange(parsed.id)], lost: [] };
      }
      case "live": {
        const id = value === undefined ? this.live.get(parsed.advertise) : (parseJson(value)?.["id"] as string | undefined);
        if (value === undefined || id === undefined) this.live.delete(parsed.advertise);
        else this.live.set(parsed.advertise, id);
        return id === undefined ? nothing : { changes: [this.nodeChange(id)], lost: [] };
      }
      case "block":
        return {
          changes: [
            {
              kind: "meta",
              id: `block:${parsed.networkId}:${parsed.prefix}`,
              value: value === undefined ? undefined : { id: `block:${parsed.networkId}:${parsed.prefix}`, value },
            },
          ],
          lost: [],
        };
      default:
        return nothing;
    }
  }

  /** The watch has delivered everything up to here. */
  passed(revision: number): void {
    if (revision > this.revision) this.revision = revision;
    for (const [key, at] of this.tombstones) if (at <= this.revision) this.tombstones.delete(key);
  }

  private nodeChange(id: string): Change {
    const node = this.nodes().find((n) => n.id === id);
    return { kind: "meta", id: `node:${id}`, value: node ? { id: `node:${id}`, value: node } : undefined };
  }
}
