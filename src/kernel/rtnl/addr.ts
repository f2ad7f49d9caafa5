import type { Address, NsRef } from "../../plan/objects.js";
import { AF_INET, AF_INET6 } from "../ffi.js";
import { RTPROT_LINKSPAN } from "../marks.js";
import { attributes, ip, u8, u32 } from "../netlink/codec.js";
import { NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST } from "../netlink/constants.js";
import type { NetlinkSocket } from "../netlink/socket.js";
import type { Writer } from "../netlink/writer.js";
import {
  IFA_F_NODAD,
  RT_SCOPE_HOST,
  RT_SCOPE_LINK,
  RT_SCOPE_UNIVERSE,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_NEWADDR,
} from "./constants.js";
import { IFADDRMSG, writeIfaddrmsg } from "./headers.js";

const IFA = attributes({
  IFA_ADDRESS: [1, ip],
  IFA_LOCAL: [2, ip],
  IFA_BROADCAST: [4, ip],
  IFA_FLAGS: [8, u32],
  IFA_PROTO: [11, u8],
});

const SCOPES = { global: RT_SCOPE_UNIVERSE, link: RT_SCOPE_LINK, host: RT_SCOPE_HOST } as const;
export const scopeNumber = (scope: keyof typeof SCOPES): number => SCOPES[scope];
export const scopeName = (scope: number): "link" | "host" | undefined =>
  scope === RT_SCOPE_LINK ? "link" : scope === RT_SCOPE_HOST ? "host" : undefined;

export function splitPrefix(text: string): { readonly address: string; readonly length: number; readonly family: number } {
  const slash = text.indexOf("/");
  const address = text.slice(0, slash);
  return { address, length: Number(text.slice(slash + 1)), family: address.includes(":") ? AF_INET6 : AF_INET };
}

/** `replace`: an address that is there already is no error (EEXIST), its flags become these. */
export function writeAddr(w: Writer, a: Address, index: number, options: { readonly replace: boolean }): void {
  const { address, length, family } = splitPrefix(a.address);
  w.message(RTM_NEWADDR, NLM_F_REQUEST | NLM_F_CREATE | (options.replace ? NLM_F_REPLACE : NLM_F_EXCL), () => {
    writeIfaddrmsg(w, { family, prefixLength: length, scope: scopeNumber(a.scope ?? "global"), index });
    IFA.write(w, {
      IFA_LOCAL: address,
      IFA_ADDRESS: address,
      ...(a.broadcast === undefined ? {} : { IFA_BROADCAST: a.broadcast }),
      ...(a.nodad && family === AF_INET6 ? { IFA_FLAGS: IFA_F_NODAD } : {}),
      IFA_PROTO: RTPROT_LINKSPAN,
    });
  });
}

export function writeDeleteAddr(w: Writer, a: Address, index: number): void {
  const { address, length, family } = splitPrefix(a.address);
  w.message(RTM_DELADDR, NLM_F_REQUEST, () => {
    writeIfaddrmsg(w, { family, prefixLength: length, scope: 0, index });
    IFA.write(w, { IFA_LOCAL: address, IFA_ADDRESS: address });
  });
}

export interface SeenAddress {
  readonly index: number;
  readonly ours: boolean;
  /** With the flags as far as the object has them; `dev` is empty */
  readonly object: Address;
}

export function readAddr(b: Buffer, start: number, end: number, ns: NsRef, dev: string): SeenAddress {
  const family = b[start]!;
  const values = IFA.read(b, start + IFADDRMSG, end);
  // IPv6 derives the scope from the address, so it is no property of the object.
  const scope = family === AF_INET ? scopeName(b[start + 3]!) : undefined;
  return {
    index: b.readUInt32LE(start + 4),
    ours: values.IFA_PROTO === RTPROT_LINKSPAN,
    object: {
      kind: "addr",
      ns,
      dev,
      address: `${values.IFA_LOCAL ?? values.IFA_ADDRESS}/${b[start + 1]}`,
      ...(values.IFA_BROADCAST === undefined ? {} : { broadcast: values.IFA_BROADCAST }),
      ...(scope === undefined ? {} : { scope }),
      ...(family === AF_INET6 && (values.IFA_FLAGS ?? 0) & IFA_F_NODAD ? { nodad: true } : {}),
    },
  };
}

export function dumpAddrs(socket: NetlinkSocket, ns: NsRef, nameOf: (index: number) => string): SeenAddress[] {
  const out: SeenAddress[] = [];
  socket.dump(
    (w) =>
      w.message(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, () =>
        writeIfaddrmsg(w, { family: 0, prefixLength: 0, scope: 0, index: 0 }),
      ),
    "address show",
    (m) => {
      if (m.type === RTM_NEWADDR) out.push(readAddr(m.bytes, m.start, m.end, ns, nameOf(m.bytes.readUInt32LE(m.start + 4))));
    },
    () => {
      out.length = 0;
    },
  );
  return out;
}
