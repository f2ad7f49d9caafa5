import { readlinkSync } from "node:fs";
import { HOST_NS, type KernelObject, type Link, type NsRef, objectKey } from "../plan/objects.js";
import type { Drift } from "../plan/port.js";
import type { ApplyContext } from "./apply.js";
import { nsidOf } from "./link-pairs.js";
import { eachAttribute } from "./netlink/codec.js";
import { NETLINK_NETFILTER, NETLINK_ROUTE } from "./netlink/constants.js";
import { MulticastSocket } from "./netlink/multicast.js";
import type { Visit } from "./netlink/socket.js";
import { NFNLGRP_NFTABLES } from "./nft/tables.js";
import { addressesHaveProtocol } from "./observe.js";
import { readAddr } from "./rtnl/addr.js";
import {
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELNEIGH,
  RTM_DELNSID,
  RTM_DELROUTE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWROUTE,
  RTNLGRP_IPV4_IFADDR,
  RTNLGRP_IPV4_ROUTE,
  RTNLGRP_IPV6_IFADDR,
  RTNLGRP_IPV6_ROUTE,
  RTNLGRP_LINK,
  RTNLGRP_NEIGH,
  RTNLGRP_NSID,
} from "./rtnl/constants.js";
import { getLink, readLinkName, type SeenLink } from "./rtnl/link-read.js";
import { readFdbKey, readNeigh } from "./rtnl/neigh.js";
import { readRoute } from "./rtnl/route.js";
import { NftEvents } from "./watch-nft.js";

/** Changes come in bursts: looked at together. */
const DEBOUNCE_MS = 20;
/** How often namespaces without a known number are asked for it. */
const RESCAN_MS = 1_000;

type Message = Parameters<Visit>[0];

interface Noticed {
  readonly ns: NsRef;
  readonly dev: string;
  readonly gone: boolean;
}

/**
 * Tells changes to our objects that were not ours. Our own requests' notifications are dropped by a filter on the sockets, or are
 * what the ledger says; a link is looked at again before anything is said of it. When notifications were lost: look at everything.
 */
export class Watcher {
  readonly #context: ApplyContext;
  readonly #onDrift: (drift: Drift) => void;
  readonly #route: MulticastSocket;
  readonly #nftSocket: MulticastSocket;
  readonly #nft: NftEvents;
  #timer: NodeJS.Timeout | undefined;
  #lost = false;
  readonly #noticed = new Map<string, Noticed>();
  readonly #links = new Map<string, { readonly ns: NsRef; readonly name: string }>();
  readonly #nsids = new Map<number, NsRef>();
  /** Messages of namespaces whose number is new to us, until the numbers have been asked for */
  #foreign: { readonly nsid: number; readonly message: Message }[] = [];
  #scannedAt = 0;

