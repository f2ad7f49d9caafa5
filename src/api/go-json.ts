/**
 * Go's encoding/json in its own words: reads the first JSON value of a text, as Docker's decoder does, and says what is
 * wrong with a malformed one exactly as Go says it (people and test suites compare these sentences).
 */
export class GoSyntaxError extends Error {}

/** The first value of `text`; whatever follows it is ignored, as json.Decoder.Decode does. Throws GoSyntaxError. */
export function parseFirstValue(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return JSON.parse(text.slice(0, scanValue(text, skipSpace(text, 0))));
  }
}

function bad(text: string, at: number, context: string): never {
  if (at >= text.length) throw new GoSyntaxError("unexpected EOF");
  throw new GoSyntaxError(`invalid character ${quoteChar(String.fromCodePoint(text.codePointAt(at)!))} ${context}`);
}

/** Go's quoteChar: single quotes, escapes as in strconv.Quote. */
function quoteChar(c: string): string {
  if (c === "'") return "'\\''";
  if (c === '"') return "'\"'";
  const named: Record<string, string> = {
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\b": "\\b",
    "\f": "\\f",
    "\v": "\\v",
    "\\": "\\\\",
  };
  const code = c.codePointAt(0)!;
  return `'${named[c] ?? (code < 32 || code === 127 ? `\\x${code.toString(16).padStart(2, "0")}` : c)}'`;
}

function skipSpace(text: string, at: number): number {
  let i = at;
  while (i < text.length && " \t\r\n".includes(text[i]!)) i++;
  return i;
}

/** Index behind the value that begins at `at`. */
function scanValue(text: string, at: number): number {
  const c = text[at];
  if (c === "{") return scanObject(text, at);
  if (c === "[") return scanArray(text, at);
  if (c === '"') return scanString(text, at);
  if (c === "-" || (c !== undefined && c >= "0" && c <= "9")) return scanNumber(text, at);
  for (const literal of ["true", "false", "null"]) {
    if (c !== literal[0]) continue;
    for (let i = 1; i < literal.length; i++)
      if (text[at + i] !== literal[i]) bad(text, at + i, `in literal ${literal} (expecting '${literal[i]}')`);
    return at + literal.length;
  }
  return bad(text, at, "looking for beginning of value");
}

function scanObject(text: string, at: number): number {
  let i = skipSpace(text, at + 1);
  if (text[i] === "}") return i + 1;
  for (;;) {
    if (text[i] !== '"') bad(text, i, "looking for beginning of object key string");
    i = skipSpace(text, scanString(text, i));
    if (text[i] !== ":") bad(text, i, "after object key");
    i = skipSpace(text, scanValue(text, skipSpace(text, i + 1)));
    if (text[i] === "}") return i + 1;
    if (text[i] !== ",") bad(text, i, "after object key:value pair");
    i = skipSpace(text, i + 1);
  }
}

function scanArray(text: string, at: number): number {
  let i = skipSpace(text, at + 1);
  if (text[i] === "]") return i + 1;
  for (;;) {
    i = skipSpace(text, scanValue(text, i));
    if (text[i] === "]") return i + 1;
    if (text[i] !== ",") bad(text, i, "after array element");
    i = skipSpace(text, i + 1);
  }
}

function scanString(text: string, at: number): number {
  for (let i = at + 1; i < text.length; i++) {
    const c = text[i]!;
    if (c === '"') return i + 1;
    if (c < " ") bad(text, i, "in string literal");
    if (c !== "\\") continue;
    i++;
    if (text[i] === "u") {
      for (let k = 0; k < 4; k++) {
        i++;
        if (!/[0-9a-fA-F]/.test(text[i] ?? "")) bad(text, i, "in \\u hexadecimal character escape");
      }
    } else if (!'bfnrt\\/"'.includes(text[i] ?? " ")) bad(text, i, "in string escape code");
  }
  throw new GoSyntaxError("unexpected EOF");
}

function scanNumber(text: string, at: number): number {
  const digit = (i: number) => i < text.length && text[i]! >= "0" && text[i]! <= "9";
  let i = at;
  if (text[i] === "-") i++;
  if (!digit(i)) bad(text, i, "in numeric literal");
  if (text[i] === "0") i++;
  else while (digit(i)) i++;
  if (text[i] === ".") {
    i++;
    if (!digit(i)) bad(text, i, "after decimal point in numeric literal");
    while (digit(i)) i++;
  }
  if (text[i] === "e" || text[i] === "E") {
    i++;
    if (text[i] === "+" || text[i] === "-") i++;
    if (!digit(i)) bad(text, i, "in exponent of numeric literal");
    while (digit(i)) i++;
  }
  return i;
}
