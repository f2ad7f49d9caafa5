import { bytesToIp } from "../../base/ip.js";
import { mergeRuns, type NftElement, type NftFamily, type NftTable, type NftValue, type NsRef } from "../../plan/objects.js";
import { TABLE_COMMENT } from "../marks.js";
import { addressBytes, type Values } from "../netlink/codec.js";
import { NLM_F_DUMP, NLM_F_REQUEST } from "../netlink/constants.js";
import type { NetlinkSocket, Visit } from "../netlink/socket.js";
import {
  NFGENMSG,
  NFT_DATA_VERDICT,
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETRULE,
  NFT_MSG_GETSET,
  NFT_MSG_GETSETELEM,
  NFT_MSG_GETTABLE,
  NFT_SET_ANONYMOUS,
  NFT_SET_ELEM_INTERVAL_END,
  NFT_SET_EVAL,
  NFT_SET_INTERVAL,
  NFT_SET_TIMEOUT,
  NFTA_SET,
  type NFTA_SET_ELEM,
  NFTA_SET_ELEM_LIST,
  NFTA_TABLE,
  readComment,
} from "./tables.js";
import { decodeValues, FAMILIES, familyName, typesOf, verdictText } from "./values.js";

/** A set of a table, as far as its elements need it. */
export interface SeenSet {
  readonly family: NftFamily;
  readonly table: string;
  readonly name: string;
  readonly flags: number;
  readonly keyType: number;
  readonly dataType: number | undefined;
}

export const tableId = (t: { readonly family: string; readonly table: string }): string => `${t.family} ${t.table}`;

/**
 * Our tables. `text` is empty: the kernel keeps rules, not their words. The hash is the one of the comment; if there are not as many
 * chains and rules as there were in the text, it gets "!" behind it, so that it equals no wanted one.
 */
export function dumpTables(socket: NetlinkSocket, ns: NsRef): NftTable[] {
  const found: { readonly table: NftTable; readonly chains: number; readonly rules: number }[] = [];
  nftDump(socket, NFT_MSG_GETTABLE, 0, undefined, "nft list tables", (m) => {
    const values = NFTA_TABLE.read(m.bytes, m.start + NFGENMSG, m.end);
    const family = familyName(m.bytes[m.start]!);
    const mark = TABLE_COMMENT.exec(readComment(values.NFTA_TABLE_USERDATA) ?? "");
    if (family === undefined || mark === null || values.NFTA_TABLE_NAME === undefined) return;
    const table: NftTable = { kind: "nftTable", ns, family, table: values.NFTA_TABLE_NAME, text: "", hash: mark[1]! };
    found.push({ table, chains: Number(mark[2]), rules: Number(mark[3]) });
  });
  if (found.length === 0) return [];
  const chains = countByTable(socket, NFT_MSG_GETCHAIN, "nft list chains");
  const rules = countByTable(socket, NFT_MSG_GETRULE, "nft list rules");
  return found.map(({ table, ...wanted }) => {
    const id = tableId(table);
    const whole = (chains.get(id) ?? 0) === wanted.chains && (rules.get(id) ?? 0) === wanted.rules;
    return whole ? table : { ...table, hash: `${table.hash}!` };
  });
}

function countByTable(socket: NetlinkSocket, message: number, operation: string): Map<string, number> {
  const out = new Map<string, number>();
  nftDump(socket, message, 0, undefined, operation, (m) => {
    // The table's name has the number 1 in messages about chains and rules as well.
    const { NFTA_TABLE_NAME: table = "" } = NFTA_TABLE.read(m.bytes, m.start + NFGENMSG, m.end);
    const id = tableId({ family: familyName(m.bytes[m.start]!) ?? "", table });
    out.set(id, (out.get(id) ?? 0) + 1);
  });
  return out;
}

/** Named sets and maps of all tables (or of one). */
export function dumpSets(socket: NetlinkSocket): SeenSet[] {
  const out: SeenSet[] = [];
  nftDump(socket, NFT_MSG_GETSET, 0, undefined, "nft list sets", (m) => {
    const v = NFTA_SET.read(m.bytes, m.start + NFGENMSG, m.end);
    const family = familyName(m.bytes[m.start]!);
    const flags = v.NFTA_SET_FLAGS ?? 0;
    if (family === undefined || v.NFTA_SET_TABLE === undefined || v.NFTA_SET_NAME === undefined || flags & NFT_SET_ANONYMOUS)
      return;
    out.push({
      family,
      table: v.NFTA_SET_TABLE,
      name: v.NFTA_SET_NAME,
      flags,
      keyType: v.NFTA_SET_KEY_TYPE ?? 0,
      dataType: v.NFTA_SET_DATA_TYPE,
    });
  });
  return out;
}

