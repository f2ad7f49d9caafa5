import { closeSync, constants, mkdirSync, openSync, rmSync, statSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { mountOverlay, umount } from "../kernel/mounts.js";
import type { Paths } from "./paths.js";

/**
 * The root file system of a container is one overlay mount at <exec-root>/containers/<id>/rootfs, shared by the running process
 * and whoever reads it (cp, export, commit): two overlay mounts over the same upper directory would not see each other's changes.
 */
export class RootfsMounts {
  readonly #paths: Paths;
  readonly #users = new Map<string, number>();

  constructor(paths: Paths) {
    this.#paths = paths;
  }

  /** Mounts if it is not mounted; returns the path. Each acquire wants one release. */
  acquire(id: string, layers: readonly string[]): string {
    const { rootfs } = this.#paths.run(id);
    mkdirSync(rootfs, { recursive: true, mode: 0o755 });
    if (!isMountPoint(rootfs)) this.#mount(id, rootfs, layers);
    this.#users.set(id, (this.#users.get(id) ?? 0) + 1);
    return rootfs;
  }

  /** Counts a mount that an earlier life of the engine made, if it is there and not counted yet. */
  adopt(id: string): void {
    if (!this.#users.has(id) && isMountPoint(this.#paths.run(id).rootfs)) this.#users.set(id, 1);
  }

  /** Unmounts with the last user. */
  release(id: string): void {
    const left = (this.#users.get(id) ?? 1) - 1;
    if (left > 0) {
      this.#users.set(id, left);
      return;
    }
    this.#users.delete(id);
    umount(this.#paths.run(id).rootfs);
  }

  isUsed(id: string): boolean {
    return this.#users.has(id);
  }

  #mount(id: string, target: string, lower: readonly string[]): void {
    const { upper, work } = this.#paths.store(id);
    mkdirSync(upper, { recursive: true, mode: 0o755 });
    mkdirSync(work, { recursive: true, mode: 0o700 });
    // mount(2) takes one page of options; longer lists go through short names in a directory that is held open.
    if (lower.join(":").length + upper.length + work.length < 3800) {
      mountOverlay(target, { lower, upper, work });
      return;
    }
    const links = join(dirname(target), "l");
    rmSync(links, { recursive: true, force: true });
    mkdirSync(links);
    lower.forEach((path, i) => {
      symlinkSync(path, join(links, i.toString(36)));
    });
    const fd = openSync(links, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      mountOverlay(target, { lower: lower.map((_, i) => `/proc/self/fd/${fd}/${i.toString(36)}`), upper, work });
    } finally {
      closeSync(fd);
    }
  }
}

/** A directory on which something is mounted has another device than its parent. */
export function isMountPoint(path: string): boolean {
  try {
    return statSync(path).dev !== statSync(dirname(path)).dev;
  } catch {
    return false;
  }
}
