import { attributes, be16, flag8, i32, ip, type Kind, mac, open, text, u32, type Values } from "../netlink/codec.js";
import type { Writer } from "../netlink/writer.js";
import { IFINFOMSG, writeIfinfomsg } from "./headers.js";

/** linux/if_link.h, linux/veth.h: the attributes that we write or read. */
export const IFLA_BRPORT = attributes({
  IFLA_BRPORT_MODE: [4, flag8],
  IFLA_BRPORT_LEARNING: [8, flag8],
  IFLA_BRPORT_UNICAST_FLOOD: [9, flag8],
  IFLA_BRPORT_NEIGH_SUPPRESS: [32, flag8],
  IFLA_BRPORT_ISOLATED: [33, flag8],
  IFLA_BRPORT_LOCKED: [39, flag8],
});
export type BridgePortValues = Values<typeof IFLA_BRPORT.table>;

export const IFLA_BR = attributes({
  /** hundredths of a second */
  IFLA_BR_AGEING_TIME: [4, u32],
  IFLA_BR_MCAST_SNOOPING: [23, flag8],
  IFLA_BR_NF_CALL_IPTABLES: [36, flag8],
  IFLA_BR_NF_CALL_IP6TABLES: [37, flag8],
});

export const IFLA_VXLAN = attributes({
  IFLA_VXLAN_ID: [1, u32],
  IFLA_VXLAN_LOCAL: [4, ip],
  IFLA_VXLAN_LEARNING: [7, flag8],
  IFLA_VXLAN_PROXY: [11, flag8],
  IFLA_VXLAN_PORT: [15, be16],
  IFLA_VXLAN_LOCAL6: [17, ip],
});

export const IFLA_MACVLAN = attributes({ IFLA_MACVLAN_MODE: [1, u32] });
export const MACVLAN_MODES = { private: 1, vepa: 2, bridge: 4, passthru: 8 } as const;

export const IFLA_LINKINFO = attributes({
  IFLA_INFO_KIND: [1, text],
  IFLA_INFO_DATA: [2, open],
  IFLA_INFO_SLAVE_KIND: [4, text],
  IFLA_INFO_SLAVE_DATA: [5, IFLA_BRPORT],
});

export const IFLA = attributes({
  IFLA_ADDRESS: [1, mac],
  IFLA_IFNAME: [3, text],
  IFLA_MTU: [4, u32],
  IFLA_LINK: [5, u32],
  IFLA_MASTER: [10, u32],
  IFLA_LINKINFO: [18, IFLA_LINKINFO],
  IFLA_GROUP: [27, u32],
  IFLA_NET_NS_FD: [28, u32],
  IFLA_EXT_MASK: [29, u32],
  IFLA_NUM_TX_QUEUES: [31, u32],
  IFLA_NUM_RX_QUEUES: [32, u32],
  IFLA_LINK_NETNSID: [37, i32],
});
export type LinkValues = Values<typeof IFLA.table>;

/** VETH_INFO_PEER holds a whole link message: an ifinfomsg, then attributes. */
const peer: Kind<LinkValues> = {
  nested: true,
  write(w: Writer, values) {
    writeIfinfomsg(w, {});
    IFLA.write(w, values);
  },
  read: (b, start, end) => IFLA.read(b, start + IFINFOMSG, end),
};
export const VETH_INFO = attributes({ VETH_INFO_PEER: [1, peer] });

/** Kinds whose IFLA_INFO_DATA is read. */
export const INFO_DATA = { bridge: IFLA_BR, vxlan: IFLA_VXLAN, macvlan: IFLA_MACVLAN } as const;
