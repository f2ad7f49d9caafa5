import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";

/** Names in a directory, [] when it is not there. */
export function entries(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Mount points below a directory, in this mount namespace, the innermost last. */
export function mountsBelow(directory: string): string[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
  return lines.map((line) => line.split(" ")[4] ?? "").filter((point) => point.startsWith(`${directory}/`));
}

export function unmountBelow(directory: string): void {
  for (const point of mountsBelow(directory).reverse()) spawnSync("umount", ["-l", point], { stdio: "ignore" });
}
