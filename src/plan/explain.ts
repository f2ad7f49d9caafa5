import { unreachable } from "../base/result.js";
import { explainElement, explainTable } from "./explain-nft.js";
import type { Address, FdbEntry, KernelObject, Link, Neighbour, NsRef, PolicyRule, PortFlags, Route, Sysctl } from "./objects.js";
import type { Batch, Op } from "./port.js";

/**
 * The same as the batches in the words of iproute2, nft and sysctl: what a person would type into a shell as root, a line a command.
 * Namespaces are named as `ip netns` names them.
 */
export function explain(batches: readonly Batch[]): string {
  const lines = batches.flatMap((batch) => batch.flatMap(explainOp));
  return lines.length === 0 ? "" : `${lines.join("\n")}\n`;
}

/** The commands of one op, in order. */
export function explainOp(op: Op): string[] {
  return op.op === "delete" ? explainDelete(op.object) : explainPut(op.object, op.was);
}

function explainPut(object: KernelObject, was: KernelObject | undefined): string[] {
  switch (object.kind) {
    case "netns":
      return [`ip netns add ${quote(object.name)}`];
    case "link":
      return was?.kind === "link" ? changeLink(object, was) : addLink(object);
    case "addr":
      return [...(was === undefined ? [] : explainDelete(was)), address(object, "add")];
    case "route":
      return [route(object, was === undefined ? "add" : "replace")];
    case "neigh":
      return [neighbour(object, "replace")];
    case "fdb":
      return [...(was === undefined ? [] : explainDelete(was)), fdb(object, isZero(object.mac) ? "append" : "replace")];
    case "rule":
      return [rule(object, "add")];
    case "sysctl":
      return [sysctl(object)];
    case "nftTable":
      return inNs(object.ns, explainTable(object, was === undefined ? "add" : "replace"));
    case "nftElement":
      return [
        ...(was?.kind === "nftElement" ? inNs(object.ns, explainElement(was, "delete")) : []),
        ...inNs(object.ns, explainElement(object, "add")),
      ];
    default:
      return unreachable(object);
  }
}

function explainDelete(object: KernelObject): string[] {
  switch (object.kind) {
    case "netns":
      return [`ip netns delete ${quote(object.name)}`];
    case "link":
      return [`${ip(object.ns)} link delete ${quote(object.name)}`];
    case "addr":
      return [`${ip(object.ns)} addr delete ${object.address} dev ${quote(object.dev)}`];
    case "route":
      return [route(object, "delete")];
    case "neigh":
      return [neighbour(object, "delete")];
    case "fdb":
      return [fdb(object, "delete")];
    case "rule":
      return [rule(object, "delete")];
    case "sysctl":
      return [];
    case "nftTable":
      return inNs(object.ns, [`nft delete table ${object.family} ${object.table}`]);
    case "nftElement":
      return inNs(object.ns, explainElement(object, "delete"));
    default:
      return unreachable(object);
  }
}

function addLink(link: Link): string[] {
  const head = (ns: NsRef) => `${ip(ns)} link add ${quote(link.name)}`;
  const common = `${link.mtu === undefined ? "" : ` mtu ${link.mtu}`}${link.mac === undefined ? "" : ` address ${link.mac}`}`;
  const rest = setLink(link);
  switch (link.type) {
    case "loopback":
      return rest;
    case "bridge": {
      const options = [
        ...(link.mcastSnooping === undefined ? [] : [`mcast_snooping ${Number(link.mcastSnooping)}`]),
        ...(link.nfCallIptables === undefined ? [] : [`nf_call_iptables ${Number(link.nfCallIptables)}`]),
        ...(link.ageingTimeSeconds === undefined ? [] : [`ageing_time ${link.ageingTimeSeconds * 100}`]),
      ];
      return [[`${head(link.ns)}${common} type bridge`, ...options].join(" "), ...rest];
    }
    case "veth": {
      const { peer } = link;
      const peerWords = [
        `peer name ${quote(peer.name)}`,
        ...(peer.mtu === undefined ? [] : [`mtu ${peer.mtu}`]),
        ...(peer.mac === undefined ? [] : [`address ${peer.mac}`]),
        ...(peer.ns === link.ns ? [] : [`netns ${nsWord(peer.ns)}`]),
      ];
      return [`${head(link.ns)}${common} type veth ${peerWords.join(" ")}`, ...rest, ...setPeer(link)];
    }
    case "vxlan": {
      const words = [
        `id ${link.vni} dstport ${link.dstPort}`,
        ...(link.local === undefined ? [] : [`local ${link.local}`]),
        link.learning ? "learning" : "nolearning",
        ...(link.proxy ? ["proxy"] : []),
      ];
      return [
        `${head(link.underlayNs)}${common} type vxlan ${words.join(" ")}`,
        ...(link.underlayNs === link.ns ? [] : [`${ip(link.underlayNs)} link set ${quote(link.name)} netns ${nsWord(link.ns)}`]),
        ...rest,
      ];
    }
    case "macvlan": {
      const netns = link.parentNs === link.ns ? "" : ` netns ${nsWord(link.ns)}`;
      return [`${head(link.parentNs)} link ${quote(link.parent)}${common}${netns} type macvlan mode ${link.mode}`, ...rest];
    }
    case "wireguard":
      return [`${head(link.ns)}${common} type wireguard`, ...rest];
    default:
      return unreachable(link);
  }
}

