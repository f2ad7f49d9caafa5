/** Splits at white space outside quotes; quotes and escapes stay in the words (`shellWords` takes them off). */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word = "";
  let quote = "";
  for (let i = 0; i < text.length; i++) {
    const c = text[i] ?? "";
    if (c === "\\" && quote !== "'" && i + 1 < text.length) {
      word += c + (text[++i] ?? "");
    } else if (quote !== "") {
      word += c;
      if (c === quote) quote = "";
    } else if (c === '"' || c === "'") {
      quote = c;
      word += c;
    } else if (/\s/.test(c)) {
      if (word !== "") words.push(word);
      word = "";
    } else word += c;
  }
  if (word !== "") words.push(word);
  return words;
}

/**
 * Docker's word processing of one argument: quotes off, escapes, $name, ${name}, ${name:-default}, ${name:+alternative}.
 * docs.docker.com/reference/dockerfile/#environment-replacement
 */
export function shellWords(text: string, variables: ReadonlyMap<string, string>): string {
  let out = "";
  let quote = "";
  for (let i = 0; i < text.length; i++) {
    const c = text[i] ?? "";
    if (quote === "'") {
      if (c === "'") quote = "";
      else out += c;
    } else if (c === "\\" && i + 1 < text.length) {
      const next = text[++i] ?? "";
      out += quote === '"' && !'"$\\'.includes(next) ? `\\${next}` : next;
    } else if (c === '"') quote = quote === '"' ? "" : '"';
    else if (c === "'" && quote === "") quote = "'";
    else if (c === "$") {
      const taken = variable(text.slice(i), variables);
      out += taken.value;
      i += taken.length - 1;
    } else out += c;
  }
  return out;
}

function variable(text: string, variables: ReadonlyMap<string, string>): { value: string; length: number } {
  const plain = /^\$([A-Za-z_][A-Za-z0-9_]*)/.exec(text);
  if (plain !== null) return { value: variables.get(plain[1] ?? "") ?? "", length: plain[0].length };
  const braced = /^\$\{([A-Za-z_][A-Za-z0-9_]*)(?::([-+?])((?:[^{}]|\$\{[^{}]*\})*))?\}/.exec(text);
  if (braced === null) return { value: "$", length: 1 };
  const value = variables.get(braced[1] ?? "");
  const word = () => shellWords(braced[3] ?? "", variables);
  const set = value !== undefined && value !== "";
  if (braced[2] === "-") return { value: set ? value : word(), length: braced[0].length };
  if (braced[2] === "+") return { value: set ? word() : "", length: braced[0].length };
  return { value: value ?? "", length: braced[0].length };
}
