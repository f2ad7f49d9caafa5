import type { NftElement } from "../../plan/objects.js";
import { EBUSY, EEXIST, ENOENT } from "../errno.js";
import { libc, memory } from "../ffi.js";
import { NLA_F_NESTED } from "../netlink/codec.js";
import { NLM_F_CREATE, NLM_F_REQUEST, SOL_SOCKET } from "../netlink/constants.js";
import type { NetlinkSocket, Refused } from "../netlink/socket.js";
import { Writer } from "../netlink/writer.js";
import {
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS_NFTABLES,
  NFT_MSG_DELSETELEM,
  NFT_MSG_NEWSETELEM,
} from "./tables.js";
import { FAMILIES, isSingle, parseVerdict, writeValues } from "./values.js";

/** One half of a change: an element that comes or goes. A changed one is a removal and an addition in one transaction. */
export interface ElementChange {
  readonly action: "add" | "delete";
  readonly element: NftElement;
  /** A removal whose element is gone already is done, not failed. */
  readonly tolerant: boolean;
}

/** An attribute's length has 16 bits; elements in one message stay below that: none takes more than 256 bytes. */
const ELEMENTS_PER_MESSAGE = 192;
/** One transaction is one send; beyond this many bytes it becomes several. */
const TRANSACTION_LIMIT = 4 * 1024 * 1024;

/** For what an endpoint has: memory outside the V8 heap is dear to make. */
const SMALL = 8192;
const small = new Writer(SMALL);

/** Can it be sent as bytes? Not if a value is a prefix or a range, which is for libnftables to take apart. */
export const isPlain = (e: NftElement): boolean => e.key.every(isSingle) && (e.data === undefined || e.data.every(isSingle));

/**
 * Changes elements by nfnetlink itself, in the namespace of the socket: 10,000 in about 10 ms, one in some microseconds, where
 * libnftables takes ten times as long. Sets must be plain (no intervals). Everything is one transaction: the kernel reports what it
 * refuses and takes back the rest; then what can be set right (an element that is gone, one that is there with other data) is, what
 * cannot is left out and reported, and the rest runs again. Returns the refusals by index.
 */
export function changeElements(socket: NetlinkSocket, changes: readonly ElementChange[]): Map<number, Refused> {
  const failures = new Map<number, Refused>();
  let work: Item[] = changes.map(({ action, element, tolerant }, index) => ({
    action,
    element,
    tolerant,
    index,
    from: 0,
    count: element.count ?? 1,
    replaced: false,
  }));
  let grouped = true;
  for (let round = 0; round < 6 && work.length > 0; round++) {
    const refused = transact(socket, work, grouped);
    if (refused.size === 0) return failures;
    const whole = refused.get(-1);
    if (whole !== undefined) {
      for (const item of work) failures.set(item.index, whole);
      return failures;
    }
    if (grouped) {
      // A message with many elements does not tell which one is meant.
      grouped = false;
      work = work.flatMap(singles);
      continue;
    }
    work = work.flatMap((item, i) => {
      const why = refused.get(i);
      return why === undefined ? [item] : remedy(item, why, failures);
    });
  }
  for (const item of work) failures.set(item.index, { errno: EBUSY });
  return failures;
}

interface Item extends ElementChange {
  readonly index: number;
  /** Which of the elements of a run, and how many. */
  readonly from: number;
  readonly count: number;
  readonly replaced: boolean;
}

const singles = (item: Item): Item[] =>
  item.count === 1 ? [item] : Array.from({ length: item.count }, (_, i) => ({ ...item, from: item.from + i, count: 1 }));

function remedy(item: Item, why: Refused, failures: Map<number, Refused>): Item[] {
  if (item.action === "delete" && item.tolerant && why.errno === ENOENT) return [];
  if (item.action === "add" && !item.replaced && (why.errno === EEXIST || why.errno === EBUSY))
    return [
      { ...item, action: "delete", tolerant: true, replaced: true },
      { ...item, replaced: true },
    ];
  failures.set(item.index, why);
  return [];
}