/** What is set after the link exists: its bridge, its state, its flags as a port. */
function setLink(link: Link): string[] {
  const words = [...(link.master === undefined ? [] : [`master ${quote(link.master)}`]), link.up ? "up" : "down"];
  return [`${ip(link.ns)} link set ${quote(link.name)} ${words.join(" ")}`, ...portFlags(link.ns, link.name, link.port)];
}

function setPeer(link: Link & { readonly type: "veth" }): string[] {
  const { peer } = link;
  const words = [...(peer.master === undefined ? [] : [`master ${quote(peer.master)}`]), ...(peer.up ? ["up"] : [])];
  return words.length === 0 ? [] : [`${ip(peer.ns)} link set ${quote(peer.name)} ${words.join(" ")}`];
}

function changeLink(link: Link, was: Link): string[] {
  const set = (ns: NsRef, name: string, words: readonly string[]) =>
    words.length === 0 ? [] : [`${ip(ns)} link set ${quote(name)} ${words.join(" ")}`];
  const words = [
    ...(link.mtu === undefined || link.mtu === was.mtu ? [] : [`mtu ${link.mtu}`]),
    ...(link.mac === undefined || link.mac === was.mac ? [] : [`address ${link.mac}`]),
    ...(link.master === was.master ? [] : [link.master === undefined ? "nomaster" : `master ${quote(link.master)}`]),
    ...(link.up === was.up ? [] : [link.up ? "up" : "down"]),
  ];
  const out = set(link.ns, link.name, words);
  // A link that changes its bridge gets a new port, with the default flags.
  if (link.port !== undefined && (JSON.stringify(link.port) !== JSON.stringify(was.port) || link.master !== was.master))
    out.push(...portFlags(link.ns, link.name, link.port));
  if (link.type === "bridge" && was.type === "bridge") {
    const options = [
      ...(link.mcastSnooping === undefined || link.mcastSnooping === was.mcastSnooping
        ? []
        : [`mcast_snooping ${Number(link.mcastSnooping)}`]),
      ...(link.nfCallIptables === undefined || link.nfCallIptables === was.nfCallIptables
        ? []
        : [`nf_call_iptables ${Number(link.nfCallIptables)}`]),
      ...(link.ageingTimeSeconds === undefined || link.ageingTimeSeconds === was.ageingTimeSeconds
        ? []
        : [`ageing_time ${link.ageingTimeSeconds * 100}`]),
    ];
    if (options.length > 0) out.push(`${ip(link.ns)} link set ${quote(link.name)} type bridge ${options.join(" ")}`);
  }
  if (link.type === "veth" && was.type === "veth") {
    const { peer } = link;
    out.push(
      ...set(peer.ns, peer.name, [
        ...(peer.mtu === undefined || peer.mtu === was.peer.mtu ? [] : [`mtu ${peer.mtu}`]),
        ...(peer.mac === undefined || peer.mac === was.peer.mac ? [] : [`address ${peer.mac}`]),
        ...(peer.master === undefined || peer.master === was.peer.master ? [] : [`master ${quote(peer.master)}`]),
        ...(peer.up === was.peer.up ? [] : [peer.up ? "up" : "down"]),
      ]),
    );
  }
  return out;
}

