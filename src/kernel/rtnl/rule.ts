import type { NsRef, PolicyRule } from "../../plan/objects.js";
import { AF_INET, AF_INET6 } from "../ffi.js";
import { RTPROT_LINKSPAN } from "../marks.js";
import { attributes, ip, text, u8, u32 } from "../netlink/codec.js";
import { NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST } from "../netlink/constants.js";
import type { NetlinkSocket } from "../netlink/socket.js";
import type { Writer } from "../netlink/writer.js";
import { splitPrefix } from "./addr.js";
import { FR_ACT_TO_TBL, RTM_DELRULE, RTM_GETRULE, RTM_NEWRULE } from "./constants.js";
import { FIB_RULE_HDR, writeFibRuleHdr } from "./headers.js";

const FRA = attributes({
  FRA_DST: [1, ip],
  FRA_SRC: [2, ip],
  FRA_IIFNAME: [3, text],
  FRA_PRIORITY: [6, u32],
  FRA_FWMARK: [10, u32],
  FRA_TABLE: [15, u32],
  FRA_FWMASK: [16, u32],
  FRA_PROTOCOL: [21, u8],
});

export function writeRule(w: Writer, r: PolicyRule, options: { readonly remove: boolean }): void {
  const from = r.from === undefined ? undefined : splitPrefix(r.from);
  const to = r.to === undefined ? undefined : splitPrefix(r.to);
  const [type, flags] = options.remove ? [RTM_DELRULE, 0] : [RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL];
  w.message(type, NLM_F_REQUEST | flags, () => {
    writeFibRuleHdr(w, {
      family: r.family === 4 ? AF_INET : AF_INET6,
      srcLength: from?.length ?? 0,
      dstLength: to?.length ?? 0,
      table: r.table < 256 ? r.table : 0,
      action: FR_ACT_TO_TBL,
    });
    FRA.write(w, {
      FRA_PRIORITY: r.priority,
      FRA_TABLE: r.table,
      FRA_PROTOCOL: RTPROT_LINKSPAN,
      ...(from === undefined ? {} : { FRA_SRC: from.address }),
      ...(to === undefined ? {} : { FRA_DST: to.address }),
      ...(r.fwmark === undefined ? {} : { FRA_FWMARK: r.fwmark }),
      ...(r.iif === undefined ? {} : { FRA_IIFNAME: r.iif }),
    });
  });
}

/** Rules with our mark, both families. */
export function dumpRules(socket: NetlinkSocket, ns: NsRef): PolicyRule[] {
  const out: PolicyRule[] = [];
  for (const family of [AF_INET, AF_INET6]) {
    const before = out.length;
    socket.dump(
      (w) => w.message(RTM_GETRULE, NLM_F_REQUEST | NLM_F_DUMP, () => writeFibRuleHdr(w, { family })),
      "rule show",
      (m) => {
        if (m.type !== RTM_NEWRULE) return;
        const values = FRA.read(m.bytes, m.start + FIB_RULE_HDR, m.end);
        if (values.FRA_PROTOCOL !== RTPROT_LINKSPAN) return;
        out.push({
          kind: "rule",
          ns,
          family: family === AF_INET ? 4 : 6,
          priority: values.FRA_PRIORITY ?? 0,
          ...(values.FRA_SRC === undefined ? {} : { from: `${values.FRA_SRC}/${m.bytes[m.start + 2]}` }),
          ...(values.FRA_DST === undefined ? {} : { to: `${values.FRA_DST}/${m.bytes[m.start + 1]}` }),
          ...(values.FRA_FWMARK ? { fwmark: values.FRA_FWMARK } : {}),
          ...(values.FRA_IIFNAME === undefined ? {} : { iif: values.FRA_IIFNAME }),
          table: values.FRA_TABLE ?? m.bytes[m.start + 4]!,
        });
      },
      () => {
        out.length = before;
      },
    );
  }
  return out;
}
