import type { Link, NsRef, PortFlags } from "../../plan/objects.js";
import type { LinkGroups } from "../marks.js";
import { NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REQUEST } from "../netlink/constants.js";
import type { Writer } from "../netlink/writer.js";
import { AF_UNSPEC, IFF_UP, RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK } from "./constants.js";
import { writeIfinfomsg } from "./headers.js";
import {
  type BridgePortValues,
  IFLA,
  IFLA_BR,
  IFLA_MACVLAN,
  IFLA_VXLAN,
  type LinkValues,
  MACVLAN_MODES,
  VETH_INFO,
} from "./link-tables.js";

/** Hundredths of a second (USER_HZ), as the bridge counts its ageing time. */
export const TICKS = 100;

/** The namespace in whose rtnetlink socket a link is created. */
export function creationNs(link: Link): NsRef {
  return link.type === "vxlan" ? link.underlayNs : link.type === "macvlan" ? link.parentNs : link.ns;
}

/** What stands in a creation message as a number. */
export interface CreationNumbers {
  readonly groups: LinkGroups;
  /** Index of `master` in `link.ns`, of `parent` in `parentNs` */
  readonly master?: number;
  readonly parent?: number;
  /** Descriptor of `link.ns` where that is not the creation namespace; of `peer.ns` where that is another one than `ns` */
  readonly target?: number;
  readonly peerTarget?: number;
  /** Up at once. Off for a port of a bridge, where something has to be set before the first frame passes. */
  readonly up: boolean;
}

/**
 * By default a veth end has as many queues as the machine has processors, each with two directories in sysfs: half of the time that a pair takes
 * on two processors, more on more. The queues serve XDP only: a packet goes from one end to the other without a lock and without waiting in one.
 */
const ONE_QUEUE: LinkValues = { IFLA_NUM_TX_QUEUES: 1, IFLA_NUM_RX_QUEUES: 1 };

/** One RTM_NEWLINK for the whole link, whose indexes come back where the kernel echoes. The far end of a veth pair stays down: IFF_UP on it fails with ENOTCONN here. */
export function writeCreate(w: Writer, link: Link, n: CreationNumbers): void {
  w.message(RTM_NEWLINK, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ECHO, () => {
    writeIfinfomsg(w, { flags: n.up ? IFF_UP : 0, change: n.up ? IFF_UP : 0 });
    IFLA.write(w, {
      IFLA_IFNAME: link.name,
      IFLA_GROUP: n.groups.own,
      ...(link.mtu === undefined ? {} : { IFLA_MTU: link.type === "bridge" ? passingMtu(link.mtu) : link.mtu }),
      ...(link.mac === undefined ? {} : { IFLA_ADDRESS: link.mac }),
      ...(n.master === undefined ? {} : { IFLA_MASTER: n.master }),
      ...(n.parent === undefined ? {} : { IFLA_LINK: n.parent }),
      ...(n.target === undefined ? {} : { IFLA_NET_NS_FD: n.target }),
      ...(link.type === "veth" ? ONE_QUEUE : {}),
      IFLA_LINKINFO: { IFLA_INFO_KIND: link.type, IFLA_INFO_DATA: (inner: Writer) => writeInfoData(inner, link, n) },
    });
  });
}

/**
 * A bridge follows the smallest MTU of its ports (1500 without any) until its own has been set; what it is created with does not
 * count as set, and neither does setting what it has. So it is created with a neighbouring value and then set.
 */
const passingMtu = (mtu: number): number => (mtu > 68 ? mtu - 1 : mtu + 1);

function writeInfoData(w: Writer, link: Link, n: CreationNumbers): void {
  switch (link.type) {
    case "veth":
      VETH_INFO.write(w, {
        VETH_INFO_PEER: {
          IFLA_IFNAME: link.peer.name,
          IFLA_GROUP: n.groups.peer,
          ...(link.peer.mtu === undefined ? {} : { IFLA_MTU: link.peer.mtu }),
          ...(link.peer.mac === undefined ? {} : { IFLA_ADDRESS: link.peer.mac }),
          ...(n.peerTarget === undefined ? {} : { IFLA_NET_NS_FD: n.peerTarget }),
          ...ONE_QUEUE,
        },
      });
      return;
    case "bridge":
      IFLA_BR.write(w, bridgeData(link));
      return;
    case "vxlan":
      IFLA_VXLAN.write(w, {
        IFLA_VXLAN_ID: link.vni,
        IFLA_VXLAN_PORT: link.dstPort,
        IFLA_VXLAN_LEARNING: link.learning ?? false,
        IFLA_VXLAN_PROXY: link.proxy ?? false,
        ...(link.local === undefined
          ? {}
          : link.local.includes(":")
            ? { IFLA_VXLAN_LOCAL6: link.local }
            : { IFLA_VXLAN_LOCAL: link.local }),
      });
      return;
    case "macvlan":
      IFLA_MACVLAN.write(w, { IFLA_MACVLAN_MODE: MACVLAN_MODES[link.mode] });
      return;
    case "loopback":
    case "wireguard":
      return;
  }
}

