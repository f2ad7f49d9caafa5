/**
 * Chains and rules in the body of a table, by nft's grammar: a statement of a chain ends at a line's end or ";", unless inside the
 * braces of an anonymous set or behind a backslash; what is not a rule there is the chain's type, policy, devices or comment.
 */
export function countText(body: string): { readonly chains: number; readonly rules: number } {
  const text = body
    .replace(/\\\n/g, " ")
    .replace(/"[^"\n]*"/g, '""')
    .replace(/#[^\n]*/g, "");
  let chains = 0;
  let rules = 0;
  let depth = 0;
  let inChain = false;
  let statement = "";
  const endStatement = () => {
    const words = statement.trim();
    statement = "";
    if (inChain && depth === 1 && words !== "" && !/^(type\s+\w+\s+hook|policy\s|comment\s|devices?\s)/.test(words)) rules++;
  };
  for (const c of text) {
    if (c === "{") {
      if (depth === 0) {
        inChain = /(^|\s)chain\s+\S+\s*$/.test(statement);
        if (inChain) chains++;
        statement = "";
      } else statement += c;
      depth++;
    } else if (c === "}") {
      if (depth === 1) {
        endStatement();
        inChain = false;
      } else statement += c;
      depth--;
    } else if ((c === "\n" || c === ";") && depth <= 1) endStatement();
    else statement += c;
  }
  return { chains, rules };
}
