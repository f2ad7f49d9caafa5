import { bytesToIp, bytesToMac, ipToBytes, macToBytes } from "../../base/ip.js";
import { assert } from "../../base/result.js";
import type { Writer } from "./writer.js";

/**
 * How one kind of netlink attribute is written and read (netlink(7), include/net/netlink.h). A table of attributes is such a
 * kind too, so that nesting is nothing special. `read` gets the payload only, as a range of the received bytes.
 */
export interface Kind<T> {
  readonly nested?: boolean;
  write(w: Writer, value: T): void;
  read(bytes: Buffer, start: number, end: number): T;
}

/** Attribute name (the kernel's) → its number and kind. */
type Table = Readonly<Record<string, readonly [number, Kind<unknown>]>>;
export type Values<T extends Table> = { -readonly [K in keyof T]?: T[K][1] extends Kind<infer V> ? V : never };

export interface Attributes<T extends Table> extends Kind<Values<T>> {
  readonly table: T;
}

export const u8: Kind<number> = {
  write: (w, v) => w.u8(v),
  read: (b, start) => b[start]!,
};
export const u16: Kind<number> = {
  write: (w, v) => w.u16(v),
  read: (b, start) => b.readUInt16LE(start),
};
export const be16: Kind<number> = {
  write: (w, v) => w.be16(v),
  read: (b, start) => b.readUInt16BE(start),
};
export const u32: Kind<number> = {
  write: (w, v) => w.u32(v),
  read: (b, start) => b.readUInt32LE(start),
};
export const i32: Kind<number> = {
  write: (w, v) => w.u32(v >>> 0),
  read: (b, start) => b.readInt32LE(start),
};
export const be32: Kind<number> = {
  write: (w, v) => w.be32(v >>> 0),
  read: (b, start) => b.readUInt32BE(start),
};
/** A one-byte boolean. */
export const flag8: Kind<boolean> = {
  write: (w, v) => w.u8(v ? 1 : 0),
  read: (b, start) => b[start] !== 0,
};
/** NUL-terminated text. */
export const text: Kind<string> = {
  write: (w, v) => w.text(v),
  read: (b, start, end) => {
    const zero = b.indexOf(0, start);
    return b.toString("latin1", start, zero >= 0 && zero < end ? zero : end);
  },
};
export const bytes: Kind<Uint8Array> = {
  write: (w, v) => w.bytes(v),
  read: (b, start, end) => Buffer.from(b.subarray(start, end)),
};
/** An IPv4 or IPv6 address as canonical text; its length tells the family. */
export const ip: Kind<string> = {
  write: (w, v) => w.bytes(addressBytes(v)),
  read: (b, start, end) => (end - start === 4 || end - start === 16 ? bytesToIp(b.subarray(start, end)) : ""),
};
/** A link-layer address. Other lengths than 6 (a tunnel's local address, say) read as hexadecimal. */
export const mac: Kind<string> = {
  write: (w, v) => {
    const m = macToBytes(v);
    assert(m !== undefined, `not a MAC address: ${v}`);
    w.bytes(m);
  },
  read: (b, start, end) => bytesToMac(b.subarray(start, end)),
};
/** Written by a function, read as a copy of its bytes: what it holds depends on another attribute (IFLA_INFO_DATA). */
export const open: Kind<((w: Writer) => void) | Buffer> = {
  nested: true,
  write: (w, v) => (typeof v === "function" ? v(w) : w.bytes(v)),
  read: (b, start, end) => Buffer.from(b.subarray(start, end)),
};

export const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

export function attributes<T extends Table>(table: T): Attributes<T> {
  const byNumber = new Map<number, readonly [string, Kind<unknown>]>();
  for (const [name, [number, kind]] of Object.entries(table)) byNumber.set(number, [name, kind]);
  return {
    table,
    nested: true,
    write(w, values) {
      for (const name in values) {
        const value = values[name];
        if (value === undefined) continue;
        const [number, kind] = table[name]!;
        const start = w.beginAttribute(kind.nested ? number | NLA_F_NESTED : number);
        kind.write(w, value);
        w.endAttribute(start);
      }
    },
    read(b, start, end) {
      const out: Record<string, unknown> = {};
      eachAttribute(b, start, end, (number, from, to) => {
        const entry = byNumber.get(number);
        if (entry !== undefined) out[entry[0]] = entry[1].read(b, from, to);
      });
      return out as Values<T>;
    },
  };
}

/** A nest whose members all have the same number and kind (NFTA_LIST_ELEM): an array. */
export function list<T>(number: number, member: Kind<T>): Kind<readonly T[]> {
  return {
    nested: true,
    write(w, values) {
      for (const value of values) {
        const start = w.beginAttribute(member.nested ? number | NLA_F_NESTED : number);
        member.write(w, value);
        w.endAttribute(start);
      }
    },
    read(b, start, end) {
      const out: T[] = [];
      eachAttribute(b, start, end, (_, from, to) => out.push(member.read(b, from, to)));
      return out;
    },
  };
}

/** Stops at the first attribute whose length does not fit: what follows cannot be found. */
export function eachAttribute(
  b: Buffer,
  start: number,
  end: number,
  visit: (number: number, start: number, end: number) => void,
): void {
  for (let at = start; at + 4 <= end; ) {
    const length = b.readUInt16LE(at);
    if (length < 4 || at + length > end) return;
    visit(b.readUInt16LE(at + 2) & NLA_TYPE_MASK, at + 4, at + length);
    at += (length + 3) & ~3;
  }
}

export function addressBytes(address: string): Uint8Array {
  const out = ipToBytes(address);
  assert(out !== undefined, `not an address: ${address}`);
  return out;
}
