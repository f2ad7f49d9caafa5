import type { Logger } from "../base/log.js";
import type { Cgroup } from "./cgroup.js";
import type { Exits } from "./exits.js";
import type { FilterCache } from "./filter-cache.js";
import type { Host } from "./host.js";
import type { Launcher } from "./launcher.js";
import type { Paths } from "./paths.js";
import type { RootfsMounts } from "./rootfs.js";

/** What the parts of this folder share. */
export interface Context {
  readonly host: Host;
  readonly paths: Paths;
  readonly log: Logger;
  readonly launcher: Launcher;
  readonly exits: Exits;
  readonly rootfs: RootfsMounts;
  readonly filters: FilterCache;
  cgroup(path: string): Cgroup;
}