/** The bridge options that the object names. */
export function bridgeData(link: Link & { readonly type: "bridge" }) {
  return {
    ...(link.nfCallIptables === undefined
      ? {}
      : { IFLA_BR_NF_CALL_IPTABLES: link.nfCallIptables, IFLA_BR_NF_CALL_IP6TABLES: link.nfCallIptables }),
    ...(link.mcastSnooping === undefined ? {} : { IFLA_BR_MCAST_SNOOPING: link.mcastSnooping }),
    ...(link.ageingTimeSeconds === undefined ? {} : { IFLA_BR_AGEING_TIME: link.ageingTimeSeconds * TICKS }),
  };
}

/** The kernel's own state of a new bridge port; a flag absent from `port` means this. */
export const PORT_DEFAULTS: Required<PortFlags> = {
  isolated: false,
  hairpin: false,
  learning: true,
  flood: true,
  neighSuppress: false,
  locked: false,
};

const PORT_ATTRIBUTES: Readonly<Record<keyof PortFlags, keyof BridgePortValues>> = {
  isolated: "IFLA_BRPORT_ISOLATED",
  hairpin: "IFLA_BRPORT_MODE",
  learning: "IFLA_BRPORT_LEARNING",
  flood: "IFLA_BRPORT_UNICAST_FLOOD",
  neighSuppress: "IFLA_BRPORT_NEIGH_SUPPRESS",
  locked: "IFLA_BRPORT_LOCKED",
};

/** Flags that differ between two states of a port, with their wanted values; undefined if none does. */
export function portChanges(wanted: PortFlags | undefined, present: PortFlags | undefined): BridgePortValues | undefined {
  const out: BridgePortValues = {};
  for (const flag of Object.keys(PORT_ATTRIBUTES) as (keyof PortFlags)[]) {
    const value = wanted?.[flag] ?? PORT_DEFAULTS[flag];
    if (value !== (present?.[flag] ?? PORT_DEFAULTS[flag])) out[PORT_ATTRIBUTES[flag]] = value;
  }
  return Object.keys(out).length === 0 ? undefined : out;
}

/** All flags of a port, the defaults too: what a plan compares is what the wanted object names. */
export function readPort(values: BridgePortValues): PortFlags {
  const out: { -readonly [K in keyof PortFlags]: boolean } = {};
  for (const flag of Object.keys(PORT_ATTRIBUTES) as (keyof PortFlags)[]) {
    const value = values[PORT_ATTRIBUTES[flag]];
    if (value !== undefined) out[flag] = value;
  }
  return out;
}

/** Changes an existing link, found by name (index 0). `up` absent leaves it as it is. */
export function writeSet(w: Writer, name: string, change: { readonly up?: boolean; readonly values?: LinkValues }): void {
  w.message(RTM_NEWLINK, NLM_F_REQUEST, () => {
    writeIfinfomsg(w, { flags: change.up ? IFF_UP : 0, change: change.up === undefined ? 0 : IFF_UP });
    IFLA.write(w, { IFLA_IFNAME: name, ...change.values });
  });
}

/** Port flags of an existing bridge port, by name: as slave data, since AF_BRIDGE's RTM_SETLINK wants an index. */
export const portValues = (flags: BridgePortValues): LinkValues => ({
  IFLA_LINKINFO: { IFLA_INFO_SLAVE_KIND: "bridge", IFLA_INFO_SLAVE_DATA: flags },
});

export function writeDelete(w: Writer, target: { readonly name: string } | { readonly group: number }): void {
  w.message(RTM_DELLINK, NLM_F_REQUEST, () => {
    writeIfinfomsg(w, {});
    IFLA.write(w, "name" in target ? { IFLA_IFNAME: target.name } : { IFLA_GROUP: target.group });
  });
}

/** Asks for one link, by name or by index. */
export function writeGet(w: Writer, target: { readonly name: string } | { readonly index: number }): void {
  w.message(RTM_GETLINK, NLM_F_REQUEST, () => {
    writeIfinfomsg(w, { family: AF_UNSPEC, index: "index" in target ? target.index : 0 });
    if ("name" in target) IFLA.write(w, { IFLA_IFNAME: target.name });
  });
}
