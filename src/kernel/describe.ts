import type { KernelObject } from "../plan/objects.js";
import type { Op } from "../plan/port.js";
import { elementText } from "./nft/text.js";

/** What an op asks for, in iproute2's and nft's words: the first half of an error message. */
export function describeOp(op: Op): string {
  const verb = op.op === "delete" ? "delete" : op.was === undefined ? "add" : "change";
  return describe(op.object, verb);
}

function describe(o: KernelObject, verb: "add" | "change" | "delete"): string {
  switch (o.kind) {
    case "netns":
      return `netns ${verb} ${o.name}`;
    case "link":
      return verb === "delete" ? `link delete ${o.name}` : `link ${verb === "add" ? "add" : "set"} ${o.name} type ${o.type}`;
    case "addr":
      return `address ${verb} ${o.address} dev ${o.dev}`;
    case "route":
      return `route ${verb === "change" ? "replace" : verb} ${o.dst}${o.via === undefined ? "" : ` via ${o.via}`}${o.dev === undefined ? "" : ` dev ${o.dev}`}`;
    case "neigh":
      return `neigh ${verb === "change" ? "replace" : verb} ${o.proxy ? "proxy " : ""}${o.ip}${o.mac === undefined ? "" : ` lladdr ${o.mac}`} dev ${o.dev}`;
    case "fdb":
      return `fdb ${verb === "change" ? "replace" : verb} ${o.mac} dev ${o.dev}${o.dst === undefined ? "" : ` dst ${o.dst}`}`;
    case "rule":
      return `rule ${verb} priority ${o.priority} table ${o.table}`;
    case "sysctl":
      return `sysctl -w ${o.key}=${o.value}`;
    case "nftTable":
      return `nft ${verb === "delete" ? "delete" : "add"} table ${o.family} ${o.table}`;
    case "nftElement":
      return `nft ${verb === "delete" ? "delete" : "add"} element ${o.family} ${o.table} ${o.set} { ${elementText(o)} }`;
  }
}
