import { HOST_NS, objectKey } from "../plan/objects.js";
import type { Ledger } from "./ledger.js";
import { attributes, be32 } from "./netlink/codec.js";
import type { Visit } from "./netlink/socket.js";
import { NFGENMSG, NFNL_SUBSYS_NFTABLES, NFT_MSG_NEWGEN, NFTA_TABLE } from "./nft/tables.js";
import { familyName } from "./nft/values.js";

const NFTA_GEN = attributes({ NFTA_GEN_PROC_PID: [2, be32] });

/**
 * Changes of our tables in the host's namespace. Each transaction ends with NFT_MSG_NEWGEN, which names the thread that made it: so
 * libnftables' own socket, whose number it does not tell, is recognised as ours.
 */
export class NftEvents {
  readonly #ledger: Ledger;
  readonly #thread: number;
  readonly #ours = new Set<number>();
  /** sender → keys of the tables that it touched */
  readonly #touched = new Map<number, Set<string>>();

  constructor(ledger: Ledger, thread: number) {
    this.#ledger = ledger;
    this.#thread = thread;
  }

  /** True: there may be something to report. */
  visit(m: Parameters<Visit>[0]): boolean {
    if (m.type >> 8 !== NFNL_SUBSYS_NFTABLES) return false;
    if (m.type === NFT_MSG_NEWGEN) {
      if (NFTA_GEN.read(m.bytes, m.start + NFGENMSG, m.end).NFTA_GEN_PROC_PID === this.#thread) this.#ours.add(m.pid);
      return this.#touched.size > 0;
    }
    const family = familyName(m.bytes[m.start]!);
    // The table's name has the number 1 in all of these messages.
    const { NFTA_TABLE_NAME: table } = NFTA_TABLE.read(m.bytes, m.start + NFGENMSG, m.end);
    if (family === undefined || table === undefined) return false;
    const key = objectKey({ kind: "nftTable", ns: HOST_NS, family, table, text: "", hash: "" });
    const keys = this.#touched.get(m.pid);
    if (keys === undefined) this.#touched.set(m.pid, new Set([key]));
    else keys.add(key);
    return true;
  }

  /** Keys of our tables that others have touched since the last time. */
  take(): string[] {
    const out: string[] = [];
    for (const [sender, keys] of this.#touched)
      if (!this.#ours.has(sender)) for (const key of keys) if (this.#ledger.get(HOST_NS, "", key) !== undefined) out.push(key);
    this.#touched.clear();
    return out;
  }
}