/** Elements that were put, of sets whose types we know. What packets have added (dynamic sets, timeouts) is not ours to list. */
export function dumpElements(socket: NetlinkSocket, ns: NsRef, set: SeenSet): NftElement[] {
  const types = typesOf(set.keyType);
  if (types === undefined || set.flags & (NFT_SET_EVAL | NFT_SET_TIMEOUT)) return [];
  const dataTypes = set.dataType === undefined || set.dataType === NFT_DATA_VERDICT ? undefined : typesOf(set.dataType);
  const { family, table, name } = set;
  const out: NftElement[] = [];
  const ends: string[] = [];
  nftDump(
    socket,
    NFT_MSG_GETSETELEM,
    FAMILIES[family],
    { NFTA_SET_ELEM_LIST_TABLE: table, NFTA_SET_ELEM_LIST_SET: name },
    `nft list set ${family} ${table} ${name}`,
    (m) => {
      const v = NFTA_SET_ELEM_LIST.read(m.bytes, m.start + NFGENMSG, m.end);
      for (const e of v.NFTA_SET_ELEM_LIST_ELEMENTS ?? []) {
        const key = e.NFTA_SET_ELEM_KEY?.NFTA_DATA_VALUE as Buffer | undefined;
        if (key === undefined) continue;
        if ((e.NFTA_SET_ELEM_FLAGS ?? 0) & NFT_SET_ELEM_INTERVAL_END) {
          ends.push(key.toString("hex"));
          continue;
        }
        const data = dataOf(e, dataTypes);
        const comment = readComment(e.NFTA_SET_ELEM_USERDATA);
        out.push({
          kind: "nftElement",
          ns,
          family,
          table,
          set: name,
          key: decodeValues(types, key),
          ...(data === undefined ? {} : { data }),
          ...(comment === undefined ? {} : { comment }),
        });
      }
    },
  );
  if (types.at(-1) === "inet_service") return mergeRuns(out);
  if (!(set.flags & NFT_SET_INTERVAL) || types.length !== 1) return out;
  return out.map((e) => ({ ...e, key: [withInterval(e.key[0]!, ends)] }));
}

function dataOf(e: Values<typeof NFTA_SET_ELEM.table>, types: ReturnType<typeof typesOf>): readonly NftValue[] | undefined {
  const data = e.NFTA_SET_ELEM_DATA;
  const verdict = data?.NFTA_DATA_VERDICT;
  if (verdict !== undefined)
    return [{ type: "verdict", value: verdictText((verdict.NFTA_VERDICT_CODE ?? 0) | 0, verdict.NFTA_VERDICT_CHAIN) }];
  const value = data?.NFTA_DATA_VALUE as Buffer | undefined;
  return value === undefined || types === undefined ? undefined : decodeValues(types, value);
}

/** In an interval set the next end above an element closes it: one address, a prefix, or a range. Addresses only. */
function withInterval(start: NftValue, ends: readonly string[]): NftValue {
  if (start.type !== "ipv4_addr" && start.type !== "ipv6_addr") return start;
  const bits = start.type === "ipv4_addr" ? 32 : 128;
  const number = (hex: string): bigint => BigInt(`0x${hex}`);
  const first = number(toHex(start.value));
  const above = ends.map(number).filter((end) => end > first);
  const end = above.sort((a, b) => (a < b ? -1 : 1))[0] ?? 1n << BigInt(bits);
  const size = end - first;
  if (size === 1n) return start;
  const power = size.toString(2).length - 1;
  if (size === 1n << BigInt(power) && first % size === 0n) return { type: start.type, value: `${start.value}/${bits - power}` };
  const last = Buffer.from((end - 1n).toString(16).padStart(bits / 4, "0"), "hex");
  return { type: start.type, value: `${start.value}-${bytesToIp(last)}` };
}

const toHex = (address: string): string => Buffer.from(addressBytes(address)).toString("hex");

function nftDump(
  socket: NetlinkSocket,
  message: number,
  family: number,
  list: Values<typeof NFTA_SET_ELEM_LIST.table> | undefined,
  operation: string,
  visit: Visit,
): void {
  // Started again, it repeats what it has told: collected first, then visited once.
  let seen: {
    readonly bytes: Buffer;
    readonly flags: number;
    readonly seq: number;
    readonly pid: number;
    readonly type: number;
  }[] = [];
  socket.dump(
    (w) =>
      w.message(message, NLM_F_REQUEST | NLM_F_DUMP, () => {
        w.u8(family);
        w.u8(0);
        w.u16(0);
        if (list !== undefined) NFTA_SET_ELEM_LIST.write(w, list);
      }),
    operation,
    (m) =>
      seen.push({ bytes: Buffer.from(m.bytes.subarray(m.start, m.end)), flags: m.flags, seq: m.seq, pid: m.pid, type: m.type }),
    () => {
      seen = [];
    },
  );
  for (const { bytes, ...rest } of seen) visit({ ...rest, bytes, start: 0, end: bytes.length });
}
