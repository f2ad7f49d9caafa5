import { bytesToIp } from "../../base/ip.js";
import type { NsRef, Route } from "../../plan/objects.js";
import { AF_INET, AF_INET6 } from "../ffi.js";
import { RTPROT_LINKSPAN } from "../marks.js";
import { addressBytes, attributes, bytes, ip, u32 } from "../netlink/codec.js";
import { NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST } from "../netlink/constants.js";
import type { NetlinkSocket } from "../netlink/socket.js";
import type { Writer } from "../netlink/writer.js";
import { scopeName, scopeNumber, splitPrefix } from "./addr.js";
import {
  IP6_RT_PRIO_USER,
  RT_SCOPE_NOWHERE,
  RT_SCOPE_UNIVERSE,
  RT_TABLE_MAIN,
  RTM_DELROUTE,
  RTM_F_CLONED,
  RTM_GETROUTE,
  RTM_NEWROUTE,
  RTN_BLACKHOLE,
  RTN_UNICAST,
  RTN_UNREACHABLE,
  RTNH_F_ONLINK,
} from "./constants.js";
import { RTMSG, writeRtmsg } from "./headers.js";

const RTA = attributes({
  RTA_DST: [1, ip],
  RTA_OIF: [4, u32],
  RTA_GATEWAY: [5, ip],
  RTA_PRIORITY: [6, u32],
  RTA_PREFSRC: [7, ip],
  RTA_TABLE: [15, u32],
  /** rtvia: a u16 family, then the address; a gateway of the other family */
  RTA_VIA: [18, bytes],
});

const TYPES = { unicast: RTN_UNICAST, blackhole: RTN_BLACKHOLE, unreachable: RTN_UNREACHABLE } as const;

/** As ip-route(8): link for an IPv4 route straight to a device, else global. */
export const defaultScope = (r: Route): "global" | "link" =>
  !r.dst.includes(":") && r.via === undefined && (r.type ?? "unicast") === "unicast" ? "link" : "global";

/** `index` of `dev`, if it has one. `replace`: takes the place of a route to the same prefix with the same metric. */
export function writeRoute(w: Writer, r: Route, index: number | undefined, options: { readonly replace: boolean }): void {
  const { family } = splitPrefix(r.dst);
  w.message(RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_CREATE | (options.replace ? NLM_F_REPLACE : NLM_F_EXCL), () => {
    writeRouteHeader(w, r, {
      scope: family === AF_INET6 ? RT_SCOPE_UNIVERSE : scopeNumber(r.scope ?? defaultScope(r)),
      type: TYPES[r.type ?? "unicast"],
    });
    writeRouteAttributes(w, r, index);
  });
}

export function writeDeleteRoute(w: Writer, r: Route, index: number | undefined): void {
  w.message(RTM_DELROUTE, NLM_F_REQUEST, () => {
    writeRouteHeader(w, r, { scope: RT_SCOPE_NOWHERE, type: r.type === undefined ? 0 : TYPES[r.type] });
    // The preferred source is no part of a route's identity, and one that has lost it meanwhile must go as well.
    const { src: _, ...rest } = r;
    writeRouteAttributes(w, rest, index);
  });
}

function writeRouteHeader(w: Writer, r: Route, h: { readonly scope: number; readonly type: number }): void {
  const { length, family } = splitPrefix(r.dst);
  const table = r.table ?? RT_TABLE_MAIN;
  writeRtmsg(w, {
    family,
    dstLength: length,
    table: table < 256 ? table : 0,
    protocol: RTPROT_LINKSPAN,
    scope: h.scope,
    type: h.type,
    flags: r.onlink ? RTNH_F_ONLINK : 0,
  });
}

