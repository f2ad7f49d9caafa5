/** linux/rtnetlink.h, linux/if.h, linux/neighbour.h, linux/if_addr.h, linux/fib_rules.h */
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;
export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
export const RTM_GETRULE = 34;
export const RTM_NEWNSID = 88;
export const RTM_DELNSID = 89;
export const RTM_GETNSID = 90;

export const RTNLGRP_LINK = 1;
export const RTNLGRP_NEIGH = 3;
export const RTNLGRP_IPV4_IFADDR = 5;
export const RTNLGRP_IPV4_ROUTE = 7;
export const RTNLGRP_IPV6_IFADDR = 9;
export const RTNLGRP_IPV6_ROUTE = 11;
export const RTNLGRP_NSID = 28;

export const AF_UNSPEC = 0;
export const AF_BRIDGE = 7;

export const IFF_UP = 1;
/** The index of lo in every namespace (LOOPBACK_IFINDEX). */
export const LOOPBACK_IFINDEX = 1;
/** Leaves statistics out of link dumps: a third of their size. */
export const RTEXT_FILTER_SKIP_STATS = 8;

export const RT_TABLE_MAIN = 254;
export const RT_SCOPE_UNIVERSE = 0;
export const RT_SCOPE_LINK = 253;
export const RT_SCOPE_HOST = 254;
export const RT_SCOPE_NOWHERE = 255;
export const RTN_UNICAST = 1;
export const RTN_BLACKHOLE = 6;
export const RTN_UNREACHABLE = 7;
export const RTNH_F_ONLINK = 4;
export const RTM_F_CLONED = 0x200;
/** Metric that the kernel gives an IPv6 route without one. */
export const IP6_RT_PRIO_USER = 1024;

export const IFA_F_NODAD = 0x02;

export const NTF_SELF = 0x02;
export const NTF_MASTER = 0x04;
export const NTF_PROXY = 0x08;
export const NUD_NOARP = 0x40;
export const NUD_PERMANENT = 0x80;

export const FR_ACT_TO_TBL = 1;
