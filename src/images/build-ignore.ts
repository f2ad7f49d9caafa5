import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";

interface Rule {
  readonly pattern: RegExp;
  readonly keeps: boolean;
}

/** docs.docker.com/build/concepts/context/#dockerignore-files; the last rule that matches a path or one of its parents decides. */
export function parseIgnore(text: string): readonly Rule[] {
  const rules: Rule[] = [];
  for (const line of text.replace(/^\uFEFF/, "").split("\n")) {
    if (line.startsWith("#")) continue;
    const trimmed = line.trim();
    const keeps = trimmed.startsWith("!");
    const path = (keeps ? trimmed.slice(1).trim() : trimmed).split("/").filter((part) => part !== "" && part !== ".");
    if (path.length > 0) rules.push({ keeps, pattern: globPattern(path.join("/")) });
  }
  return rules;
}

export function isIgnored(rules: readonly Rule[], path: string): boolean {
  const parts = path.split("/");
  const withParents = parts.map((_, i) => parts.slice(0, i + 1).join("/"));
  let ignored = false;
  for (const { pattern, keeps } of rules) if (withParents.some((each) => pattern.test(each))) ignored = !keeps;
  return ignored;
}

/** Go's filepath.Match, and "**" for any number of directories. */
export function globPattern(glob: string): RegExp {
  let out = "";
  for (let i = 0; i < glob.length; i++) {
    const c = glob[i] ?? "";
    if (c === "*" && glob[i + 1] === "*") {
      i++;
      if (glob[i + 1] === "/") {
        i++;
        out += "(?:.*/)?";
      } else out += ".*";
    } else if (c === "*") out += "[^/]*";
    else if (c === "?") out += "[^/]";
    else if (c === "[" && glob.indexOf("]", i + 2) > 0) {
      const end = glob.indexOf("]", i + 2);
      out += `[${glob
        .slice(i + 1, end)
        .replace(/\\/g, "\\\\")
        .replace(/\[/g, "\\[")}]`;
      i = end;
    } else if (c === "\\" && i + 1 < glob.length) out += (glob[++i] ?? "").replace(/[^A-Za-z0-9]/g, "\\$&");
    else out += c.replace(/[^A-Za-z0-9]/g, "\\$&");
  }
  return new RegExp(`^${out}$`);
}

/** The client leaves most of what .dockerignore names out of the context; what it sent all the same is taken out here. */
export async function applyIgnore(directory: string): Promise<void> {
  const text = await readFile(join(directory, ".dockerignore"), "utf8").catch(() => undefined);
  if (text === undefined) return;
  const rules = parseIgnore(text);
  const exceptions = rules.some((rule) => rule.keeps);
  const walk = async (below: string): Promise<void> => {
    for (const entry of await readdir(join(directory, below), { withFileTypes: true })) {
      const path = below === "" ? entry.name : `${below}/${entry.name}`;
      const ignored = isIgnored(rules, path);
      if (entry.isDirectory() && (!ignored || exceptions)) {
        await walk(path);
        if (!ignored || (await readdir(join(directory, path))).length > 0) continue;
      }
      if (ignored) await rm(join(directory, path), { recursive: true, force: true });
    }
  };
  await walk("");
}
