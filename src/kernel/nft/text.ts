import { ipv4Number, macToBytes, parseIp } from "../../base/ip.js";
import { elementsOf, type NftElement, type NftTable, type NftValue } from "../../plan/objects.js";
import { tableComment } from "../marks.js";
import { countText } from "./count.js";
import { parseVerdict } from "./values.js";

/**
 * nft's language, from typed objects. Every string that reaches the text has passed a check of its own kind: what a person may
 * have chosen (a name in a comment) cannot end a quotation or start a statement.
 */

const NAME = /^[A-Za-z_][A-Za-z0-9_./\\-]{0,127}$/;
const COMMENT = /^[A-Za-z0-9_.:/ -]{1,127}$/;
const IFNAME = /^[A-Za-z0-9_.:@+-]{1,15}$/;
const ADDRESSES = /^[0-9a-f.:]+(?:\/[0-9]{1,3}|-[0-9a-f.:]+)?$/;

/** Says what is wrong with an element; undefined: nothing. */
export function elementFault(e: NftElement): string | undefined {
  if (!NAME.test(e.table) || !NAME.test(e.set)) return "the name of the table or set is not allowed";
  if (e.comment !== undefined && !COMMENT.test(e.comment))
    return "the comment has characters that are not allowed, or is too long";
  if (e.key.length === 0 || (e.data !== undefined && e.data.length === 0)) return "an element needs values";
  const wrong = e.key.find((v) => !valueOk(v)) ?? e.data?.find((v) => !valueOk(v));
  if (wrong !== undefined) return `not a value of type ${wrong.type}: ${String(wrong.value)}`;
  if (e.count !== undefined && !runOk(e)) return `not a run: ${e.count} elements`;
  return undefined;
}

function runOk(e: NftElement): boolean {
  const [port, target] = [e.key.at(-1), e.data?.at(-1)];
  const fits = (v: NftValue) => v.type === "inet_service" && v.value + e.count! - 1 <= 65_535;
  if (!Number.isInteger(e.count) || e.count! < 1 || port === undefined || !fits(port)) return false;
  return target === undefined || target.type !== "inet_service" || fits(target);
}

function valueOk(v: NftValue): boolean {
  switch (v.type) {
    case "ipv4_addr":
      return ipv4Number(v.value) >= 0 || addressesOk(v.value, v.type);
    case "ipv6_addr":
      return addressesOk(v.value, v.type);
    case "ether_addr":
      return macToBytes(v.value) !== undefined;
    case "ifname":
      return IFNAME.test(v.value);
    case "inet_service":
      return Number.isInteger(v.value) && v.value >= 0 && v.value <= 65_535;
    case "mark":
      return Number.isInteger(v.value) && v.value >= 0 && v.value <= 0xffff_ffff;
    case "integer128":
      return /^0x[0-9a-f]{32}$/.test(v.value);
    case "inet_proto":
      return v.value === "tcp" || v.value === "udp" || v.value === "sctp";
    case "verdict": {
      const verdict = parseVerdict(v.value);
      return verdict !== undefined && (verdict.chain === undefined || NAME.test(verdict.chain));
    }
  }
}

/** An address, a prefix, or a range. */
function addressesOk(text: string, type: "ipv4_addr" | "ipv6_addr"): boolean {
  if (!ADDRESSES.test(text)) return false;
  return text.split(/[/-]/).every((part, i) => (i === 1 && text.includes("/")) || isFamily(part, type));
}

const isFamily = (text: string, type: "ipv4_addr" | "ipv6_addr"): boolean =>
  parseIp(text) !== undefined && text.includes(":") === (type === "ipv6_addr");

/** `10.0.0.1 . 80 comment "web" : 172.17.0.2 . 8080`; of a run the first and how many follow. */
export function elementText(e: NftElement): string {
  const key = e.key.map(valueText).join(" . ");
  const comment = e.comment === undefined ? "" : ` comment "${e.comment}"`;
  const data = e.data === undefined ? "" : ` : ${e.data.map(valueText).join(" . ")}`;
  return `${key}${comment}${data}${e.count === undefined ? "" : ` and ${e.count - 1} more`}`;
}

function valueText(v: NftValue): string {
  if (v.type === "ifname") return `"${v.value}"`;
  return String(v.value);
}

export const addElement = (e: NftElement): string =>
  `add element ${e.family} ${e.table} ${e.set} { ${elementsOf(e).map(elementText).join(", ")} }\n`;
export const deleteElement = (e: NftElement): string =>
  `delete element ${e.family} ${e.table} ${e.set} { ${elementsOf(e)
    .map(({ key }) => key.map(valueText).join(" . "))
    .join(", ")} }\n`;

export function tableFault(t: NftTable): string | undefined {
  if (!NAME.test(t.table)) return "the name of the table is not allowed";
  if (!/^[A-Za-z0-9_.:+=-]{1,80}$/.test(t.hash)) return "the hash has characters that are not allowed";
  return undefined;
}

/** The whole table anew: re-adding alone would keep the old rules and the old comment. "add" first, as "delete" alone fails where there is none. */
export function replaceTable(t: NftTable): string {
  return `${deleteTable(t)}table ${t.family} ${t.table} {\ncomment "${tableComment(t.hash, countText(t.text))}"\n${t.text}\n}\n`;
}

export const deleteTable = (t: NftTable): string => `add table ${t.family} ${t.table}\ndelete table ${t.family} ${t.table}\n`;
