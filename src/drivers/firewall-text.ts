import type { NftTable } from "../plan/objects.js";
import { HOST_NS } from "../plan/objects.js";

/** The name of our tables, in every family. */
export const TABLE = "linkspan";

/**
 * The static rules. Everything that a network, an endpoint or a published port adds is an element of the sets and maps below, so the
 * number of rules that a packet meets does not depend on how many there are. All sets are plain hashes: one interval set in a table
 * makes each update of the table's other sets walk it (25 ms at 10,000 elements), so prefixes are kept as one hash per mask length.
 *
 * Priorities, next to the usual ones, so that rules of others with the usual numbers run after ours (before, for the source address):
 * raw -310, publish -110, forward -10, source address 90; in the bridge family -310.
 */
export const PRIORITIES = { raw: -310, publish: -110, forward: -10, source: 90, bridge: -310 } as const;

/** Allow-lists hold prefixes of these lengths only: any other is written as at most eight of the next longer one. */
export const ALLOW_STEP = 4;

const MODES = ["nat", "unprotected", "routed", "closed"] as const;
export type ModeChain = (typeof MODES)[number];

/** The verdict of a network in the map `to`: how new connections into it are judged, per address family. */
export const toVerdict = (mode4: ModeChain, mode6: ModeChain): string => `goto to_${mode4}_${mode6}`;

/** `table inet linkspan` as one object. `closeForeignForwarding`: packets between interfaces that are not ours are dropped. */
export function inetTable(options: { readonly closeForeignForwarding: boolean }): NftTable {
  return tableObject("inet", inetText(options.closeForeignForwarding));
}

/** `table bridge linkspan`: who may send what into a bridge of ours. What comes in by `trunk` was judged where it came from. */
export function bridgeTable(trunk?: string): NftTable {
  const first = "policy accept;\n";
  return tableObject(
    "bridge",
    trunk === undefined ? BRIDGE_TEXT : BRIDGE_TEXT.replace(first, `${first}    iifname "${trunk}" accept\n`),
  );
}

function tableObject(family: "inet" | "bridge", text: string): NftTable {
  return { kind: "nftTable", ns: HOST_NS, family, table: TABLE, text, hash: textHash(text) };
}

/** FNV-1a, twice 32 bits with different offsets: to see that a text differs, not against an adversary. */
export function textHash(text: string): string {
  let a = 0x811c9dc5;
  let b = 0x9dc5811c;
  for (let i = 0; i < text.length; i++) {
    a = Math.imul(a ^ text.charCodeAt(i), 0x01000193);
    b = Math.imul(b ^ text.charCodeAt(i), 0x01000193) ^ (b >>> 15);
  }
  return (a >>> 0).toString(16).padStart(8, "0") + (b >>> 0).toString(16).padStart(8, "0");
}

export const ALLOW_LENGTHS4 = lengths(32);
export const ALLOW_LENGTHS6 = lengths(128);

function lengths(bits: number): readonly number[] {
  const out: number[] = [];
  for (let n = bits; n >= 0; n -= ALLOW_STEP) out.push(n);
  return out;
}

