import { elementsOf, type KernelObject, type NftValue } from "../../src/plan/objects.js";

/** The nft and sysctl side of kernel objects as text, for tests that want the rules without the engine's kernel layer. */
export function renderNft(objects: readonly KernelObject[]): string {
  let text = "";
  for (const o of objects) if (o.kind === "nftTable") text += `table ${o.family} ${o.table} {\n${o.text}\n}\n`;
  for (const run of objects)
    for (const o of run.kind === "nftElement" ? elementsOf(run) : []) {
      const data = o.data === undefined ? "" : ` : ${o.data.map(valueText).join(" . ")}`;
      const comment = o.comment === undefined ? "" : ` comment "${o.comment}"`;
      text += `add element ${o.family} ${o.table} ${o.set} { ${o.key.map(valueText).join(" . ")}${comment}${data} }\n`;
    }
  return text;
}

export function renderSysctls(objects: readonly KernelObject[]): string[] {
  return objects.flatMap((o) => (o.kind === "sysctl" ? [`${o.key}=${o.value}`] : []));
}

const valueText = (v: NftValue): string => (v.type === "ifname" ? `"${v.value}"` : String(v.value));
