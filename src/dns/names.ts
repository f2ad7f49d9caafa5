import { ipToBytes, type Prefix, parsePrefix } from "../base/ip.js";
import type { DnsEndpoint, DnsLink, DnsNetwork } from "./contract.js";
import { limits } from "./limits.js";
import { type AnswerParts, nameBytes, nameKey, rcode, record, rrType } from "./message.js";

/** What a sandbox sees: its networks in order, and its private links. */
export interface View {
  readonly networks: readonly NetworkNames[];
  /** key of the alias → where to look, and for what */
  readonly links: ReadonlyMap<string, readonly { readonly network: NetworkNames; readonly key: string }[]>;
}

interface Member {
  readonly id: string;
  readonly network: NetworkNames;
  readonly keys: readonly string[];
  readonly reverseKeys: readonly string[];
  readonly a: Uint8Array | undefined;
  readonly aaaa: Uint8Array | undefined;
  readonly ptr: Uint8Array | undefined;
  readonly away: boolean;
}

/** All endpoints that have one name on one network. The record lists are made when the members change, not when they are asked for. */
interface NameEntry {
  readonly members: Member[];
  a: readonly Uint8Array[];
  aaaa: readonly Uint8Array[];
  turn: number;
}

export interface NetworkNames {
  readonly id: string;
  name: string;
  /** key of the network's name: what ends in it is in this network's scope */
  suffix: string | undefined;
  subnets: readonly Prefix[];
  readonly names: Map<string, NameEntry>;
  readonly reverse: Map<string, Member[]>;
  readonly members: Map<string, Member>;
}

const nxDomain: AnswerParts = { rcode: rcode.nxDomain, records: [], first: 0 };
const noData: AnswerParts = { rcode: rcode.noError, records: [], first: 0 };
const localhostKey = nameKey("localhost")!;
const localhostA = [record(rrType.a, ipToBytes("127.0.0.1")!)];
const localhostAaaa = [record(rrType.aaaa, ipToBytes("::1")!)];

/** The names of all networks of this engine, and what each sandbox may see of them. */
export class NameTables {
  readonly #networks = new Map<string, NetworkNames>();
  readonly #members = new Map<string, Member>();
  /** Names of this engine, whoever may see them, and how many have each: never asked upstream. */
  readonly #known = new Map<string, number>();
  readonly #former = new Map<string, number>();
  readonly #reserved = new Map<string, readonly string[]>();
  readonly #now: () => number;

  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  get endpointCount(): number {
    return this.#members.size;
  }

  putNetwork(network: DnsNetwork): void {
    const entry = this.network(network.networkId);
    entry.subnets = (network.subnets ?? []).map(parsePrefix).filter((prefix) => prefix !== undefined);
    this.#nameNetwork(entry, network.name);
  }

  removeNetwork(networkId: string): void {
    const network = this.#networks.get(networkId);
    if (network === undefined) return;
    for (const id of [...network.members.keys()]) this.removeEndpoint(id);
    network.subnets = [];
    network.suffix = undefined;
    this.#networks.delete(networkId);
  }

  /** The network of that id, made empty if it is not known yet: a sandbox may come before its network's first endpoint. */
  network(networkId: string): NetworkNames {
    let network = this.#networks.get(networkId);
    if (network === undefined) {
      network = {
        id: networkId,
        name: "",
        suffix: undefined,
        subnets: [],
        names: new Map(),
        reverse: new Map(),
        members: new Map(),
      };
      this.#networks.set(networkId, network);
    }
    return network;
  }

