import { lstatSync, readdirSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { refuse } from "../../base/errors.js";
import type { OciDevice, OciDeviceRule } from "./oci.js";

/** `--device host[:container[:rwm]]`; a directory gives all devices below it. Docker's text when there is none. */
export function requestedDevices(
  requests: readonly { readonly PathOnHost: string; readonly PathInContainer: string; readonly CgroupPermissions: string }[],
): { readonly devices: OciDevice[]; readonly rules: OciDeviceRule[] } {
  const devices: OciDevice[] = [];
  const rules: OciDeviceRule[] = [];
  for (const { PathOnHost, PathInContainer, CgroupPermissions } of requests) {
    const source = resolve(PathOnHost);
    const target = PathInContainer || PathOnHost;
    const found = isDirectory(source) ? devicesBelow(source, target) : one(source, target);
    if (found.length === 0)
      refuse(
        500,
        `error gathering device information while adding custom device ${JSON.stringify(PathOnHost)}: no such file or directory`,
      );
    devices.push(...found);
    for (const { type, major, minor } of found)
      rules.push({ allow: true, type, major, minor, access: CgroupPermissions || "rwm" });
  }
  return { devices, rules };
}

/** For --privileged: all of the host's, but for what the container has of its own. */
export function hostDevices(): OciDevice[] {
  const own = new Set(["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console"]);
  return readdirSync("/dev")
    .filter((name) => !own.has(name))
    .flatMap((name) => {
      const path = join("/dev", name);
      return isDirectory(path) ? devicesBelow(path, path) : one(path, path);
    });
}

function devicesBelow(source: string, target: string): OciDevice[] {
  let entries: string[];
  try {
    entries = readdirSync(source);
  } catch {
    return [];
  }
  return entries.flatMap((name) => {
    const path = join(source, name);
    return isDirectory(path) ? devicesBelow(path, join(target, name)) : one(path, join(target, name));
  });
}

function one(source: string, target: string): OciDevice[] {
  try {
    const stat = lstatSync(source);
    if (!stat.isCharacterDevice() && !stat.isBlockDevice()) return [];
    // makedev(3): 12 bits of major between 20 bits of minor
    const major = Number((BigInt(stat.rdev) >> 8n) & 0xfffn);
    const minor = Number((BigInt(stat.rdev) & 0xffn) | ((BigInt(stat.rdev) >> 12n) & 0xfff00n));
    const type = stat.isCharacterDevice() ? ("c" as const) : ("b" as const);
    return [{ path: target, type, major, minor, fileMode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid }];
  } catch {
    return [];
  }
}

function resolve(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

function isDirectory(path: string): boolean {
  try {
    return lstatSync(path).isDirectory() && statSync(path).isDirectory();
  } catch {
    return false;
  }
}
