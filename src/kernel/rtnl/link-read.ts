import { ENODEV } from "../errno.js";
import { eachAttribute, text } from "../netlink/codec.js";
import { NLM_F_DUMP, NLM_F_REQUEST } from "../netlink/constants.js";
import type { NetlinkSocket } from "../netlink/socket.js";
import { Writer } from "../netlink/writer.js";
import { IFF_UP, RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, RTM_NEWLINK } from "./constants.js";
import { IFINFOMSG, readIfinfomsg, writeIfinfomsg } from "./headers.js";
import { writeGet } from "./link.js";
import { IFLA, type LinkValues } from "./link-tables.js";

/** A link as the kernel shows it. */
export interface SeenLink {
  readonly index: number;
  readonly up: boolean;
  readonly name: string;
  readonly group: number;
  readonly kind: string;
  readonly values: LinkValues;
}

export function readLink(bytes: Buffer, start: number, end: number): SeenLink {
  const header = readIfinfomsg(bytes, start);
  const values = IFLA.read(bytes, start + IFINFOMSG, end);
  return {
    index: header.index,
    up: (header.flags & IFF_UP) !== 0,
    name: values.IFLA_IFNAME ?? "",
    group: values.IFLA_GROUP ?? 0,
    kind: values.IFLA_LINKINFO?.IFLA_INFO_KIND ?? "",
    values,
  };
}

/** Whose link a notification is about, without reading the other sixty attributes: for an endpoint come some thirty of them. */
export function readLinkName(bytes: Buffer, start: number, end: number): Pick<SeenLink, "index" | "name" | "group"> {
  let name = "";
  let group = 0;
  eachAttribute(bytes, start + IFINFOMSG, end, (number, from, to) => {
    if (number === NAME) name = text.read(bytes, from, to);
    else if (number === GROUP) group = bytes.readUInt32LE(from);
  });
  return { index: readIfinfomsg(bytes, start).index, name, group };
}

const [NAME] = IFLA.table.IFLA_IFNAME;
const [GROUP] = IFLA.table.IFLA_GROUP;

/** All links of the socket's namespace, without statistics. */
export function dumpLinks(socket: NetlinkSocket): SeenLink[] {
  const out: SeenLink[] = [];
  socket.dump(
    (w) =>
      w.message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, () => {
        writeIfinfomsg(w, {});
        IFLA.write(w, { IFLA_EXT_MASK: RTEXT_FILTER_SKIP_STATS });
      }),
    "link show",
    (m) => {
      if (m.type === RTM_NEWLINK) out.push(readLink(m.bytes, m.start, m.end));
    },
    () => {
      out.length = 0;
    },
  );
  return out;
}

/** The links asked for that exist, in one round trip; by name or by index. */
export function getLinks(
  socket: NetlinkSocket,
  targets: readonly ({ readonly name: string } | { readonly index: number })[],
): SeenLink[] {
  const out: SeenLink[] = [];
  if (targets.length === 0) return out;
  const w = new Writer(targets.length * 64);
  for (const target of targets) writeGet(w, target);
  socket.get(
    w,
    "link show",
    (m) => {
      if (m.type === RTM_NEWLINK) out.push(readLink(m.bytes, m.start, m.end));
    },
    [ENODEV],
  );
  return out;
}

export const getLink = (
  socket: NetlinkSocket,
  target: { readonly name: string } | { readonly index: number },
): SeenLink | undefined => getLinks(socket, [target])[0];
