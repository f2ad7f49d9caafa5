/**
 * Kernel objects as plain data: what should exist, and what was observed. Serialisable (they cross a thread boundary) and
 * comparable field by field. Addresses, prefixes and MACs are canonical text (base/ip.ts). Units last: `metric`, `mtu` in bytes.
 */

/** A network namespace: "" is the engine's own (the host's); any other name is pinned at <exec-root>/netns/<name>. */
export type NsRef = string;
export const HOST_NS: NsRef = "";

export interface Netns {
  readonly kind: "netns";
  readonly name: NsRef;
}

/** Flags of a bridge port (IFLA_BRPORT_*); absent means the kernel's default. */
export interface PortFlags {
  readonly isolated?: boolean;
  readonly hairpin?: boolean;
  readonly learning?: boolean;
  /** unknown-unicast flooding to this port */
  readonly flood?: boolean;
  readonly neighSuppress?: boolean;
  readonly locked?: boolean;
}

interface LinkBase {
  readonly kind: "link";
  readonly ns: NsRef;
  readonly name: string;
  readonly mtu?: number;
  readonly mac?: string;
  readonly up: boolean;
  /** Name of the bridge that this link is a port of, in the same namespace. */
  readonly master?: string;
  readonly port?: PortFlags;
}

export type Link =
  | (LinkBase & { readonly type: "loopback" })
  | (LinkBase & {
      readonly type: "bridge";
      readonly nfCallIptables?: boolean;
      readonly mcastSnooping?: boolean;
      readonly ageingTimeSeconds?: number;
    })
  /** One object is the whole pair: this end in `ns`, the other in `peer.ns`. */
  | (LinkBase & {
      readonly type: "veth";
      readonly peer: {
        readonly ns: NsRef;
        readonly name: string;
        readonly mac?: string;
        readonly up: boolean;
        readonly mtu?: number;
        /** Name of the bridge that the other end is a port of, in its namespace. */
        readonly master?: string;
      };
    })
  /** Created in `underlayNs` (where its UDP socket stays) and moved to `ns`. `learning` is off unless set. */
  | (LinkBase & {
      readonly type: "vxlan";
      readonly underlayNs: NsRef;
      readonly vni: number;
      readonly dstPort: number;
      readonly local?: string;
      readonly learning?: boolean;
      readonly proxy?: boolean;
    })
  | (LinkBase & {
      readonly type: "macvlan";
      readonly parent: string;
      readonly parentNs: NsRef;
      readonly mode: "bridge" | "private" | "vepa" | "passthru";
    })
  | (LinkBase & { readonly type: "wireguard"; readonly listenPort: number });

export interface Address {
  readonly kind: "addr";
  readonly ns: NsRef;
  readonly dev: string;
  /** "172.17.0.2/16" (host bits kept) */
  readonly address: string;
  /** IPv4 only */
  readonly broadcast?: string;
  readonly scope?: "global" | "link" | "host";
  /** IFA_F_NODAD: usable at once, no duplicate address detection */
  readonly nodad?: boolean;
}

export interface Route {
  readonly kind: "route";
  readonly ns: NsRef;
  /** "0.0.0.0/0", "::/0", "10.0.0.0/24" */
  readonly dst: string;
  readonly dev?: string;
  readonly via?: string;
  readonly src?: string;
  readonly metric?: number;
  readonly scope?: "global" | "link" | "host";
  readonly onlink?: boolean;
  readonly type?: "unicast" | "blackhole" | "unreachable";
  /** default: main (254) */
  readonly table?: number;
}

export interface Neighbour {
  readonly kind: "neigh";
  readonly ns: NsRef;
  readonly dev: string;
  readonly ip: string;
  /** NUD_PERMANENT entry; absent for a proxy entry */
  readonly mac?: string;
  readonly proxy?: boolean;
}

/** A forwarding database entry: `dst` for a VXLAN device (self), none for a bridge port (master). */
export interface FdbEntry {
  readonly kind: "fdb";
  readonly ns: NsRef;
  readonly dev: string;
  readonly mac: string;
  readonly dst?: string;
  readonly master?: boolean;
}

export interface PolicyRule {
  readonly kind: "rule";
  readonly ns: NsRef;
  readonly family: 4 | 6;
  readonly priority: number;
  readonly from?: string;
  readonly to?: string;
  readonly fwmark?: number;
  readonly iif?: string;
  readonly table: number;
}

export interface Sysctl {
  readonly kind: "sysctl";
  readonly ns: NsRef;
  /** As sysctl(8) writes it, an interface name with a dot in it written with "/": "net.ipv4.conf.docker0.route_localnet" */
  readonly key: string;
  readonly value: string;
}

export type NftFamily = "inet" | "bridge" | "netdev" | "ip" | "ip6" | "arp";

/** One table of ours, whole: loaded as text in one transaction when `hash` differs from the one in the table's comment. */
export interface NftTable {
  readonly kind: "nftTable";
  readonly ns: NsRef;
  readonly family: NftFamily;
  readonly table: string;
  /** The body between the braces: sets and maps (without elements), chains with static rules. */
  readonly text: string;
  /** Hash of the text; kept in the table's comment. */
  readonly hash: string;
}

