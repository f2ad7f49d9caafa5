import { elementsOf, type NftElement, type NftTable, type NftValue } from "./objects.js";

/** A whole table as `nft -f -` reads it from a here-document: one transaction, an older one of the same name is replaced. */
export function explainTable(table: NftTable, verb: "add" | "replace"): string[] {
  const name = `${table.family} ${table.table}`;
  const body = table.text.replace(/^\n+|\s+$/g, "");
  return [
    [
      "nft -f - <<'EOF'",
      ...(verb === "replace" ? [`delete table ${name}`] : []),
      `table ${name} {`,
      `\tcomment "${table.hash}"`,
      body,
      "}",
      "EOF",
    ].join("\n"),
  ];
}

export function explainElement(element: NftElement, verb: "add" | "delete"): string[] {
  const texts = elementsOf(element)
    .map((e) => elementText(e, verb))
    .join(", ");
  return [`nft ${verb} element ${element.family} ${element.table} ${element.set} '{ ${texts} }'`];
}

function elementText(element: NftElement, verb: "add" | "delete"): string {
  const key = element.key.map(valueText).join(" . ");
  const comment = element.comment === undefined || verb === "delete" ? "" : ` comment "${element.comment}"`;
  const data = element.data === undefined || verb === "delete" ? "" : ` : ${element.data.map(valueText).join(" . ")}`;
  return `${key}${comment}${data}`;
}

function valueText(value: NftValue): string {
  return value.type === "ifname" ? `"${value.value}"` : String(value.value);
}
