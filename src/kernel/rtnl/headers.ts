import type { Writer } from "../netlink/writer.js";

/** struct ifinfomsg: 16 bytes */
export const IFINFOMSG = 16;
export interface Ifinfomsg {
  readonly family?: number;
  readonly index?: number;
  readonly flags?: number;
  readonly change?: number;
}
export function writeIfinfomsg(w: Writer, h: Ifinfomsg): void {
  w.u8(h.family ?? 0);
  w.u8(0);
  w.u16(0);
  w.u32(h.index ?? 0);
  w.u32(h.flags ?? 0);
  w.u32(h.change ?? 0);
}
export function readIfinfomsg(b: Buffer, at: number): Required<Omit<Ifinfomsg, "change">> {
  return { family: b[at]!, index: b.readInt32LE(at + 4), flags: b.readUInt32LE(at + 8) };
}

/** struct ifaddrmsg: 8 bytes */
export const IFADDRMSG = 8;
export function writeIfaddrmsg(
  w: Writer,
  h: { readonly family: number; readonly prefixLength: number; readonly scope: number; readonly index: number },
): void {
  w.u8(h.family);
  w.u8(h.prefixLength);
  w.u8(0);
  w.u8(h.scope);
  w.u32(h.index);
}

/** struct rtmsg: 12 bytes */
export const RTMSG = 12;
export function writeRtmsg(
  w: Writer,
  h: {
    readonly family: number;
    readonly dstLength?: number;
    readonly protocol?: number;
    readonly scope?: number;
    readonly type?: number;
    readonly flags?: number;
    readonly table?: number;
  },
): void {
  w.u8(h.family);
  w.u8(h.dstLength ?? 0);
  w.u8(0);
  w.u8(0);
  w.u8(h.table ?? 0);
  w.u8(h.protocol ?? 0);
  w.u8(h.scope ?? 0);
  w.u8(h.type ?? 0);
  w.u32(h.flags ?? 0);
}

/** struct ndmsg: 12 bytes */
export const NDMSG = 12;
export function writeNdmsg(
  w: Writer,
  h: { readonly family: number; readonly index?: number; readonly state?: number; readonly flags?: number },
): void {
  w.u8(h.family);
  w.u8(0);
  w.u16(0);
  w.u32(h.index ?? 0);
  w.u16(h.state ?? 0);
  w.u8(h.flags ?? 0);
  w.u8(0);
}

/** struct fib_rule_hdr: 12 bytes */
export const FIB_RULE_HDR = 12;
export function writeFibRuleHdr(
  w: Writer,
  h: {
    readonly family: number;
    readonly dstLength?: number;
    readonly srcLength?: number;
    readonly table?: number;
    readonly action?: number;
  },
): void {
  w.u8(h.family);
  w.u8(h.dstLength ?? 0);
  w.u8(h.srcLength ?? 0);
  w.u8(0);
  w.u8(h.table ?? 0);
  w.u16(0);
  w.u8(h.action ?? 0);
  w.u32(0);
}
