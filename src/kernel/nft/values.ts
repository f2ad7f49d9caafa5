import { bytesToIp, bytesToMac, ipToBytes, macToBytes } from "../../base/ip.js";
import type { NftFamily, NftValue } from "../../plan/objects.js";

/** The nftables data types that our sets use: libnftables' number (enum datatypes), size, and bytes. Values that are no single value (a prefix, a range) have no bytes. */
type ValueType = Exclude<NftValue["type"], "verdict">;
interface Codec {
  readonly id: number;
  readonly size: number;
  encode(value: string | number): Uint8Array | undefined;
  decode(bytes: Buffer): string | number;
}

const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;
const NAMES = { 6: "tcp", 17: "udp", 132: "sctp" } as const;
const IFNAMSIZ = 16;

const sized = (bytes: Uint8Array | undefined, size: number) => (bytes?.length === size ? bytes : undefined);

const TYPES: Readonly<Record<ValueType, Codec>> = {
  ipv4_addr: { id: 7, size: 4, encode: (v) => sized(ipToBytes(String(v)), 4), decode: bytesToIp },
  ipv6_addr: { id: 8, size: 16, encode: (v) => sized(ipToBytes(String(v)), 16), decode: bytesToIp },
  ether_addr: { id: 9, size: 6, encode: (v) => macToBytes(String(v)), decode: bytesToMac },
  inet_proto: {
    id: 12,
    size: 1,
    encode: (v) => Uint8Array.of(PROTOCOLS[v as keyof typeof PROTOCOLS]),
    decode: (b) => NAMES[b[0] as keyof typeof NAMES] ?? String(b[0]),
  },
  inet_service: {
    id: 13,
    size: 2,
    encode: (v) => Uint8Array.of(Number(v) >> 8, Number(v) & 255),
    decode: (b) => b.readUInt16BE(0),
  },
  // A mark is a number of the machine: little-endian here, whatever stands beside it.
  mark: {
    id: 19,
    size: 4,
    encode: (v) => {
      const out = Buffer.alloc(4);
      out.writeUInt32LE(Number(v) >>> 0);
      return out;
    },
    decode: (b) => b.readUInt32LE(0),
  },
  // TYPE_INTEGER has no size of its own; a field of 128 bits is the only one that our sets have.
  integer128: {
    id: 4,
    size: 16,
    encode: (v) => Buffer.from(String(v).slice(2), "hex"),
    decode: (b) => `0x${b.toString("hex")}`,
  },
  ifname: {
    id: 41,
    size: IFNAMSIZ,
    encode: (v) => {
      const out = Buffer.alloc(IFNAMSIZ);
      out.write(String(v), "latin1");
      return out;
    },
    decode: (b) => b.toString("latin1").replace(/\0.*$/s, ""),
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

/** The bytes of a key or of map data: one value as it is, several each padded to four bytes. Undefined: not to be said in one value. */
export function encodeValues(values: readonly NftValue[]): Uint8Array | undefined {
  const parts: Uint8Array[] = [];
  for (const v of values) {
    if (v.type === "verdict") return undefined;
    const bytes = TYPES[v.type].encode(v.value);
    if (bytes === undefined) return undefined;
    parts.push(bytes);
  }
  if (parts.length === 1) return parts[0];
  let size = 0;
  for (const part of parts) size += padded(part.length);
  const out = Buffer.alloc(size);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += padded(part.length);
  }
  return out;
}

export function decodeValues(types: readonly ValueType[], bytes: Buffer): NftValue[] {
  let at = 0;
  return types.map((type) => {
    const { size, decode } = TYPES[type];
    const value = decode(bytes.subarray(at, at + size));
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
