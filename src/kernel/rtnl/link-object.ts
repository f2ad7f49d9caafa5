import { HOST_NS, type Link, type NsRef } from "../../plan/objects.js";
import { readPort, TICKS } from "./link.js";
import type { SeenLink } from "./link-read.js";
import { IFLA_BR, IFLA_MACVLAN, IFLA_VXLAN, MACVLAN_MODES } from "./link-tables.js";

/** What a link's own description does not hold: names for indexes, in its namespace and in that of its parent. */
export interface LinkNames {
  readonly nameOf: (index: number) => string;
  readonly parentNameOf: (ns: NsRef, index: number) => string;
  /** The far end of a veth pair; undefined: it is where we have no look. */
  readonly peerOf: (
    link: SeenLink,
  ) => { readonly ns: NsRef; readonly link: SeenLink; readonly nameOf: (index: number) => string } | undefined;
}

/** A link of ours as an object, with every field that the kernel tells. Undefined for a kind that we do not make. */
export function toLink(seen: SeenLink, ns: NsRef, names: LinkNames): Link | undefined {
  const { values } = seen;
  const slave = values.IFLA_LINKINFO?.IFLA_INFO_SLAVE_KIND === "bridge" ? values.IFLA_LINKINFO.IFLA_INFO_SLAVE_DATA : undefined;
  const base = {
    kind: "link" as const,
    ns,
    name: seen.name,
    up: seen.up,
    ...(values.IFLA_MTU === undefined ? {} : { mtu: values.IFLA_MTU }),
    ...(values.IFLA_ADDRESS === undefined || seen.kind === "" ? {} : { mac: values.IFLA_ADDRESS }),
    ...(values.IFLA_MASTER ? { master: names.nameOf(values.IFLA_MASTER) } : {}),
    ...(slave === undefined ? {} : { port: readPort(slave) }),
  };
  const data = infoData(seen);
  /** The namespace of what the link is built upon: told only if it is another one, which for us is the host's. */
  const lowerNs = values.IFLA_LINK_NETNSID === undefined ? ns : HOST_NS;
  switch (seen.kind) {
    case "":
      return { ...base, type: "loopback" };
    case "bridge": {
      const v = IFLA_BR.read(data, 0, data.length);
      return {
        ...base,
        type: "bridge",
        ...(v.IFLA_BR_NF_CALL_IPTABLES === undefined ? {} : { nfCallIptables: v.IFLA_BR_NF_CALL_IPTABLES }),
        ...(v.IFLA_BR_MCAST_SNOOPING === undefined ? {} : { mcastSnooping: v.IFLA_BR_MCAST_SNOOPING }),
        ...(v.IFLA_BR_AGEING_TIME === undefined ? {} : { ageingTimeSeconds: v.IFLA_BR_AGEING_TIME / TICKS }),
      };
    }
    case "veth": {
      const peer = names.peerOf(seen);
      // A lost far end equals no wanted one: the pair is made anew.
      if (peer === undefined) return { ...base, type: "veth", peer: { ns: "?", name: "?", up: false } };
      const p = peer.link.values;
      return {
        ...base,
        type: "veth",
        peer: {
          ns: peer.ns,
          name: peer.link.name,
          up: peer.link.up,
          ...(p.IFLA_ADDRESS === undefined ? {} : { mac: p.IFLA_ADDRESS }),
          ...(p.IFLA_MTU === undefined ? {} : { mtu: p.IFLA_MTU }),
          ...(p.IFLA_MASTER ? { master: peer.nameOf(p.IFLA_MASTER) } : {}),
        },
      };
    }
    case "vxlan": {
      const v = IFLA_VXLAN.read(data, 0, data.length);
      const local = v.IFLA_VXLAN_LOCAL ?? v.IFLA_VXLAN_LOCAL6;
      return {
        ...base,
        type: "vxlan",
        underlayNs: lowerNs,
        vni: v.IFLA_VXLAN_ID ?? 0,
        dstPort: v.IFLA_VXLAN_PORT ?? 0,
        ...(local === undefined ? {} : { local }),
        learning: v.IFLA_VXLAN_LEARNING ?? false,
        proxy: v.IFLA_VXLAN_PROXY ?? false,
      };
    }
    case "macvlan": {
      const mode = IFLA_MACVLAN.read(data, 0, data.length).IFLA_MACVLAN_MODE;
      const modes = Object.keys(MACVLAN_MODES) as (keyof typeof MACVLAN_MODES)[];
      return {
        ...base,
        type: "macvlan",
        parentNs: lowerNs,
        parent: names.parentNameOf(lowerNs, values.IFLA_LINK ?? 0),
        mode: modes.find((name) => MACVLAN_MODES[name] === mode) ?? "bridge",
      };
    }
    default:
      return undefined;
  }
}

function infoData(seen: SeenLink): Buffer {
  const data = seen.values.IFLA_LINKINFO?.IFLA_INFO_DATA;
  return Buffer.isBuffer(data) ? data : Buffer.alloc(0);
}

/** Cannot become each other by setting attributes: the link has to be made anew. Compares what `wanted` names. */
export function mustRecreate(wanted: Link, is: Link): boolean {
  if (wanted.type === "veth" && is.type === "veth") return wanted.peer.ns !== is.peer.ns || wanted.peer.name !== is.peer.name;
  if (wanted.type === "vxlan" && is.type === "vxlan")
    return (
      wanted.underlayNs !== is.underlayNs ||
      wanted.vni !== is.vni ||
      wanted.dstPort !== is.dstPort ||
      (wanted.local !== undefined && wanted.local !== is.local) ||
      (wanted.learning ?? false) !== (is.learning ?? false) ||
      (wanted.proxy ?? false) !== (is.proxy ?? false)
    );
  if (wanted.type === "macvlan" && is.type === "macvlan")
    return wanted.parent !== is.parent || wanted.parentNs !== is.parentNs || wanted.mode !== is.mode;
  return wanted.type !== is.type;
}
