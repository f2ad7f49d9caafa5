import { ENOENT } from "./errno.js";
import { AF_INET, AF_INET6 } from "./ffi.js";
import { attributes, be16, eachAttribute, ip, NLA_F_NESTED, u8, u32 } from "./netlink/codec.js";
import { NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from "./netlink/constants.js";
import type { NetlinkSocket } from "./netlink/socket.js";
import { Writer } from "./netlink/writer.js";
import { NFGENMSG, NFNL_SUBSYS_CTNETLINK } from "./nft/tables.js";

/** linux/netfilter/nfnetlink_conntrack.h */
const IPCTNL_MSG_CT_NEW = NFNL_SUBSYS_CTNETLINK << 8;
const IPCTNL_MSG_CT_GET = IPCTNL_MSG_CT_NEW | 1;
const IPCTNL_MSG_CT_DELETE = IPCTNL_MSG_CT_NEW | 2;
const CTA_TUPLE_ORIG = 1;
const CTA_ID = 12;
const CTA_ZONE = 18;

const CTA_TUPLE = attributes({
  CTA_TUPLE_IP: [
    1,
    attributes({ CTA_IP_V4_SRC: [1, ip], CTA_IP_V4_DST: [2, ip], CTA_IP_V6_SRC: [3, ip], CTA_IP_V6_DST: [4, ip] }),
  ],
  CTA_TUPLE_PROTO: [2, attributes({ CTA_PROTO_NUM: [1, u8], CTA_PROTO_SRC_PORT: [2, be16], CTA_PROTO_DST_PORT: [3, be16] })],
});
const CTA = attributes({ CTA_TUPLE_ORIG: [CTA_TUPLE_ORIG, CTA_TUPLE], CTA_TUPLE_REPLY: [2, CTA_TUPLE], CTA_ID: [CTA_ID, u32] });

/** All that is given must match. `ip`: any of the four addresses; `dport`: the port that the first packet was sent to. */
export interface ConntrackMatch {
  readonly ip?: string;
  readonly proto?: "tcp" | "udp" | "sctp";
  readonly dport?: number;
  /** Absent: `dport` only. */
  readonly dportLast?: number;
}

const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132 } as const;

/** Deletes the matching entries of the socket's namespace; returns how many there were. An empty match is refused: it would be all. */
export function flushConntrack(socket: NetlinkSocket, match: ConntrackMatch): number {
  if (match.ip === undefined && match.dport === undefined) return 0;
  const doomed: { readonly family: number; readonly attributes: Buffer }[] = [];
  for (const family of [AF_INET, AF_INET6]) {
    if (match.ip !== undefined && match.ip.includes(":") !== (family === AF_INET6)) continue;
    const before = doomed.length;
    socket.dump(
      (w) => w.message(IPCTNL_MSG_CT_GET, NLM_F_REQUEST | NLM_F_DUMP, () => nfgenmsg(w, family)),
      "conntrack list",
      (m) => {
        const from = m.start + NFGENMSG;
        if (m.type === IPCTNL_MSG_CT_NEW && matches(CTA.read(m.bytes, from, m.end), match))
          doomed.push({ family, attributes: identity(m.bytes, from, m.end) });
      },
      () => {
        doomed.length = before;
      },
    );
  }
  // The identity with its id, so that an entry made anew meanwhile stays; in pieces, as one send has a limit.
  for (let at = 0; at < doomed.length; at += 500) {
    const w = new Writer(64 * 1024);
    for (const entry of doomed.slice(at, at + 500))
      w.message(IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, () => {
        nfgenmsg(w, entry.family);
        w.bytes(entry.attributes);
      });
    socket.get(w, "conntrack delete", () => undefined, [ENOENT]);
  }
  return doomed.length;
}

function matches(entry: ReturnType<typeof CTA.read>, match: ConntrackMatch): boolean {
  const { CTA_TUPLE_ORIG: orig, CTA_TUPLE_REPLY: reply } = entry;
  if (match.ip !== undefined) {
    const addresses = [orig, reply].flatMap((tuple) => Object.values(tuple?.CTA_TUPLE_IP ?? {}));
    if (!addresses.includes(match.ip)) return false;
  }
  if (match.proto !== undefined && orig?.CTA_TUPLE_PROTO?.CTA_PROTO_NUM !== PROTOCOLS[match.proto]) return false;
  if (match.dport === undefined) return true;
  const port = orig?.CTA_TUPLE_PROTO?.CTA_PROTO_DST_PORT;
  return port !== undefined && port >= match.dport && port <= (match.dportLast ?? match.dport);
}

/** What names an entry to the kernel, copied as it came. */
function identity(b: Buffer, start: number, end: number): Buffer {
  const w = new Writer(256);
  eachAttribute(b, start, end, (number, from, to) => {
    if (number !== CTA_TUPLE_ORIG && number !== CTA_ID && number !== CTA_ZONE) return;
    const at = w.beginAttribute(number === CTA_TUPLE_ORIG ? number | NLA_F_NESTED : number);
    w.bytes(b.subarray(from, to));
    w.endAttribute(at);
  });
  return Buffer.from(w.finish(0));
}

function nfgenmsg(w: Writer, family: number): void {
  w.u8(family);
  w.u8(0);
  w.u16(0);
}