  constructor(context: ApplyContext, onDrift: (drift: Drift) => void) {
    this.#context = context;
    this.#onDrift = onDrift;
    const { pool } = context;
    this.#nft = new NftEvents(context.ledger, threadId());
    const lost = () => {
      this.#lost = true;
      this.#arm();
    };
    this.#route = pool.inside(
      HOST_NS,
      () =>
        new MulticastSocket({
          protocol: NETLINK_ROUTE,
          groups: [
            RTNLGRP_LINK,
            RTNLGRP_NEIGH,
            RTNLGRP_IPV4_IFADDR,
            RTNLGRP_IPV6_IFADDR,
            RTNLGRP_IPV4_ROUTE,
            RTNLGRP_IPV6_ROUTE,
            RTNLGRP_NSID,
          ],
          // The first socket of a process in a namespace has the process's number, ours in most.
          ignorePorts: [...new Set([process.pid, pool.route(HOST_NS).learnPort()])].filter((port) => port !== 0),
          visit: (nsid, m) => this.#visit(nsid, m),
          lost,
        }),
    );
    this.#nftSocket = new MulticastSocket({
      protocol: NETLINK_NETFILTER,
      groups: [NFNLGRP_NFTABLES],
      ignorePorts: [pool.netfilter(HOST_NS).learnPort()],
      visit: (nsid, m) => {
        if (nsid === undefined && this.#nft.visit(m)) this.#arm();
      },
      lost,
    });
  }

  close(): void {
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#route.close();
    this.#nftSocket.close();
  }

  #arm(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#report();
    }, DEBOUNCE_MS);
  }

  #visit(nsid: number | undefined, m: Message): void {
    if (nsid === undefined) {
      if (m.type === RTM_DELNSID) this.#nsids.delete(numberOf(m));
      else this.#notice(HOST_NS, m);
      return;
    }
    const ns = this.#nsids.get(nsid);
    if (ns !== undefined) this.#notice(ns, m);
    else if (this.#foreign.length < 10_000) {
      this.#foreign.push({
        nsid,
        message: { ...m, bytes: Buffer.from(m.bytes.subarray(m.start, m.end)), start: 0, end: m.end - m.start },
      });
      this.#arm();
    }
  }

  #notice(ns: NsRef, m: Message): void {
    const { type, bytes, start, end } = m;
    switch (type) {
      // Of what is nobody's concern no name is asked for: such a question waits for the kernel as long as it removes links, 20 ms.
      case RTM_NEWLINK:
      case RTM_DELLINK:
        this.#noticeLink(ns, readLinkName(bytes, start, end), type === RTM_DELLINK);
        return;
      case RTM_NEWADDR:
      case RTM_DELADDR: {
        if (addressesHaveProtocol && !readAddr(bytes, start, end, ns, "?").ours) return;
        const seen = readAddr(bytes, start, end, ns, this.#nameOf(ns, bytes.readUInt32LE(start + 4)));
        this.#noticeObject(seen.object, { ours: seen.ours, gone: type === RTM_DELADDR });
        return;
      }
      case RTM_NEWROUTE:
      case RTM_DELROUTE: {
        if (!readRoute(bytes, start, end, ns, () => "?")?.ours) return;
        const seen = readRoute(bytes, start, end, ns, (index) => this.#nameOf(ns, index));
        if (seen?.ours) this.#noticeObject(seen.object, { ours: true, gone: type === RTM_DELROUTE });
        return;
      }
      case RTM_DELNEIGH: {
        if (!this.#context.ledger.hasNeighbours(ns)) return;
        const nameOf = (index: number) => this.#nameOf(ns, index);
        const object = readNeigh(bytes, start, end, ns, nameOf)?.object ?? readFdbKey(bytes, start, end, ns, nameOf);
        if (object !== undefined) this.#noticeObject(object, { ours: false, gone: true });
        return;
      }
    }
  }

  #noticeLink(ns: NsRef, seen: Pick<SeenLink, "index" | "name" | "group">, gone: boolean): void {
    const { groups, ledger, hostIndexes } = this.#context;
    if (ns === HOST_NS && (gone || hostIndexes.get(seen.name) !== seen.index)) hostIndexes.delete(seen.name);
    const known = ledger.linkAt(ns, seen.name);
    if (known === undefined && (gone || seen.group !== groups.own)) return;
    this.#links.set(`${ns}|${seen.name}`, { ns, name: seen.name });
    this.#arm();
  }

  #noticeObject(object: KernelObject, seen: { readonly ours: boolean; readonly gone: boolean }): void {
    if (object.kind === "netns" || !("ns" in object)) return;
    const dev = "dev" in object ? (object.dev ?? "") : "";
    const key = objectKey(object);
    if (!seen.ours && this.#context.ledger.get(object.ns, dev, key) === undefined) return;
    this.#noticed.set(key, { ns: object.ns, dev, gone: seen.gone });
    this.#arm();
  }

  #report(): void {
    // In the middle of an apply the ledger is behind the kernel.
    if (this.#context.running > 0) {
      this.#arm();
      return;
    }
    this.#route.drain();
    this.#nftSocket.drain();
    this.#placeForeign();
    const keys = new Set<string>();
    const reasons = new Set<string>();
    for (const [key, { ns, dev, gone }] of this.#noticed) {
      const expected = this.#context.ledger.get(ns, dev, key);
      if (gone === (expected === undefined)) continue;
      keys.add(key);
      reasons.add(`${key.split("|")[0]} ${gone ? "deleted" : "added"}`);
    }
    this.#noticed.clear();
    for (const { ns, name } of this.#links.values()) this.#checkLink(ns, name, keys, reasons);
    this.#links.clear();
    for (const key of this.#nft.take()) {
      keys.add(key);
      reasons.add("nft table changed");
    }
    const lost = this.#lost;
    this.#lost = false;
    if (lost) this.#onDrift({ reason: "notifications were lost", keys: [] });
    else if (keys.size > 0) this.#onDrift({ reason: [...reasons].join(", "), keys: [...keys] });
  }

  #checkLink(ns: NsRef, name: string, keys: Set<string>, reasons: Set<string>): void {
    const expected = this.#context.ledger.linkAt(ns, name);
    let seen: SeenLink | undefined;
    try {
      seen = getLink(this.#context.pool.route(ns), { name });
    } catch {
      // The namespace is gone, with all that was in it.
    }
    const say = (what: string, link: Link) => {
      keys.add(objectKey(link));
      reasons.add(`link ${name} ${what}`);
    };
    if (expected === undefined) {
      if (seen?.group !== this.#context.groups.own) return;
      keys.add(`link|${ns}|${name}`);
      reasons.add(`link ${name} added`);
    } else if (seen === undefined) say("deleted", expected);
    else {
      const end = expected.ns === ns && expected.name === name ? expected : expected.type === "veth" ? expected.peer : expected;
      const master = seen.values.IFLA_MASTER ? this.#nameOf(ns, seen.values.IFLA_MASTER) : undefined;
      const changed =
        end.up !== seen.up ||
        (end.mtu !== undefined && end.mtu !== seen.values.IFLA_MTU) ||
        (end.mac !== undefined && end.mac !== seen.values.IFLA_ADDRESS) ||
        (end.master ?? undefined) !== master;
      if (changed) say("changed", expected);
    }
  }

  /** Finds out which of our namespaces has which number, and looks at the messages that waited for it. */
  #placeForeign(): void {
    const waiting = this.#foreign.splice(0);
    if (waiting.length === 0) return;
    const { pool, ledger } = this.#context;
    if (Date.now() - this.#scannedAt > RESCAN_MS || this.#nsids.size === 0) {
      this.#scannedAt = Date.now();
      const mapped = new Set(this.#nsids.values());
      for (const ns of pool.list()) {
        if (mapped.has(ns) || !ledger.knows(ns)) continue;
        try {
          const id = nsidOf(pool, HOST_NS, ns);
          if (id >= 0) this.#nsids.set(id, ns);
        } catch {
          // Removed meanwhile.
        }
      }
    }
    for (const { nsid, message } of waiting) {
      const ns = this.#nsids.get(nsid);
      if (ns !== undefined) this.#notice(ns, message);
    }
  }

  #nameOf(ns: NsRef, index: number): string {
    try {
      return getLink(this.#context.pool.route(ns), { index })?.name ?? "?";
    } catch {
      return "?";
    }
  }
}

/** NETNSA_NSID behind a padded struct rtgenmsg; -1: none. */
function numberOf({ bytes, start, end }: Message): number {
  let id = -1;
  eachAttribute(bytes, start + 4, end, (type, from) => {
    if (type === 1) id = bytes.readInt32LE(from);
  });
  return id;
}

/** The kernel's number of this thread. */
const threadId = (): number => Number(readlinkSync("/proc/thread-self").split("/").at(-1));
