import { HOST_NS, type Link, type NsRef } from "../plan/objects.js";
import type { Place, Run } from "./apply.js";
import { EEXIST, ENODEV, EOPNOTSUPP } from "./errno.js";
import { removeLinks } from "./link-removal.js";
import type { Refused } from "./netlink/socket.js";
import { Writer } from "./netlink/writer.js";
import { bridgeData, creationNs, portChanges, portValues, writeCreate, writeDelete, writeSet } from "./rtnl/link.js";
import { mustRecreate, toLink } from "./rtnl/link-object.js";
import { getLink, readLink, type SeenLink } from "./rtnl/link-read.js";
import { type BridgePortValues, IFLA_BR, type LinkValues } from "./rtnl/link-tables.js";
import { writeSysctl } from "./sysctl.js";

/** Puts and deletes of links, for one apply. */
export class LinkOps {
  readonly #run: Run;
  /** Links to be removed before anything that follows in the same batch needs them gone. */
  readonly #doomed: { readonly place: Place; readonly ns: NsRef; readonly name: string }[] = [];

  constructor(run: Run) {
    this.#run = run;
  }

  async run(place: Place, link: Link): Promise<void> {
    const { op } = place;
    if (link.type === "loopback") {
      if (op.op === "put" && !(link.up && this.#run.isPrepared(link.ns)))
        this.#run.send(link.ns, place, (w) => writeSet(w, link.name, { up: link.up }));
      return;
    }
    if (op.op === "delete") {
      this.#doomed.push({ place, ns: link.ns, name: link.name });
      return;
    }
    if (this.#doomed.some((d) => isNamed(link, d.ns, d.name))) await this.removals();
    if (link.type === "wireguard") return this.#run.fail(place, { errno: EOPNOTSUPP });
    const was = op.was?.kind === "link" ? op.was : undefined;
    if (was === undefined) return this.#create(place, link, { again: false });
    if (!mustRecreate(link, was)) return this.#change(place, link, was);
    this.#deleteNow(was.ns, was.name);
    this.#create(place, link, { again: false });
  }

  /** Removes what is due; resolves when the links are out of sight. */
  async removals(): Promise<void> {
    if (this.#doomed.length === 0) return;
    this.#run.flush();
    const byNs = new Map<NsRef, { readonly place: Place; readonly name: string }[]>();
    for (const { place, ns, name } of this.#doomed.splice(0)) {
      this.#run.forgetIndex(ns, name);
      const list = byNs.get(ns);
      if (list === undefined) byNs.set(ns, [{ place, name }]);
      else list.push({ place, name });
    }
    for (const [ns, links] of byNs) {
      const places = new Map(links.map(({ name, place }) => [name, place]));
      try {
        await removeLinks(this.#run.context, ns, [...places.keys()], (name, why) => this.#run.fail(places.get(name)!, why));
      } catch (error) {
        for (const place of places.values()) this.#run.caught(place, error);
      }
    }
  }

  #create(place: Place, link: Link, options: { readonly again: boolean }): void {
    const run = this.#run;
    const { pool, groups } = run.context;
    const from = creationNs(link);
    const master = link.master === undefined ? undefined : run.indexOf(link.ns, link.master, { foreign: false });
    const parent = link.type === "macvlan" ? run.indexOf(link.parentNs, link.parent, { foreign: true }) : undefined;
    const target = link.ns === from ? undefined : pool.fd(link.ns);
    const peerTarget = link.type === "veth" && link.peer.ns !== link.ns ? pool.fd(link.peer.ns) : undefined;
    const flags = link.master === undefined ? undefined : portChanges(link.port, undefined);
    const names = [`${link.ns}|${link.name}`, ...(link.type === "veth" ? [`${link.peer.ns}|${link.peer.name}`] : [])];
    for (const name of names) run.awaited.set(name, from);
    const settled = () => {
      for (const name of names) run.awaited.delete(name);
    };
    let echoed: SeenLink | undefined;
    run.send(
      from,
      place,
      (w) =>
        writeCreate(w, link, {
          groups,
          up: link.up && master === undefined,
          ...(master === undefined ? {} : { master }),
          ...(parent === undefined ? {} : { parent }),
          ...(target === undefined ? {} : { target }),
          ...(peerTarget === undefined ? {} : { peerTarget }),
        }),
      {
        echo: ({ bytes, start, end }) => {
          echoed = readLink(bytes, start, end);
        },
        done: () => {
          settled();
          // Where creation and home differ the index is the one before the move.
          if (echoed !== undefined && link.ns === from) this.#learn(link, echoed);
          // By name, so only now: had the creation failed, the name might be another's link.
          if (link.type === "bridge" && link.mtu !== undefined) {
            const { mtu } = link;
            run.send(link.ns, place, (w) => writeSet(w, link.name, { values: { IFLA_MTU: mtu } }));
          }
          if (master !== undefined) this.#finishPort(place, link, flags);
          if (link.type === "veth") this.#finishPeer(place, link);
        },
        refused: (why) => {
          settled();
          return why.errno === EEXIST && !options.again && this.#adopt(place, link);
        },
      },
    );
  }

  #learn(link: Link, { index, values }: SeenLink): void {
    const { indexes, context } = this.#run;
    if (link.type === "bridge" && link.ns === HOST_NS) context.hostIndexes.set(link.name, index);
    indexes.set(`${link.ns}|${link.name}`, index);
    if (link.type === "veth" && values.IFLA_LINK !== undefined)
      indexes.set(`${link.peer.ns}|${link.peer.name}`, values.IFLA_LINK);
  }

  /**
   * A port of a bridge goes up when its flags are set and IPv6 is off on it: a port needs no address, and the kernel's work for a
   * link-local one (duplicate address detection under RTNL, fe80::/64 and ff00::/8 routes that are compared with those of all other
   * ports) grows with the number of ports.
   */
  #finishPort(place: Place, link: Link, flags: BridgePortValues | undefined): void {
    const run = this.#run;
    // A VXLAN device keeps it, for the neighbour entries by which it answers for other hosts.
    if (link.type === "veth") run.context.pool.inside(link.ns, () => disableIpv6(link.ns, link.name));
    if (!link.up && flags === undefined) return;
    run.send(link.ns, place, (w) =>
      writeSet(w, link.name, { up: link.up, ...(flags === undefined ? {} : { values: portValues(flags) }) }),
    );
  }

  /** What the creation message cannot say about the far end. */
  #finishPeer(place: Place, link: Link & { readonly type: "veth" }): void {
    const { peer } = link;
    if (!peer.up && peer.master === undefined) return;
    const master = peer.master === undefined ? undefined : this.#run.indexOf(peer.ns, peer.master, { foreign: false });
    this.#run.send(peer.ns, place, (w) =>
      writeSet(w, peer.name, { up: peer.up, ...(master === undefined ? {} : { values: { IFLA_MASTER: master } }) }),
    );
  }

