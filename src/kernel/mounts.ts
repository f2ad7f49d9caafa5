import { EINVAL, ENOENT, kernelError } from "./errno.js";
import { check, errno, libc } from "./ffi.js";

/** Flags of mount(2) (linux/mount.h). */
export const MS_RDONLY = 1;
export const MS_NOSUID = 2;
export const MS_NODEV = 4;
export const MS_NOEXEC = 8;
export const MS_REMOUNT = 32;
export const MS_BIND = 4096;
export const MS_REC = 16384;
export const MS_PRIVATE = 1 << 18;
export const MS_SLAVE = 1 << 19;
export const MS_SHARED = 1 << 20;

const MNT_DETACH = 2;

/** mount(2). `flags` are MS_*; `data` is what stands after "-o" for this file system. */
export function mount(options: {
  readonly source: string;
  readonly target: string;
  readonly type?: string;
  readonly flags?: number;
  readonly data?: string;
}): void {
  const { source, target, type, flags, data } = options;
  check(libc.mount(source, target, type ?? null, flags ?? 0, data ?? null), `mount ${source} at ${target}`);
}

/** umount2(2) with MNT_DETACH: gone from the tree at once, freed when the last user ends. Not mounted is no error (false). */
export function umount(target: string): boolean {
  if (libc.umount2(target, MNT_DETACH) === 0) return true;
  const code = errno();
  if (code === EINVAL || code === ENOENT) return false;
  throw kernelError(`umount ${target}`, code);
}

/** Makes `source` visible at `target` too; both exist. `readOnly` takes a second mount(2), as the kernel ignores MS_RDONLY in the first. */
export function bindMount(
  source: string,
  target: string,
  options: { readonly recursive?: boolean; readonly readOnly?: boolean } = {},
): void {
  const rec = options.recursive ? MS_REC : 0;
  mount({ source, target, flags: MS_BIND | rec });
  if (options.readOnly) mount({ source: "none", target, flags: MS_REMOUNT | MS_BIND | MS_RDONLY });
}

/**
 * Mounts an overlay file system. `lower` is listed topmost first; without `upper` (and `work`) it is read-only.
 * Directory names with ":" or "," are escaped as overlayfs reads them.
 */
export function mountOverlay(
  target: string,
  layers: { readonly lower: readonly string[]; readonly upper?: string; readonly work?: string },
): void {
  // A directory that was renamed, or a file of which only the mode was changed, is whole in the upper directory: what becomes an
  // image's layer, or is read beside the mount, cannot hold references to the layers below it.
  const parts = ["redirect_dir=off", "metacopy=off", `lowerdir=${layers.lower.map(escapeLayer).join(":")}`];
  if (layers.upper !== undefined) parts.push(`upperdir=${escapeLayer(layers.upper)}`);
  if (layers.work !== undefined) parts.push(`workdir=${escapeLayer(layers.work)}`);
  mount({ source: "overlay", target, type: "overlay", data: parts.join(",") });
}

const escapeLayer = (path: string): string => path.replace(/[\\:,]/g, "\\$&");
