import type { FdbEntry, Neighbour, NsRef } from "../../plan/objects.js";
import { AF_INET, AF_INET6 } from "../ffi.js";
import { RTPROT_LINKSPAN } from "../marks.js";
import { attributes, ip, mac, u8, u32 } from "../netlink/codec.js";
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST } from "../netlink/constants.js";
import type { NetlinkSocket } from "../netlink/socket.js";
import type { Writer } from "../netlink/writer.js";
import {
  AF_BRIDGE,
  AF_UNSPEC,
  NTF_MASTER,
  NTF_PROXY,
  NTF_SELF,
  NUD_NOARP,
  NUD_PERMANENT,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
} from "./constants.js";
import { NDMSG, writeNdmsg } from "./headers.js";

const NDA = attributes({
  NDA_DST: [1, ip],
  NDA_LLADDR: [2, mac],
  NDA_MASTER: [9, u32],
  NDA_PROTOCOL: [12, u8],
});

const ALL_ZEROS = "00:00:00:00:00:00";

export function writeNeigh(w: Writer, n: Neighbour, index: number): void {
  w.message(RTM_NEWNEIGH, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_REPLACE, () => {
    writeNdmsg(w, { family: familyOf(n.ip), index, state: NUD_PERMANENT, flags: n.proxy ? NTF_PROXY : 0 });
    NDA.write(w, { NDA_DST: n.ip, ...(n.mac === undefined ? {} : { NDA_LLADDR: n.mac }), NDA_PROTOCOL: RTPROT_LINKSPAN });
  });
}

export function writeDeleteNeigh(w: Writer, n: Neighbour, index: number): void {
  w.message(RTM_DELNEIGH, NLM_F_REQUEST, () => {
    writeNdmsg(w, { family: familyOf(n.ip), index, flags: n.proxy ? NTF_PROXY : 0 });
    NDA.write(w, { NDA_DST: n.ip });
  });
}

const familyOf = (address: string): number => (address.includes(":") ? AF_INET6 : AF_INET);

/**
 * The VXLAN device's own entry has `dst`; the bridge's entry for the port has none. With both `dst` and `master` it is one of each:
 * they take different states (the device wants "permanent", which for a bridge means an address of its own).
 */
const halves = (f: FdbEntry): readonly ("self" | "master")[] =>
  f.dst === undefined ? ["master"] : f.master ? ["self", "master"] : ["self"];

export function writeFdb(w: Writer, f: FdbEntry, index: number): number {
  for (const half of halves(f)) {
    // Flooding lists several remotes under the all-zero address: each is added to the others.
    const how = half === "self" && f.mac === ALL_ZEROS ? NLM_F_APPEND : NLM_F_REPLACE;
    w.message(RTM_NEWNEIGH, NLM_F_REQUEST | NLM_F_CREATE | how, () => {
      writeNdmsg(w, {
        family: AF_BRIDGE,
        index,
        state: half === "self" ? NUD_PERMANENT : NUD_NOARP,
        flags: half === "self" ? NTF_SELF : NTF_MASTER,
      });
      NDA.write(w, { NDA_LLADDR: f.mac, ...(half === "self" && f.dst !== undefined ? { NDA_DST: f.dst } : {}) });
    });
  }
  return halves(f).length;
}

export function writeDeleteFdb(w: Writer, f: FdbEntry, index: number): number {
  for (const half of halves(f))
    w.message(RTM_DELNEIGH, NLM_F_REQUEST, () => {
      writeNdmsg(w, { family: AF_BRIDGE, index, flags: half === "self" ? NTF_SELF : NTF_MASTER });
      NDA.write(w, { NDA_LLADDR: f.mac, ...(half === "self" && f.dst !== undefined ? { NDA_DST: f.dst } : {}) });
    });
  return halves(f).length;
}

export interface SeenNeigh {
  readonly index: number;
  readonly ours: boolean;
  readonly object: Neighbour;
}