  /** The name is taken. By a link of ours: that one becomes what is wanted. By another's: not handled, the op fails. */
  #adopt(place: Place, link: Link): boolean {
    const run = this.#run;
    const { pool, groups } = run.context;
    const seen = getLink(pool.route(link.ns), { name: link.name });
    if (seen !== undefined && seen.group !== groups.own && seen.group !== groups.trash) {
      run.fail(place, { errno: EEXIST, extAck: `the name ${link.name} is taken by a link that is not ours` });
      return true;
    }
    const is = seen === undefined ? undefined : this.#asObject(seen, link);
    if (seen === undefined || is === undefined || seen.group === groups.trash || mustRecreate(link, is)) {
      // Ours, but another thing; or the far end's name is the one that is taken.
      if (seen !== undefined) this.#deleteNow(link.ns, link.name);
      if (link.type === "veth" && !this.#freePeerName(place, link)) return true;
      if (seen === undefined && link.type !== "veth") return false;
      this.#create(place, link, { again: true });
      return true;
    }
    this.#change(place, link, is);
    return true;
  }

  #asObject(seen: SeenLink, wanted: Link): Link | undefined {
    const { pool, groups } = this.#run.context;
    const nameAt = (ns: NsRef) => (index: number) => getLink(pool.route(ns), { index })?.name ?? "?";
    return toLink(seen, wanted.ns, {
      nameOf: nameAt(wanted.ns),
      parentNameOf: (ns, index) => nameAt(ns)(index),
      peerOf: () => {
        if (wanted.type !== "veth") return undefined;
        const peer = getLink(pool.route(wanted.peer.ns), { name: wanted.peer.name });
        const isPair =
          peer?.group === groups.peer && peer.index === seen.values.IFLA_LINK && peer.values.IFLA_LINK === seen.index;
        return isPair ? { ns: wanted.peer.ns, link: peer, nameOf: nameAt(wanted.peer.ns) } : undefined;
      },
    });
  }

  /** A far end of ours whose near end is another one is a leftover. */
  #freePeerName(place: Place, link: Link & { readonly type: "veth" }): boolean {
    const { pool, groups } = this.#run.context;
    const peer = getLink(pool.route(link.peer.ns), { name: link.peer.name });
    if (peer === undefined) return true;
    if (peer.group === groups.peer) {
      this.#deleteNow(link.peer.ns, link.peer.name);
      return true;
    }
    this.#run.fail(place, { errno: EEXIST, extAck: `the name ${link.peer.name} is taken by a link that is not ours` });
    return false;
  }

  /** In place: two messages at most for the link (a port's flags are set when it is a port), one for its far end. */
  #change(place: Place, link: Link, was: Link): void {
    const run = this.#run;
    const moved = link.master !== was.master;
    const values: LinkValues = {
      ...(link.mtu !== undefined && link.mtu !== was.mtu ? { IFLA_MTU: link.mtu } : {}),
      ...(link.mac !== undefined && link.mac !== was.mac ? { IFLA_ADDRESS: link.mac } : {}),
      ...(moved ? { IFLA_MASTER: link.master === undefined ? 0 : run.indexOf(link.ns, link.master, { foreign: false }) } : {}),
      ...(link.type === "bridge" && was.type === "bridge" ? bridgeChanges(link, was) : {}),
    };
    const flags = link.master === undefined ? undefined : portChanges(link.port, moved ? undefined : was.port);
    const up = link.up === was.up ? {} : { up: link.up };
    if (Object.keys(values).length > 0 || (flags === undefined && link.up !== was.up))
      run.send(link.ns, place, (w) => writeSet(w, link.name, { values, ...(flags === undefined ? up : {}) }));
    if (flags !== undefined) run.send(link.ns, place, (w) => writeSet(w, link.name, { ...up, values: portValues(flags) }));
    if (link.type === "veth" && was.type === "veth") this.#changePeer(place, link.peer, was.peer);
  }

  #changePeer(
    place: Place,
    peer: (Link & { readonly type: "veth" })["peer"],
    was: (Link & { readonly type: "veth" })["peer"],
  ): void {
    const values: LinkValues = {
      ...(peer.mtu !== undefined && peer.mtu !== was.mtu ? { IFLA_MTU: peer.mtu } : {}),
      ...(peer.mac !== undefined && peer.mac !== was.mac ? { IFLA_ADDRESS: peer.mac } : {}),
      ...(peer.master !== was.master
        ? { IFLA_MASTER: peer.master === undefined ? 0 : this.#run.indexOf(peer.ns, peer.master, { foreign: false }) }
        : {}),
    };
    if (Object.keys(values).length === 0 && peer.up === was.up) return;
    this.#run.send(peer.ns, place, (w) => writeSet(w, peer.name, { values, ...(peer.up === was.up ? {} : { up: peer.up }) }));
  }

  /** Rare (a replacement under the same name): waits for the kernel, some 20 ms. */
  #deleteNow(ns: NsRef, name: string): void {
    this.#run.flush();
    const w = new Writer(128);
    writeDelete(w, { name });
    const refused: Refused | undefined = this.#run.context.pool.route(ns).request(w).get(0);
    this.#run.forgetIndex(ns, name);
    if (refused !== undefined && refused.errno !== ENODEV)
      this.#run.context.warn("link delete failed", { link: name, netns: ns === HOST_NS ? "host" : ns, errno: refused.errno });
  }
}

