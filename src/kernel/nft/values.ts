import { bytesToIp, bytesToMac, ipv4Number } from "../../base/ip.js";
import type { NftFamily, NftValue } from "../../plan/objects.js";
import { addressBytes, mac } from "../netlink/codec.js";
import type { Writer } from "../netlink/writer.js";

/**
 * The nftables data types that our sets use: libnftables' number (enum datatypes), size, and bytes. Values are written straight into
 * the message: this runs for each value of each of 10,000 elements.
 */
type ValueType = Exclude<NftValue["type"], "verdict">;
interface Codec {
  readonly id: number;
  readonly size: number;
  write(w: Writer, value: string | number): void;
  read(bytes: Buffer): string | number;
}

const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;
const NAMES = { 6: "tcp", 17: "udp", 132: "sctp" } as const;
const IFNAMSIZ = 16;

const TYPES: Readonly<Record<ValueType, Codec>> = {
  ipv4_addr: { id: 7, size: 4, write: (w, v) => w.be32(ipv4Number(String(v))), read: bytesToIp },
  ipv6_addr: { id: 8, size: 16, write: (w, v) => w.bytes(addressBytes(String(v))), read: bytesToIp },
  ether_addr: { id: 9, size: 6, write: (w, v) => mac.write(w, String(v)), read: bytesToMac },
  inet_proto: {
    id: 12,
    size: 1,
    write: (w, v) => w.u8(PROTOCOLS[v as keyof typeof PROTOCOLS]),
    read: (b) => NAMES[b[0] as keyof typeof NAMES] ?? String(b[0]),
  },
  inet_service: { id: 13, size: 2, write: (w, v) => w.be16(Number(v)), read: (b) => b.readUInt16BE(0) },
  // A mark is a number of the machine: little-endian here, whatever stands beside it.
  mark: { id: 19, size: 4, write: (w, v) => w.u32(Number(v)), read: (b) => b.readUInt32LE(0) },
  // TYPE_INTEGER has no size of its own; a field of 128 bits is the only one that our sets have.
  integer128: {
    id: 4,
    size: 16,
    write: (w, v) => w.bytes(Buffer.from(String(v).slice(2), "hex")),
    read: (b) => `0x${b.toString("hex")}`,
  },
  ifname: {
    id: 41,
    size: IFNAMSIZ,
    write: (w, v) => {
      w.text(String(v));
      w.zeros(IFNAMSIZ - 1 - String(v).length);
    },
    read: (b) => b.toString("latin1").replace(/\0.*$/s, ""),
  },
};

const BY_ID = new Map<number, ValueType>(Object.entries(TYPES).map(([name, codec]) => [codec.id, name as ValueType]));

/** Types in a concatenation are packed six bits each, first one highest (TYPE_BITS). */
export function typesOf(packed: number): ValueType[] | undefined {
  const out: ValueType[] = [];
  for (let rest = packed; rest > 0; rest >>>= 6) {
    const type = BY_ID.get(rest & 63);
    if (type === undefined) return undefined;
    out.unshift(type);
  }
  return out.length === 0 ? undefined : out;
}

const padded = (size: number): number => (size + 3) & ~3;

/** No prefix and no range: one value that has bytes. */
export const isSingle = (v: NftValue): boolean =>
  (v.type !== "ipv4_addr" && v.type !== "ipv6_addr") || !(v.value.includes("/") || v.value.includes("-"));

/**
 * The bytes of a key or of map data: one value as it is, several each padded to four bytes. They have been checked (text.ts). `by` goes onto
 * a port at the end.
 */
export function writeValues(w: Writer, values: readonly NftValue[], by: number): void {
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!;
    if (v.type === "verdict") continue;
    const codec = TYPES[v.type];
    if (v.type === "inet_service") w.be16(i === values.length - 1 ? v.value + by : v.value);
    else codec.write(w, v.value);
    if (values.length > 1 && codec.size & 3) w.zeros(4 - (codec.size & 3));
  }
}

export function decodeValues(types: readonly ValueType[], bytes: Buffer): NftValue[] {
  let at = 0;
  return types.map((type) => {
    const { size, read } = TYPES[type];
    const value = read(bytes.subarray(at, at + size));
    at += padded(size);
    return { type, value } as NftValue;
  });
}

/** NFPROTO_* (linux/netfilter.h) */
export const FAMILIES: Readonly<Record<NftFamily, number>> = { inet: 1, ip: 2, arp: 3, netdev: 5, bridge: 7, ip6: 10 };
export const familyName = (family: number): NftFamily | undefined =>
  (Object.keys(FAMILIES) as NftFamily[]).find((name) => FAMILIES[name] === family);

/** Verdict codes (linux/netfilter.h, enum nft_verdicts). */
const VERDICTS: Readonly<Record<string, number>> = { drop: 0, accept: 1, continue: -1, jump: -3, goto: -4, return: -5 };

/** "goto policy-a" → { code: -4, chain: "policy-a" } */
export function parseVerdict(text: string): { readonly code: number; readonly chain?: string } | undefined {
  const [word, chain, more] = text.split(" ");
  const code = VERDICTS[word!];
  if (code === undefined || more !== undefined || (chain !== undefined) !== (word === "jump" || word === "goto"))
    return undefined;
  return chain === undefined ? { code } : { code, chain };
}

export function verdictText(code: number, chain: string | undefined): string {
  const word = Object.keys(VERDICTS).find((name) => VERDICTS[name] === code) ?? String(code);
  return chain === undefined ? word : `${word} ${chain}`;
}