  #nameNetwork(network: NetworkNames, name: string): void {
    network.name = name;
    network.suffix = nameKey(name);
  }

  putEndpoint(networkId: string, networkName: string, endpoint: DnsEndpoint): void {
    this.removeEndpoint(endpoint.endpointId);
    const network = this.network(networkId);
    if (network.name !== networkName) this.#nameNetwork(network, networkName);
    const names = [...new Set([endpoint.name, ...endpoint.aliases])];
    const keys = new Set<string>();
    for (const name of names)
      for (const key of [nameKey(name), nameKey(`${name}.${networkName}`)]) if (key !== undefined) keys.add(key);
    const v4 = endpoint.ipv4 ? ipToBytes(endpoint.ipv4) : undefined;
    const v6 = endpoint.ipv6 ? ipToBytes(endpoint.ipv6) : undefined;
    const target = nameBytes(`${endpoint.name}.${networkName}`);
    const member: Member = {
      id: endpoint.endpointId,
      network,
      keys: [...keys],
      reverseKeys: [v4, v6].filter((ip) => ip !== undefined).map(reverseKey),
      a: v4 && record(rrType.a, v4),
      aaaa: v6 && record(rrType.aaaa, v6),
      ptr: target && record(rrType.ptr, target),
      away: endpoint.away ?? false,
    };
    this.#members.set(member.id, member);
    network.members.set(member.id, member);
    for (const key of member.keys) {
      let entry = network.names.get(key);
      if (entry === undefined) {
        entry = { members: [], a: [], aaaa: [], turn: 0 };
        network.names.set(key, entry);
      }
      entry.members.push(member);
      refresh(entry);
      this.#know(key);
    }
    for (const key of member.reverseKeys) network.reverse.set(key, [...(network.reverse.get(key) ?? []), member]);
  }

  removeEndpoint(endpointId: string): void {
    const member = this.#members.get(endpointId);
    if (member === undefined) return;
    this.#members.delete(endpointId);
    const { network } = member;
    network.members.delete(endpointId);
    for (const key of member.keys) {
      const entry = network.names.get(key)!;
      entry.members.splice(entry.members.indexOf(member), 1);
      if (entry.members.length === 0) network.names.delete(key);
      else refresh(entry);
      this.#forget(key);
    }
    for (const key of member.reverseKeys) {
      const rest = network.reverse.get(key)!.filter((m) => m !== member);
      if (rest.length === 0) network.reverse.delete(key);
      else network.reverse.set(key, rest);
    }
  }

  reserve(ownerId: string, names: readonly string[]): void {
    const before = this.#reserved.get(ownerId) ?? [];
    const keys = names.map(nameKey).filter((key) => key !== undefined);
    for (const key of keys) this.#know(key);
    for (const key of before) this.#forget(key);
    if (keys.length === 0) this.#reserved.delete(ownerId);
    else this.#reserved.set(ownerId, keys);
  }

  view(sandboxId: string, networkIds: readonly string[], links: readonly DnsLink[]): View {
    const map = new Map<string, { network: NetworkNames; key: string }[]>();
    for (const link of links) {
      const target = nameKey(link.name);
      const network = this.network(link.networkId);
      const aliases = [nameKey(link.alias), network.name === "" ? undefined : nameKey(`${link.alias}.${network.name}`)];
      for (const alias of aliases)
        if (alias !== undefined && target !== undefined) map.set(alias, [...(map.get(alias) ?? []), { network, key: target }]);
    }
    this.reserve(
      `links of ${sandboxId}`,
      links.map((link) => link.alias),
    );
    return { networks: networkIds.map((id) => this.network(id)), links: map };
  }

  /** The sandbox is gone: its links' names are no longer reserved. */
  releaseView(sandboxId: string): void {
    this.reserve(`links of ${sandboxId}`, []);
  }

  /** The answer from our own tables, or undefined: ask upstream. */
  resolve(view: View, key: string, type: number): AnswerParts | undefined {
    const link = view.links.size === 0 ? undefined : view.links.get(key);
    if (link !== undefined) {
      const entries = link.map(({ network, key: target }) => network.names.get(target)).filter((entry) => entry !== undefined);
      return entries.length === 0 ? nxDomain : choose(entries, type);
    }
    let found: NameEntry[] | undefined;
    for (const network of view.networks) {
      const entry = network.names.get(key);
      if (entry === undefined) continue;
      const answer = answerOf(entry, type);
      if (answer.records.length > 0) return answer;
      found ??= [];
      found.push(entry);
    }
    if (found !== undefined) return noData;
    return isReverse(key) ? this.#resolveReverse(view, key, type) : this.#resolveUnknown(view, key, type);
  }

  #resolveReverse(view: View, key: string, type: number): AnswerParts | undefined {
    for (const network of view.networks) {
      const ptr = network.reverse.get(key)?.at(-1)?.ptr;
      if (ptr !== undefined) return type === rrType.ptr || type === rrType.any ? { ...noData, records: [ptr] } : noData;
    }
    const ip = reversedAddress(key);
    if (ip === undefined) return undefined;
    for (const network of view.networks) for (const subnet of network.subnets) if (contains(subnet, ip)) return nxDomain;
    return undefined;
  }

  #resolveUnknown(view: View, key: string, type: number): AnswerParts | undefined {
    let labels = 0;
    for (let at = 0; at < key.length; at += key.charCodeAt(at) + 1) {
      labels++;
      const suffix = at === 0 ? key : key.slice(at);
      for (const network of view.networks) if (network.suffix === suffix) return at === 0 ? noData : nxDomain;
      if (suffix === localhostKey) return localhost(type);
    }
    if (labels === 0) return undefined;
    // A name with more labels may well be another network's alias and a public name at once: that one is asked upstream,
    // unless it is the full "name.network" of ours, which is in the table as a whole.
    if (!this.#known.has(key) && !this.#isFormer(key)) return undefined;
    return labels === 1 || this.#isQualified(key) ? nxDomain : undefined;
  }

  #isQualified(key: string): boolean {
    const suffix = key.slice(key.charCodeAt(0) + 1);
    for (const network of this.#networks.values()) if (network.suffix === suffix) return true;
    return false;
  }

  #know(key: string): void {
    this.#former.delete(key);
    this.#known.set(key, (this.#known.get(key) ?? 0) + 1);
  }

  #forget(key: string): void {
    const count = this.#known.get(key) ?? 0;
    if (count > 1) {
      this.#known.set(key, count - 1);
      return;
    }
    this.#known.delete(key);
    this.#former.delete(key);
    this.#former.set(key, this.#now() + limits.formerNameMs);
    // a Map keeps the order of insertion: the first one is the oldest
    if (this.#former.size > limits.formerNames) this.#former.delete(this.#former.keys().next().value!);
  }

  #isFormer(key: string): boolean {
    const until = this.#former.get(key);
    if (until === undefined) return false;
    if (until > this.#now()) return true;
    this.#former.delete(key);
    return false;
  }
}

