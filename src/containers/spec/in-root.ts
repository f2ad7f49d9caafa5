import { lstatSync, mkdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

/**
 * Where `path` lies when `root` is "/": each symbolic link is followed inside the root, "..", too, stays inside. The result may
 * not exist. For root file systems whose process does not run yet: nobody can swap a directory for a link between look and use.
 */
export function resolveInRoot(root: string, path: string): string {
  let pending = path.split("/").filter((part) => part !== "" && part !== ".");
  let resolved: string[] = [];
  let links = 0;
  while (pending.length > 0) {
    const part = pending[0]!;
    pending = pending.slice(1);
    if (part === "..") {
      resolved = resolved.slice(0, -1);
      continue;
    }
    const target = linkTarget(join(root, ...resolved, part));
    if (target === undefined) {
      resolved.push(part);
      continue;
    }
    if (++links > 40) throw Object.assign(new Error(`ELOOP: too many symbolic links: ${path}`), { code: "ELOOP" });
    if (target.startsWith("/")) resolved = [];
    pending = [...target.split("/").filter((p) => p !== "" && p !== "."), ...pending];
  }
  return join(root, ...resolved);
}

/** The text of a file in the root, undefined if it is not there (or is no file). */
export function readInRoot(root: string, path: string): string | undefined {
  try {
    return readFileSync(resolveInRoot(root, path), "utf8");
  } catch {
    return undefined;
  }
}

/** Makes a directory in the root, with its parents. */
export function makeDirectoryInRoot(root: string, path: string): void {
  mkdirSync(resolveInRoot(root, path), { recursive: true, mode: 0o755 });
}

function linkTarget(path: string): string | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined;
  } catch {
    return undefined;
  }
}
