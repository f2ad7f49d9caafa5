import type { Volume } from "../model/container.js";
import { sorted } from "./render-sorted.js";

export function renderVolume(volume: Volume, usage?: { readonly size: number; readonly refCount: number }): object {
  const orNull = (map: Readonly<Record<string, string>>) =>
    Object.keys(map).length === 0 && volume.anonymous ? null : sorted(map);
  return {
    CreatedAt: volume.created.replace(/\.\d+/, ""),
    Driver: volume.driver,
    Labels: orNull(volume.labels),
    Mountpoint: volume.mountpoint,
    Name: volume.name,
    Options: orNull(volume.options),
    Scope: "local",
    ...(usage !== undefined && { UsageData: { RefCount: usage.refCount, Size: usage.size } }),
  };
}