/** Refusals by position in `work`; -1: of the transaction itself. */
function transact(socket: NetlinkSocket, work: readonly Item[], grouped: boolean): Map<number, Refused> {
  const out = new Map<number, Refused>();
  const messages = grouped ? inMessages(work) : work.map((item, first) => ({ items: [item], first }));
  let at = 0;
  while (at < messages.length) {
    const size = Math.min(TRANSACTION_LIMIT, 256 + work.reduce((sum, { count }) => sum + count, 0) * 96);
    const w = size <= SMALL ? small.clear() : new Writer(size);
    batchMark(w, NFNL_MSG_BATCH_BEGIN);
    const begin = at;
    while (at < messages.length && w.size < TRANSACTION_LIMIT) writeMessage(w, messages[at++]!.items);
    batchMark(w, NFNL_MSG_BATCH_END);
    if (w.size > 64 * 1024) enlargeSendBuffer(socket.fd, w.size * 2 + 4096);
    for (const [index, why] of socket.request(w, w.count - 2)) out.set(messages[begin + index - 1]?.first ?? -1, why);
    if (out.size > 0) return out;
  }
  return out;
}

interface Message {
  readonly items: readonly Item[];
  /** Position in `work` of the first one */
  readonly first: number;
}

/** Elements of one set and one action share messages, as many as fit; a long run takes several. */
function inMessages(work: readonly Item[]): Message[] {
  const out: Message[] = [];
  let items: Item[] = [];
  let room = 0;
  for (const [first, item] of work.entries()) {
    const before = items[0];
    const { element: e } = item;
    const same =
      before !== undefined &&
      before.action === item.action &&
      before.element.set === e.set &&
      before.element.table === e.table &&
      before.element.family === e.family;
    if (!same) room = 0;
    for (let from = item.from, left = item.count; left > 0; ) {
      if (room === 0) {
        items = [];
        out.push({ items, first });
        room = ELEMENTS_PER_MESSAGE;
      }
      const count = Math.min(room, left);
      items.push({ ...item, from, count });
      from += count;
      left -= count;
      room -= count;
    }
  }
  return out;
}

function batchMark(w: Writer, type: number): void {
  w.message(type, NLM_F_REQUEST, () => {
    w.u8(0);
    w.u8(0);
    w.be16(NFNL_SUBSYS_NFTABLES);
  });
}

/** Written out attribute by attribute, not by the table: this runs once per element of a set of 10,000. */
function writeMessage(w: Writer, items: readonly Item[]): void {
  const { action, element } = items[0]!;
  w.message(
    action === "add" ? NFT_MSG_NEWSETELEM : NFT_MSG_DELSETELEM,
    NLM_F_REQUEST | (action === "add" ? NLM_F_CREATE : 0),
    () => {
      w.u8(FAMILIES[element.family]);
      w.u8(0);
      w.u16(0);
      text(w, 1, element.table);
      text(w, 2, element.set);
      const list = w.beginAttribute(3 | NLA_F_NESTED);
      for (const item of items) for (let i = 0; i < item.count; i++) writeElement(w, item, item.from + i);
      w.endAttribute(list);
    },
  );
}

/** NFTA_LIST_ELEM { NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_DATA, NFTA_SET_ELEM_USERDATA } */
function writeElement(w: Writer, { action, element }: Item, by: number): void {
  const start = w.beginAttribute(1 | NLA_F_NESTED);
  data(w, 1, element.key, by);
  if (action === "add") {
    if (element.data !== undefined) data(w, 2, element.data, by);
    if (element.comment !== undefined) {
      // libnftnl's user data: type 0 (a comment), length, text with its end mark.
      const comment = w.beginAttribute(6);
      w.u8(0);
      w.u8(element.comment.length + 1);
      w.text(element.comment);
      w.endAttribute(comment);
    }
  }
  w.endAttribute(start);
}

function data(w: Writer, type: number, values: NftElement["key"], by: number): void {
  const outer = w.beginAttribute(type | NLA_F_NESTED);
  const [first] = values;
  if (first?.type === "verdict") {
    const verdict = parseVerdict(first.value)!;
    const nest = w.beginAttribute(2 | NLA_F_NESTED);
    const code = w.beginAttribute(1);
    w.be32(verdict.code >>> 0);
    w.endAttribute(code);
    if (verdict.chain !== undefined) text(w, 2, verdict.chain);
    w.endAttribute(nest);
  } else {
    const inner = w.beginAttribute(1);
    writeValues(w, values, by);
    w.endAttribute(inner);
  }
  w.endAttribute(outer);
}

function text(w: Writer, type: number, value: string): void {
  const start = w.beginAttribute(type);
  w.text(value);
  w.endAttribute(start);
}

const SO_SNDBUF = 7;
const SO_SNDBUFFORCE = 32;

function enlargeSendBuffer(fd: number, size: number): void {
  const value = memory(128);
  value.writeUInt32LE(size, 0);
  if (libc.setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, value, 4) < 0) libc.setsockopt(fd, SOL_SOCKET, SO_SNDBUF, value, 4);
}
