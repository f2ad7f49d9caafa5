import type { NftElement, NftValue } from "../plan/objects.js";
import type { Batch, Op } from "../plan/port.js";

/**
 * Batches as they cross to the kernel thread. Most of a large batch are elements of few sets, alike but for their values: these
 * travel as rows under one head, a third of the time of JSON with every name in every element.
 */
export type PackedBatch = readonly (Op | Rows)[];

interface Rows {
  readonly rows: "put" | "delete";
  /** An element of the set, with the types of its key and data and without values */
  readonly head: Pick<NftElement, "ns" | "family" | "table" | "set">;
  readonly key: readonly NftValue["type"][];
  readonly data: readonly NftValue["type"][] | undefined;
  /** For each element: the values of the key, of the data, the comment (0: none) */
  readonly values: (string | number)[];
}

export function packBatch(batch: Batch): PackedBatch {
  const out: (Op | Rows)[] = [];
  let open: Rows | undefined;
  for (const op of batch) {
    const { object } = op;
    if (object.kind !== "nftElement" || object.count !== undefined || (op.op === "put" && op.was !== undefined)) {
      out.push(op);
      open = undefined;
      continue;
    }
    if (open === undefined || !belongs(open, op.op, object)) {
      const { ns, family, table, set } = object;
      open = {
        rows: op.op,
        head: { ns, family, table, set },
        key: object.key.map(typeOf),
        data: object.data?.map(typeOf),
        values: [],
      };
      out.push(open);
    }
    const { values } = open;
    for (const v of object.key) values.push(v.value);
    if (object.data !== undefined) for (const v of object.data) values.push(v.value);
    values.push(object.comment ?? 0);
  }
  return out;
}

const typeOf = (v: NftValue): NftValue["type"] => v.type;

function belongs(rows: Rows, action: Op["op"], e: NftElement): boolean {
  const { head } = rows;
  return (
    rows.rows === action &&
    head.set === e.set &&
    head.table === e.table &&
    head.family === e.family &&
    head.ns === e.ns &&
    sameTypes(rows.key, e.key) &&
    (rows.data === undefined ? e.data === undefined : e.data !== undefined && sameTypes(rows.data, e.data))
  );
}

function sameTypes(types: readonly NftValue["type"][], values: readonly NftValue[]): boolean {
  if (types.length !== values.length) return false;
  for (let i = 0; i < types.length; i++) if (types[i] !== values[i]!.type) return false;
  return true;
}

export function unpackBatch(packed: PackedBatch): Batch {
  const out: Op[] = [];
  for (const item of packed) {
    if (!("rows" in item)) {
      out.push(item);
      continue;
    }
    const { rows, head, key, data, values } = item;
    const { ns, family, table, set } = head;
    for (let at = 0; at < values.length; ) {
      const keyValues = key.map((type) => ({ type, value: values[at++]! }) as NftValue);
      const dataValues = data?.map((type) => ({ type, value: values[at++]! }) as NftValue);
      const comment = values[at++]!;
      const object: NftElement = {
        kind: "nftElement",
        ns,
        family,
        table,
        set,
        key: keyValues,
        ...(dataValues === undefined ? {} : { data: dataValues }),
        ...(typeof comment === "string" ? { comment } : {}),
      };
      out.push({ op: rows, object });
    }
  }
  return out;
}