/** Live members first, then those away. */
function refresh(entry: NameEntry): void {
  const ordered = [...entry.members.filter((m) => !m.away), ...entry.members.filter((m) => m.away)];
  const live = (records: (Uint8Array | undefined)[]) => records.filter((r) => r !== undefined);
  entry.a = live(ordered.map((m) => m.a));
  entry.aaaa = live(ordered.map((m) => m.aaaa));
}

function choose(entries: readonly NameEntry[], type: number): AnswerParts {
  for (const entry of entries) {
    const answer = answerOf(entry, type);
    if (answer.records.length > 0) return answer;
  }
  return noData;
}

function answerOf(entry: NameEntry, type: number): AnswerParts {
  let records: readonly Uint8Array[];
  if (type === rrType.a) records = entry.a;
  else if (type === rrType.aaaa) records = entry.aaaa;
  else if (type === rrType.any) records = [...entry.a, ...entry.aaaa];
  else return noData;
  if (records.length === 0) return noData;
  const first = entry.turn % records.length;
  entry.turn = (entry.turn + 1) & 0xffff;
  return { rcode: rcode.noError, records, first };
}

function localhost(type: number): AnswerParts {
  if (type === rrType.a) return { ...noData, records: localhostA };
  if (type === rrType.aaaa) return { ...noData, records: localhostAaaa };
  return noData;
}

const reverseSuffixes = [nameKey("in-addr.arpa")!, nameKey("ip6.arpa")!];
const isReverse = (key: string): boolean => reverseSuffixes.some((suffix) => key.endsWith(suffix));

function reverseKey(ip: Uint8Array): string {
  const bytes = [...ip].reverse();
  if (ip.length === 4) return nameKey(`${bytes.join(".")}.in-addr.arpa`)!;
  const nibbles = bytes.flatMap((b) => [(b & 15).toString(16), (b >> 4).toString(16)]);
  return nameKey(`${nibbles.join(".")}.ip6.arpa`)!;
}

/** The address that a complete reverse name is about. */
function reversedAddress(key: string): Uint8Array | undefined {
  const labels: string[] = [];
  for (let at = 0; at < key.length; at += key.charCodeAt(at) + 1) labels.push(key.slice(at + 1, at + 1 + key.charCodeAt(at)));
  const values = labels.slice(0, -2).reverse();
  if (labels.at(-2) === "in-addr") return ipToBytes(values.join("."));
  if (values.length !== 32) return undefined;
  return ipToBytes((values.join("").match(/..../g) ?? []).join(":"));
}

function contains(prefix: Prefix, ip: Uint8Array): boolean {
  const base = ipToBytes(prefix.address)!;
  if (base.length !== ip.length) return false;
  for (let i = 0, bits = prefix.length; bits > 0; i++, bits -= 8) {
    const mask = bits >= 8 ? 255 : (0xff00 >> bits) & 255;
    if ((base[i]! & mask) !== (ip[i]! & mask)) return false;
  }
  return true;
}
