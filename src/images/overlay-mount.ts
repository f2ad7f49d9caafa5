import { closeSync, constants, mkdirSync, openSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { mountOverlay, umount } from "../kernel/mounts.js";

/**
 * Mounts layers (uppermost first) below `directory`, which is made, with a writable layer at `directory`/upper, runs `use` on the mount and
 * unmounts. The upper directory stays.
 */
export async function withOverlay<T>(
  directory: string,
  layers: readonly string[],
  use: (root: string) => Promise<T>,
): Promise<{ readonly value: T; readonly upper: string }> {
  const path = (name: string) => join(directory, name);
  for (const name of ["upper", "work", "root", "none", "l"]) await mkdir(path(name), { recursive: true, mode: 0o755 });
  const [upper, root] = [path("upper"), path("root")];
  // mount(2) takes one page of options: the layers go by short names in a directory that is held open.
  (layers.length === 0 ? [path("none")] : layers).forEach((layer, i) => {
    symlinkSync(layer, join(path("l"), i.toString(36)));
  });
  const fd = openSync(path("l"), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    const count = Math.max(1, layers.length);
    const lower = Array.from({ length: count }, (_, i) => `/proc/self/fd/${fd}/${i.toString(36)}`);
    mountOverlay(root, { lower, upper, work: path("work") });
  } finally {
    closeSync(fd);
  }
  try {
    return { value: await use(root), upper };
  } finally {
    umount(root);
    rmSync(path("work"), { recursive: true, force: true });
  }
}

/** What an earlier life of the engine left mounted below a directory of working files. */
export function unmountBelow(directory: string): void {
  mkdirSync(directory, { recursive: true });
  const points = readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((point) => point.startsWith(`${directory}/`));
  for (const point of points.reverse()) umount(point);
}