const PORT_FLAGS: readonly (readonly [keyof PortFlags, string])[] = [
  ["isolated", "isolated"],
  ["hairpin", "hairpin"],
  ["learning", "learning"],
  ["flood", "flood"],
  ["neighSuppress", "neigh_suppress"],
  ["locked", "locked"],
];

function portFlags(ns: NsRef, name: string, port: PortFlags | undefined): string[] {
  const words = PORT_FLAGS.flatMap(([field, word]) =>
    port?.[field] === undefined ? [] : [`${word} ${port[field] ? "on" : "off"}`],
  );
  return words.length === 0 ? [] : [`${bridge(ns)} link set dev ${quote(name)} ${words.join(" ")}`];
}

function address(a: Address, verb: "add"): string {
  const words = [
    ...(a.broadcast === undefined ? [] : [`brd ${a.broadcast}`]),
    `dev ${quote(a.dev)}`,
    ...(a.scope === undefined ? [] : [`scope ${a.scope}`]),
    ...(a.nodad ? ["nodad"] : []),
  ];
  return `${ip(a.ns)} addr ${verb} ${a.address} ${words.join(" ")}`;
}

function route(r: Route, verb: "add" | "replace" | "delete"): string {
  const words = [
    ...(r.type === undefined || r.type === "unicast" ? [] : [r.type]),
    r.dst.endsWith("/0") ? "default" : r.dst,
    ...(r.via === undefined ? [] : [`via ${r.via}`]),
    ...(r.dev === undefined ? [] : [`dev ${quote(r.dev)}`]),
    ...(r.src === undefined ? [] : [`src ${r.src}`]),
    ...(r.metric === undefined ? [] : [`metric ${r.metric}`]),
    ...(r.scope === undefined ? [] : [`scope ${r.scope}`]),
    ...(r.table === undefined ? [] : [`table ${r.table}`]),
    ...(r.onlink ? ["onlink"] : []),
  ];
  return `${ip(r.ns, r.dst.includes(":"))} route ${verb} ${words.join(" ")}`;
}

function rule(r: PolicyRule, verb: "add" | "delete"): string {
  const words = [
    `priority ${r.priority}`,
    ...(r.from === undefined ? [] : [`from ${r.from}`]),
    ...(r.to === undefined ? [] : [`to ${r.to}`]),
    ...(r.fwmark === undefined ? [] : [`fwmark ${r.fwmark}`]),
    ...(r.iif === undefined ? [] : [`iif ${quote(r.iif)}`]),
    `lookup ${r.table}`,
  ];
  return `${ip(r.ns, r.family === 6)} rule ${verb} ${words.join(" ")}`;
}

function neighbour(n: Neighbour, verb: "replace" | "delete"): string {
  if (n.proxy) return `${ip(n.ns)} neigh ${verb} proxy ${n.ip} dev ${quote(n.dev)}`;
  const lladdr = n.mac === undefined || verb === "delete" ? "" : ` lladdr ${n.mac} nud permanent`;
  return `${ip(n.ns)} neigh ${verb} ${n.ip}${lladdr} dev ${quote(n.dev)}`;
}

function fdb(f: FdbEntry, verb: "replace" | "append" | "delete"): string {
  const where = f.dst === undefined ? (f.master ? "master" : "self") : `dst ${f.dst} self`;
  const state = verb === "delete" ? "" : f.master ? " static" : " permanent";
  return `${bridge(f.ns)} fdb ${verb} ${f.mac} dev ${quote(f.dev)} ${where}${state}`;
}

function sysctl(s: Sysctl): string {
  return inNs(s.ns, [`sysctl -w ${quote(`${s.key}=${s.value}`)}`])[0]!;
}

const isZero = (mac: string): boolean => mac === "00:00:00:00:00:00";
const ip = (ns: NsRef, v6 = false): string => `ip${v6 ? " -6" : ""}${ns === "" ? "" : ` -n ${quote(ns)}`}`;
const bridge = (ns: NsRef): string => `bridge${ns === "" ? "" : ` -n ${quote(ns)}`}`;
/** `ip link … netns` takes a name or a process: the host's namespace is that of process 1. */
const nsWord = (ns: NsRef): string => (ns === "" ? "1" : quote(ns));

function inNs(ns: NsRef, lines: readonly string[]): string[] {
  return ns === "" ? [...lines] : lines.map((line) => `ip netns exec ${quote(ns)} ${line}`);
}

function quote(text: string): string {
  return /^[A-Za-z0-9_.:/@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
