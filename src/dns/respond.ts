import { limits } from "./limits.js";
import { isSupportedClass, parseQuery, type Query, rcode, rrType, udpLimit, writeAnswer, writeError } from "./message.js";
import type { NameTables, View } from "./names.js";

export interface RespondOptions {
  readonly tables: NameTables;
  readonly view: View;
  readonly tcp: boolean;
  /** Questions about names that are not ours may go upstream. */
  readonly forward: boolean;
}

/**
 * What to do with one message from a container: a number is the length of the answer in `out` (0: no answer at all), a query is to be forwarded.
 * `out` has at least 64 KiB.
 */
export function respond(out: Buffer, bytes: Uint8Array, options: RespondOptions): number | Query {
  const query = parseQuery(bytes);
  if (query === undefined) return 0;
  if ("error" in query) return writeError(out, bytes, query.error);
  const limit = options.tcp ? limits.maxMessage : udpLimit(query);
  if (query.edns !== undefined && query.edns.version !== 0) return writeCode(out, bytes, query, rcode.badVers);
  if (!isSupportedClass(query) || query.type === rrType.axfr || query.type === rrType.ixfr)
    return writeCode(out, bytes, query, rcode.refused);
  const answer = options.tables.resolve(options.view, query.key, query.type);
  if (answer !== undefined) return writeAnswer(out, bytes, query, answer, limit);
  return options.forward ? query : writeCode(out, bytes, query, rcode.refused);
}

/** An answer that is only a code. */
export function writeCode(out: Buffer, bytes: Uint8Array, query: Query, code: number): number {
  return writeAnswer(out, bytes, query, { rcode: code, records: [], first: 0 }, limits.maxMessage);
}
