import { limits } from "./limits.js";

/**
 * The wire format (RFC 1035, EDNS RFC 6891), as far as a resolver at this place needs it: questions are read, answers of addresses and names are
 * written, everything else is passed on as bytes. Reading is bounded by the message's length: no pointer is ever followed.
 */

export const rcode = { noError: 0, formErr: 1, servFail: 2, nxDomain: 3, notImp: 4, refused: 5, badVers: 16 } as const;
export const rrType = { a: 1, ns: 2, soa: 6, ptr: 12, aaaa: 28, opt: 41, ixfr: 251, axfr: 252, any: 255 } as const;
const classIn = 1;
const classAny = 255;

const flagQr = 0x8000;
const flagTc = 0x0200;
const flagRd = 0x0100;
const flagRa = 0x0080;
const flagCd = 0x0010;
const headerLength = 12;

export interface Query {
  readonly id: number;
  readonly flags: number;
  /** End of the question section, which starts at 12. */
  readonly questionEnd: number;
  /** The name as on the wire, ASCII letters lower, without the root's zero byte: a key for maps. */
  readonly key: string;
  readonly type: number;
  readonly class: number;
  readonly edns: Edns | undefined;
}

export interface Edns {
  /** Where the OPT record's payload size stands in the message. */
  readonly sizeAt: number;
  readonly payload: number;
  readonly version: number;
  readonly dnssecOk: boolean;
}

/** A query; or what it is to be answered with; or undefined: nothing that may be answered (an answer, or too short to have an id). */
export type ParsedQuery = Query | { readonly error: number } | undefined;

/** ASCII letters to lower case, everything else as it is. */
const lower = Uint8Array.from({ length: 256 }, (_, c) => (c >= 0x41 && c <= 0x5a ? c + 32 : c));
const scratch = Buffer.alloc(256);

export function parseQuery(bytes: Uint8Array): ParsedQuery {
  const length = bytes.length;
  if (length < headerLength || (bytes[2]! & 0x80) !== 0) return undefined;
  const flags = (bytes[2]! << 8) | bytes[3]!;
  if ((flags & 0x7800) !== 0) return { error: rcode.notImp };
  if (bytes[4] !== 0 || bytes[5] !== 1) return { error: rcode.formErr };
  let at = headerLength;
  let n = 0;
  for (;;) {
    if (at >= length) return { error: rcode.formErr };
    const label = bytes[at]!;
    if (label === 0) break;
    // a compression pointer (0xc0) has nothing before it to point at in the first name of a message
    if (label > 63 || n + label + 1 > 254 || at + label >= length) return { error: rcode.formErr };
    scratch[n++] = label;
    for (let i = at + 1, end = at + label; i <= end; i++) scratch[n++] = lower[bytes[i]!]!;
    at += label + 1;
  }
  const questionEnd = at + 5;
  if (questionEnd > length) return { error: rcode.formErr };
  const type = (bytes[at + 1]! << 8) | bytes[at + 2]!;
  const klass = (bytes[at + 3]! << 8) | bytes[at + 4]!;
  const key = scratch.toString("latin1", 0, n);
  let edns: Edns | undefined;
  if ((bytes[6]! | bytes[7]! | bytes[8]! | bytes[9]! | bytes[10]! | bytes[11]!) !== 0) {
    const found = findEdns(bytes, questionEnd);
    if (found === null) return { error: rcode.formErr };
    edns = found;
  }
  return { id: (bytes[0]! << 8) | bytes[1]!, flags, questionEnd, key, type, class: klass, edns };
}

/** The OPT record; undefined if there is none, null if the records do not parse. */
function findEdns(bytes: Uint8Array, start: number): Edns | undefined | null {
  const count = (at: number) => (bytes[at]! << 8) | bytes[at + 1]!;
  const before = count(6) + count(8);
  const records = before + count(10);
  let at = start;
  let edns: Edns | undefined;
  // each record takes 11 bytes or more, so that the loop ends with the message, whatever the counts say
  for (let i = 0; i < records; i++) {
    const nameAt = at;
    at = skipName(bytes, at);
    if (at < 0 || at + 10 > bytes.length) return null;
    const end = at + 10 + count(at + 8);
    if (end > bytes.length) return null;
    if (count(at) === rrType.opt) {
      if (i < before || edns !== undefined || at !== nameAt + 1) return null;
      edns = {
        sizeAt: at + 2,
        payload: count(at + 2),
        version: bytes[at + 5]!,
        dnssecOk: (bytes[at + 6]! & 0x80) !== 0,
      };
    }
    at = end;
  }
  return edns;
}

/** Offset after a name, -1 if it does not end in the message. */
function skipName(bytes: Uint8Array, start: number): number {
  let at = start;
  while (at < bytes.length) {
    const label = bytes[at]!;
    if (label === 0) return at + 1;
    if (label >= 0xc0) return at + 2 <= bytes.length ? at + 2 : -1;
    if (label > 63) return -1;
    at += label + 1;
  }
  return -1;
}

export const isSupportedClass = (query: Query): boolean => query.class === classIn || query.class === classAny;

/** How large an answer over UDP may be. */
export function udpLimit(query: Query): number {
  if (query.edns === undefined) return limits.udpPlain;
  return Math.min(Math.max(query.edns.payload, limits.udpPlain), limits.maxMessage);
}

export interface AnswerParts {
  readonly rcode: number;
  /** Records as `record` makes them. */
  readonly records: readonly Uint8Array[];
  /** The record to begin with: the rest follow round the list. */
  readonly first: number;
}

