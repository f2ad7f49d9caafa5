import { assert } from "./result.js";

/**
 * Addresses are canonical text everywhere ("172.17.0.2", "fd00::2"; RFC 5952, lower case), prefixes are "address/length".
 * Text is comparable with ===, readable in JSON and in errors; arithmetic goes through BigInt and back.
 */
export type Family = 4 | 6;

export interface Prefix {
  readonly family: Family;
  /** First address of the network, canonical text. */
  readonly address: string;
  readonly length: number;
}

/** The 4 or 16 bytes of an address, or undefined if the text is not one. Strict: no leading zeros, no short forms, no zone. */
export function ipToBytes(text: string): Uint8Array | undefined {
  return text.includes(":") ? v6ToBytes(text) : v4ToBytes(text);
}

/** An IPv4 address as one number, or -1 if it is none. Character by character: every address of every element of a set goes through here. */
export function ipv4Number(text: string): number {
  let out = 0;
  let part = -1;
  let dots = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 46) {
      if (part < 0 || ++dots > 3) return -1;
      out = out * 256 + part;
      part = -1;
    } else if (c < 48 || c > 57 || part === 0) return -1;
    else {
      part = part < 0 ? c - 48 : part * 10 + c - 48;
      if (part > 255) return -1;
    }
  }
  return dots === 3 && part >= 0 ? out * 256 + part : -1;
}

function v4ToBytes(text: string): Uint8Array | undefined {
  const n = ipv4Number(text);
  return n < 0 ? undefined : Uint8Array.of(n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255);
}

function v6ToBytes(text: string): Uint8Array | undefined {
  let source = text;
  const tail = source.lastIndexOf(":");
  if (source.includes(".")) {
    const v4 = v4ToBytes(source.slice(tail + 1));
    if (v4 === undefined) return undefined;
    source = `${source.slice(0, tail + 1)}${((v4[0]! << 8) | v4[1]!).toString(16)}:${((v4[2]! << 8) | v4[3]!).toString(16)}`;
  }
  const halves = source.split("::");
  if (halves.length > 2) return undefined;
  const groupsOf = (s: string) => (s === "" ? [] : s.split(":"));
  const head = groupsOf(halves[0]!);
  const rest = halves.length === 2 ? groupsOf(halves[1]!) : [];
  if (halves.length === 1 ? head.length !== 8 : head.length + rest.length > 7) return undefined;
  const groups = halves.length === 1 ? head : [...head, ...new Array<string>(8 - head.length - rest.length).fill("0"), ...rest];
  const out = new Uint8Array(16);
  for (let i = 0; i < 8; i++) {
    const group = groups[i]!;
    if (!/^[0-9a-fA-F]{1,4}$/.test(group)) return undefined;
    const n = Number.parseInt(group, 16);
    out[i * 2] = n >> 8;
    out[i * 2 + 1] = n & 255;
  }
  return out;
}

/** Canonical text of 4 or 16 bytes. */
export function bytesToIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  assert(bytes.length === 16, `an address has 4 or 16 bytes, not ${bytes.length}`);
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2) groups.push((bytes[i]! << 8) | bytes[i + 1]!);
  // RFC 5952: the longest run of two or more zero groups becomes "::", the first one on a tie.
  let best = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; ) {
    let j = i;
    while (j < 8 && groups[j] === 0) j++;
    if (j - i > bestLength) {
      best = i;
      bestLength = j - i;
    }
    i = j === i ? i + 1 : j;
  }
  const hex = groups.map((g) => g.toString(16));
  if (best < 0) return hex.join(":");
  return `${hex.slice(0, best).join(":")}::${hex.slice(best + bestLength).join(":")}`;
}

export function ipFamily(text: string): Family {
  return text.includes(":") ? 6 : 4;
}

/** Canonical text, or undefined if it is no address. */
export function parseIp(text: string): string | undefined {
  const bytes = ipToBytes(text);
  return bytes === undefined ? undefined : bytesToIp(bytes);
}

export function ipToBigInt(text: string): bigint {
  const bytes = ipToBytes(text);
  assert(bytes !== undefined, `not an address: ${text}`);
  let n = 0n;
  for (const b of bytes) n = (n << 8n) | BigInt(b);
  return n;
}

export function bigIntToIp(value: bigint, family: Family): string {
  const bytes = new Uint8Array(family === 4 ? 4 : 16);
  let rest = value;
  for (let i = bytes.length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 255n);
    rest >>= 8n;
  }
  return bytesToIp(bytes);
}

export const bitsOf = (family: Family): number => (family === 4 ? 32 : 128);

/** "10.1.2.3/16" → { address: "10.1.0.0", length: 16 }; undefined if it is no CIDR. Host bits are cleared, as Go's ParseCIDR does. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return undefined;
  const bytes = ipToBytes(text.slice(0, slash));
  const lengthText = text.slice(slash + 1);
  if (bytes === undefined || !/^(0|[1-9][0-9]{0,2})$/.test(lengthText)) return undefined;
  const family: Family = bytes.length === 4 ? 4 : 6;
  const length = Number(lengthText);
  if (length > bitsOf(family)) return undefined;
  for (let i = 0; i < bytes.length; i++) {
    const keep = Math.min(8, Math.max(0, length - i * 8));
    bytes[i] = bytes[i]! & (0xff << (8 - keep));
  }
  return { family, address: bytesToIp(bytes), length };
}

export const prefixText = (p: Prefix): string => `${p.address}/${p.length}`;

/** First and last address as numbers, both inclusive. */
export function prefixRange(p: Prefix): { readonly first: bigint; readonly last: bigint } {
  const first = ipToBigInt(p.address);
  return { first, last: first + (1n << BigInt(bitsOf(p.family) - p.length)) - 1n };
}

export function prefixContains(p: Prefix, ip: string): boolean {
  if (ipFamily(ip) !== p.family) return false;
  const n = ipToBigInt(ip);
  const { first, last } = prefixRange(p);
  return n >= first && n <= last;
}

export function prefixesOverlap(a: Prefix, b: Prefix): boolean {
  if (a.family !== b.family) return false;
  const x = prefixRange(a);
  const y = prefixRange(b);
  return x.first <= y.last && y.first <= x.last;
}

/** "02:42:ac:11:00:02" → 6 bytes, or undefined. */
export function macToBytes(text: string): Uint8Array | undefined {
  if (text.length !== 17) return undefined;
  const out = new Uint8Array(6);
  for (let i = 0; i < 6; i++) {
    const high = hexDigit(text.charCodeAt(i * 3));
    const low = hexDigit(text.charCodeAt(i * 3 + 1));
    if (high < 0 || low < 0 || (i < 5 && text.charCodeAt(i * 3 + 2) !== 58)) return undefined;
    out[i] = high * 16 + low;
  }
  return out;
}

/** The digit's value, or -1. */
function hexDigit(c: number): number {
  if (c >= 48 && c <= 57) return c - 48;
  const lower = c | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

const HEX = Array.from({ length: 256 }, (_, b) => b.toString(16).padStart(2, "0"));

export function bytesToMac(bytes: Uint8Array): string {
  let out = "";
  for (const b of bytes) out += out === "" ? HEX[b]! : `:${HEX[b]}`;
  return out;
}