function disableIpv6(ns: NsRef, name: string): void {
  try {
    writeSysctl(ns === HOST_NS ? "host" : "pinned", `net.ipv6.conf.${name.replaceAll(".", "/")}.disable_ipv6`, "1");
  } catch (error) {
    // No IPv6 in this kernel.
    if ((error as { code?: string }).code !== "ENOENT") throw error;
  }
}

function bridgeChanges(link: Link & { readonly type: "bridge" }, was: Link & { readonly type: "bridge" }): LinkValues {
  const { type, kind, ns, name, up } = link;
  const changed: Link & { readonly type: "bridge" } = {
    type,
    kind,
    ns,
    name,
    up,
    ...(link.nfCallIptables !== was.nfCallIptables && link.nfCallIptables !== undefined
      ? { nfCallIptables: link.nfCallIptables }
      : {}),
    ...(link.mcastSnooping !== was.mcastSnooping && link.mcastSnooping !== undefined
      ? { mcastSnooping: link.mcastSnooping }
      : {}),
    ...(link.ageingTimeSeconds !== was.ageingTimeSeconds && link.ageingTimeSeconds !== undefined
      ? { ageingTimeSeconds: link.ageingTimeSeconds }
      : {}),
  };
  const data = bridgeData(changed);
  if (Object.keys(data).length === 0) return {};
  return { IFLA_LINKINFO: { IFLA_INFO_KIND: "bridge", IFLA_INFO_DATA: (w: Writer) => IFLA_BR.write(w, data) } };
}

const isNamed = (link: Link, ns: NsRef, name: string): boolean =>
  (link.ns === ns && link.name === name) || (link.type === "veth" && link.peer.ns === ns && link.peer.name === name);