/**
 * Writes the answer to `query` (whose message is `bytes`) into `out` and returns its length. What does not fit into `limit` is left out and the
 * answer marked truncated. `out` has room for `limit`, and for the question and an OPT record in any case.
 */
export function writeAnswer(out: Buffer, bytes: Uint8Array, query: Query, parts: AnswerParts, limit: number): number {
  const ednsLength = query.edns === undefined ? 0 : 11;
  let at = query.questionEnd;
  out.set(at === bytes.length ? bytes : bytes.subarray(0, at), 0);
  let flags = flagQr | flagRa | (query.flags & (flagRd | flagCd)) | (parts.rcode & 15);
  const { records } = parts;
  const total = Math.min(records.length, limits.maxAddresses);
  let written = 0;
  for (let i = parts.first; written < total; written++) {
    const record = records[i]!;
    if (at + record.length + ednsLength > limit) {
      flags |= flagTc;
      break;
    }
    out.set(record, at);
    at += record.length;
    if (++i === records.length) i = 0;
  }
  // the message may be another client's with the same question
  out[0] = query.id >> 8;
  out[1] = query.id & 255;
  out[2] = flags >> 8;
  out[3] = flags & 255;
  out[6] = written >> 8;
  out[7] = written & 255;
  out[8] = 0;
  out[9] = 0;
  out[10] = 0;
  out[11] = ednsLength === 0 ? 0 : 1;
  return query.edns === undefined ? at : writeEdns(out, at, query.edns, parts.rcode);
}

function writeEdns(out: Buffer, start: number, edns: Edns, code: number): number {
  out[start] = 0;
  out[start + 1] = 0;
  out[start + 2] = rrType.opt;
  out[start + 3] = limits.udpPayload >> 8;
  out[start + 4] = limits.udpPayload & 255;
  out[start + 5] = code >> 4;
  out[start + 6] = 0;
  out[start + 7] = edns.dnssecOk ? 0x80 : 0;
  out[start + 8] = 0;
  out[start + 9] = 0;
  out[start + 10] = 0;
  return start + 11;
}

/** The answer to a message that is no proper query: its header, without sections. */
export function writeError(out: Buffer, bytes: Uint8Array, code: number): number {
  out.fill(0, 0, headerLength);
  out[0] = bytes[0]!;
  out[1] = bytes[1]!;
  out[2] = 0x80 | (bytes[2]! & 0x79);
  out[3] = 0x80 | code;
  return headerLength;
}

/** A resource record whose owner is the name in the question (a pointer to offset 12). */
export function record(type: number, data: Uint8Array, ttlSeconds: number = limits.ttlSeconds): Uint8Array {
  const out = Buffer.alloc(12 + data.length);
  out.writeUInt16BE(0xc000 | headerLength, 0);
  out.writeUInt16BE(type, 2);
  out.writeUInt16BE(classIn, 4);
  out.writeUInt32BE(ttlSeconds, 6);
  out.writeUInt16BE(data.length, 10);
  out.set(data, 12);
  return out;
}

/** The key of a name in text ("db", "db.my-net"); undefined if it is none that DNS can carry. */
export function nameKey(text: string): string | undefined {
  const trimmed = text.endsWith(".") ? text.slice(0, -1) : text;
  if (trimmed === "") return undefined;
  let key = "";
  for (const label of trimmed.split(".")) {
    const bytes = Buffer.from(label, "utf8");
    if (bytes.length === 0 || bytes.length > 63) return undefined;
    for (let i = 0; i < bytes.length; i++) bytes[i] = lower[bytes[i]!]!;
    key += String.fromCharCode(bytes.length) + bytes.toString("latin1");
  }
  return key.length > 254 ? undefined : key;
}

/** A name as record data, letters as they are written. undefined: not a name. */
export function nameBytes(text: string): Uint8Array | undefined {
  if (nameKey(text) === undefined) return undefined;
  const labels = text.replace(/\.$/, "").split(".");
  return Buffer.concat([...labels.flatMap((label) => [Buffer.of(Buffer.byteLength(label)), Buffer.from(label)]), Buffer.of(0)]);
}

/** Truncated: the header and question of an answer that is too large for its client. */
export function truncated(answer: Uint8Array, questionEnd: number): Uint8Array {
  const out = Buffer.from(answer.subarray(0, questionEnd));
  out[2] = out[2]! | (flagTc >> 8);
  out.fill(0, 6, headerLength);
  return out;
}

export const isTruncated = (answer: Uint8Array): boolean => (answer[2]! & (flagTc >> 8)) !== 0;
export const answerCode = (answer: Uint8Array): number => answer[3]! & 15;

/**
 * Whether `answer` answers `query` (both whole messages, ids aside): an answer of opcode 0 to the same question, letter case aside.
 * Servers that report an error may leave the question out.
 */
export function answersQuestion(answer: Uint8Array, query: Uint8Array, questionEnd: number): boolean {
  if (answer.length < headerLength || (answer[2]! & 0xf8) !== 0x80) return false;
  if (answer[4] === 0 && answer[5] === 0) return answer.length === headerLength && answerCode(answer) !== rcode.noError;
  if (answer[4] !== 0 || answer[5] !== 1 || answer.length < questionEnd) return false;
  const nameEnd = questionEnd - 4;
  for (let i = headerLength; i < nameEnd; i++) if (lower[answer[i]!] !== lower[query[i]!]) return false;
  for (let i = nameEnd; i < questionEnd; i++) if (answer[i] !== query[i]) return false;
  return true;
}