export type NftValue =
  | { readonly type: "ipv4_addr" | "ipv6_addr" | "ether_addr" | "ifname"; readonly value: string }
  | { readonly type: "inet_service" | "mark"; readonly value: number }
  | { readonly type: "inet_proto"; readonly value: "tcp" | "udp" | "sctp" }
  /** 16 bytes, big endian, as nft writes them: "0x" and 32 hex digits. For fields that nft has no name for ("@th,64,128"). */
  | { readonly type: "integer128"; readonly value: string }
  | { readonly type: "verdict"; readonly value: string };

/** An element of a set or map, or a run of them. Its identity is (ns, family, table, set, key, count). */
export interface NftElement {
  readonly kind: "nftElement";
  readonly ns: NsRef;
  readonly family: NftFamily;
  readonly table: string;
  readonly set: string;
  readonly key: readonly NftValue[];
  /** Maps only. */
  readonly data?: readonly NftValue[];
  /** Names the endpoint, for people: [A-Za-z0-9_.:/ -] only. */
  readonly comment?: string;
  /**
   * A run of so many elements (absent: 1): from one to the next, the port at the end of the key goes up by one, and the one at the end of the
   * data, if one is there. As long as can be (`mergeRuns`), so that what is wanted and what is observed are the same objects.
   */
  readonly count?: number;
  /**
   * Without this element more would be allowed: it is put before links and taken away after them (fail closed). For planning only:
   * no part of the comparison, never observed.
   */
  readonly restricts?: boolean;
}

export type KernelObject = Netns | Link | Address | Route | Neighbour | FdbEntry | PolicyRule | Sysctl | NftTable | NftElement;

/** Identity of an object: two objects with one key are the same thing in two states. */
export function objectKey(o: KernelObject): string {
  switch (o.kind) {
    case "netns":
      return `netns|${o.name}`;
    case "link":
      return `link|${o.ns}|${o.name}`;
    case "addr":
      return `addr|${o.ns}|${o.dev}|${o.address}`;
    case "route":
      return `route|${o.ns}|${o.table ?? 254}|${o.dst}|${o.metric ?? 0}|${o.dst.endsWith("/0") ? "" : (o.dev ?? "")}`;
    case "neigh":
      return `neigh|${o.ns}|${o.dev}|${o.proxy ? "proxy|" : ""}${o.ip}`;
    case "fdb":
      return `fdb|${o.ns}|${o.dev}|${o.mac}|${o.mac === "00:00:00:00:00:00" ? (o.dst ?? "") : ""}`;
    case "rule":
      return `rule|${o.ns}|${o.family}|${o.priority}|${o.from ?? ""}|${o.to ?? ""}|${o.fwmark ?? ""}|${o.iif ?? ""}|${o.table}`;
    case "sysctl":
      return `sysctl|${o.ns}|${o.key}`;
    case "nftTable":
      return `nftTable|${o.ns}|${o.family}|${o.table}`;
    case "nftElement":
      return `nftElement|${o.ns}|${o.family}|${o.table}|${o.set}|${o.key.map((v) => v.value).join(" . ")}${o.count === undefined ? "" : ` +${o.count}`}`;
  }
}

/** The single elements of a run. */
export function elementsOf(e: NftElement): readonly NftElement[] {
  const { count = 1, ...first } = e;
  if (count === 1) return [e];
  return Array.from({ length: count }, (_, i) => ({
    ...first,
    key: shifted(e.key, i),
    ...(e.data === undefined ? {} : { data: shifted(e.data, i) }),
  }));
}

function shifted(values: readonly NftValue[], by: number): readonly NftValue[] {
  const last = values.at(-1);
  return last?.type === "inet_service" ? [...values.slice(0, -1), { type: "inet_service", value: last.value + by }] : values;
}

/** Joins the elements of one table to runs, each as long as can be; the rest stays as it is. The order of the result is that of the first of each run. */
export function mergeRuns(elements: readonly NftElement[]): NftElement[] {
  const groups = new Map<string, NftElement[]>();
  const out: NftElement[] = [];
  for (const e of elements) {
    if (e.key.at(-1)?.type !== "inet_service") {
      out.push(e);
      continue;
    }
    const rest = (values: readonly NftValue[] | undefined): string =>
      values?.map((v, i) => (i === values.length - 1 && v.type === "inet_service" ? "" : v.value)).join(" ") ?? "";
    const group = `${e.set}|${rest(e.key)}|${rest(e.data)}|${e.comment ?? ""}|${e.restricts ?? ""}`;
    const list = groups.get(group);
    if (list === undefined) groups.set(group, [e]);
    else list.push(e);
  }
  for (const list of groups.values()) {
    list.sort((a, b) => portOf(a.key) - portOf(b.key));
    let run: NftElement | undefined;
    let count = 0;
    const end = () => {
      if (run !== undefined) out.push(count === 1 ? run : { ...run, count });
    };
    for (const e of list) {
      const follows =
        run !== undefined &&
        portOf(e.key) === portOf(run.key) + count &&
        (e.data?.at(-1)?.type !== "inet_service" || portOf(e.data) === portOf(run.data!) + count);
      if (follows) count += e.count ?? 1;
      else {
        end();
        run = e;
        count = e.count ?? 1;
      }
    }
    end();
  }
  return out;
}

function portOf(values: readonly NftValue[]): number {
  const last = values.at(-1);
  return last?.type === "inet_service" ? last.value : -1;
}