export function readNeigh(
  b: Buffer,
  start: number,
  end: number,
  ns: NsRef,
  nameOf: (index: number) => string,
): SeenNeigh | undefined {
  const values = NDA.read(b, start + NDMSG, end);
  if (values.NDA_DST === undefined || b[start] === AF_BRIDGE) return undefined;
  const index = b.readInt32LE(start + 4);
  const proxy = (b[start + 10]! & NTF_PROXY) !== 0;
  return {
    index,
    ours: values.NDA_PROTOCOL === RTPROT_LINKSPAN,
    object: {
      kind: "neigh",
      ns,
      dev: nameOf(index),
      ip: values.NDA_DST,
      ...(proxy ? { proxy } : values.NDA_LLADDR === undefined ? {} : { mac: values.NDA_LLADDR }),
    },
  };
}

/** Which forwarding entry a notification is about: that of a bridge's port, or (with `dst`) a VXLAN device's own. */
export function readFdbKey(
  b: Buffer,
  start: number,
  end: number,
  ns: NsRef,
  nameOf: (index: number) => string,
): FdbEntry | undefined {
  if (b[start] !== AF_BRIDGE) return undefined;
  const { NDA_LLADDR: mac, NDA_DST: dst } = NDA.read(b, start + NDMSG, end);
  if (mac === undefined) return undefined;
  return { kind: "fdb", ns, dev: nameOf(b.readInt32LE(start + 4)), mac, ...(dst === undefined ? { master: true } : { dst }) };
}

/** Permanent and proxy entries with our mark. */
export function dumpNeighs(socket: NetlinkSocket, ns: NsRef, nameOf: (index: number) => string): Neighbour[] {
  const out: Neighbour[] = [];
  for (const flags of [0, NTF_PROXY]) {
    const before = out.length;
    socket.dump(
      (w) => w.message(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, () => writeNdmsg(w, { family: AF_UNSPEC, flags })),
      "neigh show",
      (m) => {
        if (m.type !== RTM_NEWNEIGH) return;
        const seen = readNeigh(m.bytes, m.start, m.end, ns, nameOf);
        if (seen?.ours) out.push(seen.object);
      },
      () => {
        out.length = before;
      },
    );
  }
  return out;
}

/** Entries that somebody has put (not learned, not a device's own address) on the devices for which `wanted` says so. */
export function dumpFdb(
  socket: NetlinkSocket,
  ns: NsRef,
  nameOf: (index: number) => string,
  wanted: (index: number) => boolean,
): FdbEntry[] {
  const self: FdbEntry[] = [];
  const master: FdbEntry[] = [];
  socket.dump(
    (w) => w.message(RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, () => writeNdmsg(w, { family: AF_BRIDGE })),
    "fdb show",
    (m) => {
      const { bytes: b, start } = m;
      if (m.type !== RTM_NEWNEIGH || b[start] !== AF_BRIDGE) return;
      const index = b.readInt32LE(start + 4);
      if (!wanted(index)) return;
      const state = b.readUInt16LE(start + 8);
      const values = NDA.read(b, start + NDMSG, m.end);
      if (values.NDA_LLADDR === undefined) return;
      const entry: FdbEntry = { kind: "fdb", ns, dev: nameOf(index), mac: values.NDA_LLADDR };
      if (values.NDA_DST !== undefined && state & NUD_PERMANENT) self.push({ ...entry, dst: values.NDA_DST });
      else if (values.NDA_MASTER !== undefined && state & NUD_NOARP) master.push({ ...entry, master: true });
    },
    () => {
      self.length = 0;
      master.length = 0;
    },
  );
  const bridged = new Map(master.map((entry) => [`${entry.dev}|${entry.mac}`, entry]));
  const out = self.map((entry) => (bridged.delete(`${entry.dev}|${entry.mac}`) ? { ...entry, master: true } : entry));
  return [...out, ...bridged.values()];
}