function mask4(length: number): string {
  const n = length === 0 ? 0 : (0xffffffff << (32 - length)) >>> 0;
  return [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join(".");
}

function mask6(length: number): string {
  const groups: string[] = [];
  for (let i = 0; i < 8; i++) groups.push(((0xffff << (16 - Math.min(16, Math.max(0, length - i * 16)))) & 0xffff).toString(16));
  return groups.join(":");
}

function inetText(closeForeignForwarding: boolean): string {
  return `
  # --- networks: their bridges
  set bridges { type ifname; }
  map from { type ifname : verdict; }
  map to { type ifname : verdict; }
  set same { type ifname . ifname; }

  # --- endpoints: their addresses
  set endpoints4 { type ifname . ipv4_addr; }
  set endpoints6 { type ifname . ipv6_addr; }
  set masquerade4 { type ipv4_addr; }
  set masquerade6 { type ipv6_addr; }
  map snat4 { type ipv4_addr : ipv4_addr; }
  map snat6 { type ipv6_addr : ipv6_addr; }
  set links4 { type ipv4_addr . ipv4_addr . inet_proto . inet_service; }
  set links6 { type ipv6_addr . ipv6_addr . inet_proto . inet_service; }
  set open4 { type ipv4_addr . inet_proto . inet_service; }
  set open6 { type ipv6_addr . inet_proto . inet_service; }

  # --- routed networks: no bridge, a veth pair per endpoint that the host routes to
  set veths { type ifname; }
  set sources4 { type ifname . ipv4_addr; }
  set sources6 { type ifname . ipv6_addr; }
${ALLOW_LENGTHS4.map((n) => `  set peers4_${n} { type ipv4_addr . ipv4_addr; }`).join("\n")}
${ALLOW_LENGTHS6.map((n) => `  set peers6_${n} { type ipv6_addr . ipv6_addr; }`).join("\n")}

  # --- tunnels between the hosts of a cluster: their UDP ports, and those hosts
  set tunnels { type inet_service; }
  set hosts4 { type ipv4_addr; }
  set hosts6 { type ipv6_addr; }

  # --- published ports: on every address of the host, and on one
  map ports4 { type inet_proto . inet_service : ipv4_addr . inet_service; }
  map ports6 { type inet_proto . inet_service : ipv6_addr . inet_service; }
  map addresses4 { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }
  map addresses6 { type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }

  # --- ports with a list of allowed sources: source prefix, host address (0 for all), protocol, port
  set restricted4 { type ipv4_addr . inet_proto . inet_service; }
  set restricted6 { type ipv6_addr . inet_proto . inet_service; }
${ALLOW_LENGTHS4.map((n) => `  set allow4_${n} { type ipv4_addr . ipv4_addr . inet_proto . inet_service; }`).join("\n")}
${ALLOW_LENGTHS6.map((n) => `  set allow6_${n} { type ipv6_addr . ipv6_addr . inet_proto . inet_service; }`).join("\n")}

  # Our bridges route to 127.0.0.0/8 (route_localnet), so that replies to localhost find back; nobody but the host may use that.
  chain raw {
    type filter hook prerouting priority ${PRIORITIES.raw}; policy accept;
    ip daddr 127.0.0.0/8 iifname != "lo" counter drop
    ip saddr 127.0.0.0/8 iifname != "lo" counter drop
    iifname @veths jump veth_source
  }
  # What table bridge does for ports of a bridge; ARP is harmless where there are only two.
  chain veth_source {
    icmpv6 type { nd-router-advert, nd-redirect } counter drop
    iifname . ip saddr @sources4 return
    iifname . ip6 saddr @sources6 return
    # duplicate address detection
    ip6 saddr :: icmpv6 type { nd-neighbor-solicit, mld-listener-report, mld2-listener-report } return
    counter drop
  }

  chain prerouting {
    type nat hook prerouting priority ${PRIORITIES.publish}; policy accept;
    fib daddr type local jump arriving
  }
  chain output {
    type nat hook output priority ${PRIORITIES.publish}; policy accept;
    # The kernel takes ::1 from no interface but lo (rt6_need_strict), so an answer would not come back: the engine relays it.
    ip6 daddr ::1 return
    fib daddr type local jump publish
  }
  chain arriving {
    ip daddr . meta l4proto . th dport @restricted4 goto allow4_address
    ip daddr & 0.0.0.0 . meta l4proto . th dport @restricted4 goto allow4_any
    ip6 daddr . meta l4proto . th dport @restricted6 goto allow6_address
    ip6 daddr & :: . meta l4proto . th dport @restricted6 goto allow6_any
    goto publish
  }
  chain publish {
    dnat ip to ip daddr . meta l4proto . th dport map @addresses4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @addresses6
    meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ports4
    meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @ports6
  }
${allowChain("allow4_address", "ip", 4, "ip daddr")}
${allowChain("allow4_any", "ip", 4, "ip daddr & 0.0.0.0")}
${allowChain("allow6_address", "ip6", 6, "ip6 daddr")}
${allowChain("allow6_any", "ip6", 6, "ip6 daddr & ::")}

  # Tunnels between hosts, where there are any: nobody but the cluster's hosts may put frames into an overlay.
  chain input {
    type filter hook input priority ${PRIORITIES.forward}; policy accept;
    udp dport @tunnels jump tunnelled
  }
  chain tunnelled {
    ip saddr @hosts4 return
    ip6 saddr @hosts6 return
    counter drop
  }

  # Only what enters or leaves a bridge of ours is judged.
  chain forward {
    type filter hook forward priority ${PRIORITIES.forward}; policy accept;
    # The first packet of a flow has been through here; also where nothing ever comes back, which is not "established".
    ct status confirmed accept
    ct state related accept
    iifname vmap @from
    oifname vmap @to
    ${closeForeignForwarding ? "iifname @bridges accept\n    counter drop" : "accept"}
  }
  chain from_nat {
    iifname . oifname @same accept
    # a reply that conntrack does not know would leave with the container's own address
    ct state invalid counter drop
  }
  chain from_internal {
    iifname . oifname @same accept
    jump links
    counter drop
  }
  chain from_internal_subnet {
    jump same_subnet
    goto from_internal
  }
  # Both ends in the same routed network, here or on another host
  chain same_subnet {
${peerRules("ip", 4)}
${peerRules("ip6", 6)}
  }
  chain links {
    ip saddr . ip daddr . meta l4proto . th dport @links4 accept
    ip6 saddr . ip6 daddr . meta l4proto . th dport @links6 accept
  }
  chain to_nat {
    ct status dnat accept
    goto to_closed
  }
  chain to_subnet {
    ct status dnat accept
    jump same_subnet
    goto to_closed
  }
  chain to_internal_subnet {
    jump same_subnet
    goto to_closed
  }
  chain to_closed {
    iifname . oifname @same accept
    jump links
    counter drop
  }
  chain to_routed {
    ip daddr . meta l4proto . th dport @open4 accept
    ip6 daddr . meta l4proto . th dport @open6 accept
    icmp type echo-request accept
    icmpv6 type echo-request accept
    goto to_nat
  }
  chain to_unprotected {
    iifname @bridges goto to_nat
    accept
  }
${MODES.flatMap((v4) => MODES.map((v6) => `  chain to_${v4}_${v6} {\n    meta nfproto ipv4 goto to_${v4}\n    goto to_${v6}\n  }`)).join("\n")}

  chain postrouting {
    type nat hook postrouting priority ${PRIORITIES.source}; policy accept;
    oifname @bridges goto inward
    snat ip to ip saddr map @snat4
    snat ip6 to ip6 saddr map @snat6
    ip saddr @masquerade4 goto outward
    ip6 saddr @masquerade6 goto outward
  }
  chain outward {
    jump same_subnet
    masquerade
  }
  # The client's own address is kept, but for two that the container would not answer by way of the host.
  chain inward {
    ip saddr 127.0.0.0/8 masquerade
    ct status dnat oifname . ip saddr @endpoints4 masquerade
    ct status dnat oifname . ip6 saddr @endpoints6 masquerade
  }
`;
}

function allowChain(name: string, ip: "ip" | "ip6", family: 4 | 6, daddr: string): string {
  const all = family === 4 ? ALLOW_LENGTHS4 : ALLOW_LENGTHS6;
  const rules = all.map((n) => {
    const source = n === all[0] ? `${ip} saddr` : `${ip} saddr & ${family === 4 ? mask4(n) : mask6(n)}`;
    return `    ${source} . ${daddr} . meta l4proto . th dport @allow${family}_${n} goto publish`;
  });
  return `  chain ${name} {\n${rules.join("\n")}\n    counter drop\n  }`;
}

/** Bare `accept`s: a packet between two addresses of one network, by mask length. */
function peerRules(ip: "ip" | "ip6", family: 4 | 6): string {
  const all = family === 4 ? ALLOW_LENGTHS4 : ALLOW_LENGTHS6;
  const masked = (field: string, n: number) => (n === all[0] ? field : `${field} & ${family === 4 ? mask4(n) : mask6(n)}`);
  return all.map((n) => `    ${masked(`${ip} saddr`, n)} . ${masked(`${ip} daddr`, n)} @peers${family}_${n} accept`).join("\n");
}

/**
 * `source4`/`source6`: port, MAC and address that belong together. A well-behaved packet meets one lookup; the rest is for the others.
 * Ports that are not ours (of foreign bridges in the same namespace) are not judged.
 */
const BRIDGE_TEXT = `
  set ports { type ifname; }
  set macs { type ifname . ether_addr; }
  set source4 { type ifname . ether_addr . ipv4_addr; }
  set source6 { type ifname . ether_addr . ipv6_addr; }
  set target6 { typeof iifname . ether saddr . @th,64,128; }

  chain prerouting {
    type filter hook prerouting priority ${PRIORITIES.bridge}; policy accept;
    # "meta protocol", not "ether type": the kernel reads the former from the packet's own fields, without a look at the frame
    meta protocol ip iifname . ether saddr . ip saddr @source4 goto known4
    meta protocol ip6 iifname . ether saddr . ip6 saddr @source6 goto known6
    iifname @ports goto doubtful
  }
  chain known4 {
    # answers of a DHCP server
    udp sport 67 counter drop
    accept
  }
  chain known6 {
    meta l4proto ipv6-icmp goto known_icmp6
    udp sport 547 counter drop
    accept
  }
  chain known_icmp6 {
    icmpv6 type { nd-router-advert, nd-redirect } counter drop
    icmpv6 type nd-neighbor-advert iifname . ether saddr . @th,64,128 @target6 accept
    icmpv6 type nd-neighbor-advert counter drop
    accept
  }
  chain doubtful {
    ether type arp goto doubtful_arp
    iifname . ether saddr @macs goto doubtful_ip
    counter drop
  }
  chain doubtful_arp {
    iifname . ether saddr @macs iifname . arp saddr ether . arp saddr ip @source4 accept
    # RFC 5227 probe: nobody's address yet
    iifname . ether saddr @macs iifname . arp saddr ether @macs arp saddr ip 0.0.0.0 accept
    counter drop
  }
  chain doubtful_ip {
    # a DHCP client has no address yet
    ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
    # duplicate address detection and multicast reports come from ::
    ip6 saddr :: icmpv6 type { nd-neighbor-solicit, mld-listener-report, mld2-listener-report } accept
    counter drop
  }
`;
