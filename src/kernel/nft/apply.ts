import { KernelError } from "../../base/errors.js";
import { HOST_NS, type NftElement, type NftTable, type NsRef } from "../../plan/objects.js";
import type { Op } from "../../plan/port.js";
import type { Place } from "../apply.js";
import { EINVAL } from "../errno.js";
import type { NamespacePool } from "../namespace-pool.js";
import type { Refused } from "../netlink/socket.js";
import { dumpSets, type SeenSet, tableId } from "./dump.js";
import { changeElements, type ElementChange, isPlain } from "./elements.js";
import { NftContext } from "./library.js";
import { NFT_SET_INTERVAL } from "./tables.js";
import { addElement, deleteElement, deleteTable, elementFault, replaceTable, tableFault } from "./text.js";

/** A reloaded table takes its elements along in the same transaction, so that no packet meets it empty; beyond this many it would hold up everything else. */
const ELEMENTS_WITH_TABLE = 2_000;

export interface NftOp {
  readonly op: Op;
  readonly place: Place;
}
type Fail = (place: Place, why: Refused) => void;

interface TableOp extends NftOp {
  readonly table: NftTable;
}
interface ElementOp extends NftOp {
  readonly element: NftElement;
}

const NOTHING = { ns: "?", family: "", table: "", set: "", interval: false };

/** Our tables and their elements: whole tables by libnftables, plain elements by nfnetlink, what is not plain by libnftables. */
export class Nftables {
  readonly #pool: NamespacePool;
  readonly #host = new NftContext();
  /** ns → set → what it is; forgotten when a table of that namespace is loaded. */
  readonly #sets = new Map<NsRef, Map<string, SeenSet>>();

  /** The set of the last element asked about: elements come in runs. */
  #last = NOTHING;

  constructor(pool: NamespacePool) {
    this.#pool = pool;
  }

  /** All ops of one batch in one namespace. */
  apply(ns: NsRef, ops: readonly NftOp[], fail: Fail): void {
    const tables: TableOp[] = [];
    let elements: ElementOp[] = [];
    for (const item of ops) {
      const { object } = item.op;
      if (object.kind === "nftTable") {
        const fault = tableFault(object);
        if (fault === undefined) tables.push({ op: item.op, place: item.place, table: object });
        else fail(item.place, { errno: EINVAL, extAck: fault });
      } else if (object.kind === "nftElement") {
        const fault = elementFault(object);
        if (fault === undefined) elements.push({ op: item.op, place: item.place, element: object });
        else fail(item.place, { errno: EINVAL, extAck: fault });
      }
    }
    if (tables.length > 0) elements = this.#tables(ns, tables, elements, fail);
    if (elements.length > 0) this.#elements(ns, elements, fail);
  }

  forget(ns: NsRef): void {
    this.#last = NOTHING;
    this.#sets.delete(ns);
  }

  close(): void {
    this.#host.close();
  }

  /** Returns the elements that are still to be put. */
  #tables(ns: NsRef, tables: readonly TableOp[], elements: readonly ElementOp[], fail: Fail): ElementOp[] {
    this.forget(ns);
    const loaded = new Set(tables.filter(({ op }) => op.op === "put").map(({ table }) => tableId(table)));
    const riding = elements.filter(({ op, element }) => op.op === "put" && loaded.has(tableId(element)));
    const count = riding.reduce((sum, { element }) => sum + (element.count ?? 1), 0);
    const along = count <= ELEMENTS_WITH_TABLE ? riding : [];
    const text = tables.map(tableText).join("") + along.map(({ element }) => addElement(element)).join("");
    if (this.#attempt(ns, text, "nft load") === undefined) {
      const done = new Set(along);
      return elements.filter((item) => !done.has(item));
    }
    // One of them is at fault: each for itself tells which, and the others are not its hostages.
    for (const item of tables) {
      const why = this.#attempt(ns, tableText(item), "nft load");
      if (why !== undefined) fail(item.place, why);
    }
    return [...elements];
  }

  #elements(ns: NsRef, items: readonly ElementOp[], fail: Fail): void {
    const changes: ElementChange[] = [];
    const owners: ElementOp[] = [];
    const complex: ElementOp[] = [];
    for (const item of items) {
      const { op, element } = item;
      if (!isPlain(element) || this.#isInterval(ns, element)) complex.push(item);
      else if (op.op === "delete") {
        changes.push({ action: "delete", element, tolerant: true });
        owners.push(item);
      } else {
        if (op.was?.kind === "nftElement") {
          changes.push({ action: "delete", element: op.was, tolerant: true });
          owners.push(item);
        }
        changes.push({ action: "add", element, tolerant: false });
        owners.push(item);
      }
    }
    if (changes.length > 0)
      for (const [index, why] of changeElements(this.#pool.netfilter(ns), changes)) fail(owners[index]!.place, why);
    if (complex.length > 0) this.#complex(ns, complex, fail);
  }

  #complex(ns: NsRef, items: readonly ElementOp[], fail: Fail): void {
    if (
      this.#attempt(ns, items.map(({ op, element }) => elementChangeText(op, element)).join(""), "nft change elements") ===
      undefined
    )
      return;
    for (const { op, element, place } of items) {
      const why = this.#attempt(ns, elementChangeText(op, element), "nft change element");
      if (why === undefined) continue;
      // Gone already, or there already: what a removal or an addition wants.
      if (op.op === "delete" ? why.errno === 2 : why.errno === 17 && op.was === undefined) continue;
      fail(place, why);
    }
  }

  #isInterval(ns: NsRef, e: NftElement): boolean {
    const last = this.#last;
    if (last.ns === ns && last.set === e.set && last.table === e.table && last.family === e.family) return last.interval;
    const interval = this.#findInterval(ns, e);
    this.#last = { ns, family: e.family, table: e.table, set: e.set, interval };
    return interval;
  }

  #findInterval(ns: NsRef, e: NftElement): boolean {
    const id = `${tableId(e)} ${e.set}`;
    let sets = this.#sets.get(ns);
    if (sets === undefined || !sets.has(id)) {
      sets = new Map(dumpSets(this.#pool.netfilter(ns)).map((set) => [`${tableId(set)} ${set.name}`, set]));
      this.#sets.set(ns, sets);
    }
    return ((sets.get(id)?.flags ?? 0) & NFT_SET_INTERVAL) !== 0;
  }

  #attempt(ns: NsRef, text: string, operation: string): Refused | undefined {
    try {
      if (ns === HOST_NS) this.#host.run(text, operation);
      else
        this.#pool.inside(ns, () => {
          const context = new NftContext();
          try {
            context.run(text, operation);
          } finally {
            context.close();
          }
        });
      return undefined;
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      return error.extAck === undefined ? { errno: error.errno } : { errno: error.errno, extAck: error.extAck };
    }
  }
}

const tableText = ({ op, table }: TableOp): string => (op.op === "delete" ? deleteTable(table) : replaceTable(table));

function elementChangeText(op: Op, element: NftElement): string {
  if (op.op === "delete") return deleteElement(element);
  return (op.was?.kind === "nftElement" ? deleteElement(op.was) : "") + addElement(element);
}