function writeRouteAttributes(w: Writer, r: Route, index: number | undefined): void {
  const { address, length, family } = splitPrefix(r.dst);
  const foreignVia = r.via?.includes(":") && family === AF_INET;
  RTA.write(w, {
    ...(length === 0 ? {} : { RTA_DST: address }),
    ...(index === undefined ? {} : { RTA_OIF: index }),
    ...(r.via === undefined || foreignVia ? {} : { RTA_GATEWAY: r.via }),
    ...(foreignVia ? { RTA_VIA: viaBytes(r.via!) } : {}),
    ...(r.metric === undefined ? {} : { RTA_PRIORITY: r.metric }),
    ...(r.src === undefined ? {} : { RTA_PREFSRC: r.src }),
    RTA_TABLE: r.table ?? RT_TABLE_MAIN,
  });
}

function viaBytes(via: string): Uint8Array {
  const out = Buffer.alloc(18);
  out.writeUInt16LE(AF_INET6, 0);
  out.set(addressBytes(via), 2);
  return out;
}

export interface SeenRoute {
  readonly ours: boolean;
  readonly table: number;
  readonly type: number;
  readonly object: Route;
}

export function readRoute(
  b: Buffer,
  start: number,
  end: number,
  ns: NsRef,
  nameOf: (index: number) => string,
): SeenRoute | undefined {
  const family = b[start]!;
  const flags = b.readUInt32LE(start + 8);
  if ((family !== AF_INET && family !== AF_INET6) || flags & RTM_F_CLONED) return undefined;
  const values = RTA.read(b, start + RTMSG, end);
  const table = values.RTA_TABLE ?? b[start + 4]!;
  const type = b[start + 7]!;
  const via = values.RTA_GATEWAY ?? (values.RTA_VIA?.length === 18 ? bytesToIp(values.RTA_VIA.subarray(2)) : undefined);
  const metric = values.RTA_PRIORITY ?? 0;
  const anywhere = family === AF_INET ? "0.0.0.0" : "::";
  const unicast = type === RTN_UNICAST;
  const object: Route = {
    kind: "route",
    ns,
    dst: `${values.RTA_DST ?? anywhere}/${b[start + 1]}`,
    // The kernel ties an IPv6 blackhole to lo.
    ...(values.RTA_OIF === undefined || !unicast ? {} : { dev: nameOf(values.RTA_OIF) }),
    ...(via === undefined ? {} : { via }),
    ...(values.RTA_PREFSRC === undefined ? {} : { src: values.RTA_PREFSRC }),
    ...(metric === 0 || (family === AF_INET6 && metric === IP6_RT_PRIO_USER) ? {} : { metric }),
    ...(flags & RTNH_F_ONLINK ? { onlink: true } : {}),
    ...(type === RTN_BLACKHOLE
      ? { type: "blackhole" as const }
      : type === RTN_UNREACHABLE
        ? { type: "unreachable" as const }
        : {}),
    ...(table === RT_TABLE_MAIN ? {} : { table }),
  };
  const scope = family === AF_INET6 ? "global" : (scopeName(b[start + 6]!) ?? "global");
  return {
    ours: b[start + 5] === RTPROT_LINKSPAN,
    table,
    type,
    object: family === AF_INET6 || scope === defaultScope(object) ? object : { ...object, scope },
  };
}

/** `oursOnly` lets the kernel filter by protocol (needs strict checking on the socket). Both families. */
export function dumpRoutes(
  socket: NetlinkSocket,
  ns: NsRef,
  nameOf: (index: number) => string,
  options: { readonly oursOnly: boolean },
): SeenRoute[] {
  const out: SeenRoute[] = [];
  for (const family of [AF_INET, AF_INET6]) {
    const before = out.length;
    socket.dump(
      (w) =>
        w.message(RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, () =>
          writeRtmsg(w, { family, protocol: options.oursOnly ? RTPROT_LINKSPAN : 0 }),
        ),
      "route show",
      (m) => {
        const route = m.type === RTM_NEWROUTE ? readRoute(m.bytes, m.start, m.end, ns, nameOf) : undefined;
        if (route !== undefined && (route.ours || !options.oursOnly)) out.push(route);
      },
      () => {
        out.length = before;
      },
    );
  }
  return out;
}
