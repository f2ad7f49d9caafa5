import { HOST_NS, type NsRef } from "../plan/objects.js";
import type { LinkGroups } from "./marks.js";
import type { NamespacePool } from "./namespace-pool.js";
import { attributes, i32, u32 } from "./netlink/codec.js";
import { NLM_F_REQUEST } from "./netlink/constants.js";
import { Writer } from "./netlink/writer.js";
import { RTM_GETNSID, RTM_NEWNSID } from "./rtnl/constants.js";
import { dumpLinks, getLinks, type SeenLink } from "./rtnl/link-read.js";

const NETNSA = attributes({ NETNSA_NSID: [1, i32], NETNSA_FD: [3, u32] });
/** sizeof(struct rtgenmsg), aligned */
const RTGENMSG = 4;

/** The number by which namespace `at` knows `other` (-1: it has none for it). */
export function nsidOf(pool: NamespacePool, at: NsRef, other: NsRef): number {
  const w = new Writer(64);
  w.message(RTM_GETNSID, NLM_F_REQUEST, () => {
    w.zeros(RTGENMSG);
    NETNSA.write(w, { NETNSA_FD: pool.fd(other) });
  });
  let id = -1;
  pool.route(at).get(w, "netns list-id", (m) => {
    if (m.type === RTM_NEWNSID) id = NETNSA.read(m.bytes, m.start + RTGENMSG, m.end).NETNSA_NSID ?? -1;
  });
  return id;
}

/** The links of one namespace. */
export interface NamespaceLinks {
  readonly ns: NsRef;
  readonly links: readonly SeenLink[];
  readonly byIndex: ReadonlyMap<number, SeenLink>;
}

/**
 * Links of the namespaces looked at, and the two ends of veth pairs across them. Namespaces that are not in the scope are looked
 * at only when the other end of a pair must be there.
 */
export class LinkPairs {
  readonly #pool: NamespacePool;
  readonly #groups: LinkGroups;
  readonly #seen = new Map<NsRef, NamespaceLinks | undefined>();
  #everything = false;
  #pinned: readonly NsRef[] | undefined;
  /** "own index/peer's index" → far ends that say so */
  readonly #peers = new Map<string, { readonly ns: NsRef; readonly link: SeenLink }[]>();

  constructor(pool: NamespacePool, groups: LinkGroups) {
    this.#pool = pool;
    this.#groups = groups;
  }

  /** Undefined: there is no such namespace. */
  look(ns: NsRef): NamespaceLinks | undefined {
    if (this.#seen.has(ns)) return this.#seen.get(ns);
    let found: NamespaceLinks | undefined;
    try {
      const links = dumpLinks(this.#pool.route(ns).strict());
      found = { ns, links, byIndex: new Map(links.map((link) => [link.index, link])) };
      for (const link of links) if (link.group === this.#groups.peer && link.kind === "veth") this.#remember(ns, link);
    } catch (error) {
      if ((error as { code?: string }).code !== "ENOENT") throw error;
    }
    this.#seen.set(ns, found);
    return found;
  }

  nameOf(ns: NsRef, index: number): string {
    const known = this.#seen.get(ns)?.byIndex.get(index);
    return known?.name ?? getLinks(this.#pool.route(ns), [{ index }])[0]?.name ?? "?";
  }

  /** The far end of a pair whose near end is `link` in `ns`. */
  peerOf(ns: NsRef, link: SeenLink): { readonly ns: NsRef; readonly link: SeenLink } | undefined {
    const key = `${link.index}/${link.values.IFLA_LINK}`;
    const id = link.values.IFLA_LINK_NETNSID;
    const find = () => {
      const candidates = (this.#peers.get(key) ?? []).filter((peer) => (id === undefined) === (peer.ns === ns));
      if (candidates.length <= 1 || id === undefined) return candidates[0];
      // The same two numbers may occur in a pair of other namespaces.
      return candidates.find((peer) => nsidOf(this.#pool, ns, peer.ns) === id);
    };
    const found = find();
    if (found !== undefined || this.#everything) return found;
    this.#lookEverywhere();
    return find();
  }

  /** Near ends of the pairs whose far ends are in `ns`, for those that are in none of the namespaces `looked`. */
  nearEndsOf(ns: NsRef, looked: ReadonlySet<NsRef>): { readonly ns: NsRef; readonly link: SeenLink }[] {
    const out: { readonly ns: NsRef; readonly link: SeenLink }[] = [];
    for (const peer of this.look(ns)?.links ?? []) {
      if (peer.group !== this.#groups.peer || peer.kind !== "veth" || peer.values.IFLA_LINK_NETNSID === undefined) continue;
      const near = this.#nearEnd(ns, peer);
      if (near !== undefined && !looked.has(near.ns)) out.push(near);
    }
    return out;
  }

  #nearEnd(ns: NsRef, peer: SeenLink): { readonly ns: NsRef; readonly link: SeenLink } | undefined {
    const id = peer.values.IFLA_LINK_NETNSID;
    for (const other of this.#names()) {
      if (other === ns || nsidOf(this.#pool, ns, other) !== id) continue;
      const link = getLinks(this.#pool.route(other), [{ index: peer.values.IFLA_LINK ?? 0 }])[0];
      return link?.group === this.#groups.own ? { ns: other, link } : undefined;
    }
    return undefined;
  }

  #lookEverywhere(): void {
    this.#everything = true;
    for (const ns of this.#names()) this.look(ns);
  }

  /** The host's namespace first: nearly all near ends are there. */
  #names(): readonly NsRef[] {
    this.#pinned ??= this.#pool.list();
    return [HOST_NS, ...this.#pinned];
  }

  #remember(ns: NsRef, peer: SeenLink): void {
    const key = `${peer.values.IFLA_LINK}/${peer.index}`;
    const list = this.#peers.get(key);
    if (list === undefined) this.#peers.set(key, [{ ns, link: peer }]);
    else list.push({ ns, link: peer });
  }
}
