import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { refuse } from "../base/errors.js";
import { dirSize } from "../images/index.js";
import type { Volume } from "../model/container.js";
import { newId, nowText } from "./clock.js";
import type { EngineContext } from "./context.js";
import type { VolumeService } from "./contract.js";
import { labelsMatch, onlyKnown } from "./filters.js";

export interface Volumes extends VolumeService {
  /** A volume without a name, removed with its container (`rm -v`). */
  createAnonymous(): Promise<Volume>;
}

export function createVolumes(ctx: EngineContext): Volumes {
  const directory = join(ctx.settings.dataRoot, "volumes");

  const users = (name: string): string[] => {
    const ids: string[] = [];
    for (const c of ctx.state.containers.values())
      if (c.mounts.some((m) => m.Type === "volume" && m.Name === name)) ids.push(c.id);
    return ids;
  };

  const get = (name: string): Volume => ctx.state.volumes.get(name) ?? refuse(404, `get ${name}: no such volume`);

  const make = async (volume: Omit<Volume, "created" | "mountpoint" | "driver">): Promise<Volume> => {
    const mountpoint = join(directory, volume.name, "_data");
    await mkdir(mountpoint, { recursive: true, mode: 0o755 });
    const record: Volume = { ...volume, driver: "local", mountpoint, created: nowText() };
    await ctx.committer.commit([{ kind: "volume", id: record.name, value: record }]);
    ctx.events.emit("volume", "create", record.name, { driver: "local" });
    return record;
  };

  const removeOne = async (volume: Volume): Promise<void> => {
    // The record goes first: a crash in between leaves a directory that the start's sweep takes away, never a record without data.
    await ctx.committer.commit([{ kind: "volume", id: volume.name, value: undefined }]);
    await rm(join(directory, volume.name), { recursive: true, force: true });
    ctx.events.emit("volume", "destroy", volume.name, { driver: volume.driver });
  };

  return {
    get,
    list: () => [...ctx.state.volumes.values()],
    refCount: (name) => users(name).length,
    createAnonymous: () => make({ name: newId(), labels: {}, options: {}, anonymous: true }),
    create: (request) => {
      const name = request.Name === undefined || request.Name === "" ? newId() : request.Name;
      return ctx.locks.run("volumes", async () => {
        const driver = request.Driver ?? "local";
        if (driver !== "local" && driver !== "")
          refuse(404, `create ${name}: Error looking up volume plugin ${driver}: plugin "${driver}" not found`);
        if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name))
          refuse(
            400,
            `create ${name}: "${name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
          );
        const existing = ctx.state.volumes.get(name);
        if (existing !== undefined) return existing;
        const options = request.DriverOpts ?? {};
        checkOptions(name, options);
        return make({
          name,
          labels: request.Labels ?? {},
          options,
          anonymous: request.Name === undefined || request.Name === "",
        });
      });
    },
    remove: (name, force) =>
      ctx.locks.run("volumes", async () => {
        const volume = ctx.state.volumes.get(name);
        if (volume === undefined) return force ? undefined : refuse(404, `get ${name}: no such volume`);
        const by = users(name);
        if (by.length > 0) refuse(409, `remove ${name}: volume is in use - [${by.join(", ")}]`);
        return removeOne(volume);
      }),
    prune: (filters) =>
      ctx.locks.run("volumes", async () => {
        onlyKnown(filters, ["all", "label", "label!"]);
        const all = ["1", "true", "True"].includes(filters.all?.[0] ?? "");
        const deleted: string[] = [];
        let spaceReclaimed = 0;
        for (const volume of [...ctx.state.volumes.values()]) {
          if ((!all && !volume.anonymous) || users(volume.name).length > 0 || !labelsMatch(volume.labels, filters)) continue;
          spaceReclaimed += await dirSize(volume.mountpoint);
          await removeOne(volume);
          deleted.push(volume.name);
        }
        ctx.events.emit("volume", "prune", "", { reclaimed: String(spaceReclaimed) });
        return { deleted, spaceReclaimed };
      }),
    size: (name) => dirSize(get(name).mountpoint),
  };
}

/** Of Docker's local driver's mount options only bind mounts exist here: the directory itself is what a container gets. */
function checkOptions(name: string, options: Readonly<Record<string, string>>): void {
  for (const key of Object.keys(options))
    if (!["type", "o", "device"].includes(key)) refuse(400, `create ${name}: invalid option: "${key}"`);
  if (options.device === undefined) return;
  if (!(options.o ?? "").split(",").some((o) => o === "bind" || o === "rbind"))
    refuse(400, `create ${name}: the local driver mounts directories only (type=none,o=bind,device=/path)`);
}

/** Where a volume's files are: its own directory, or the one that `o=bind,device=` names. */
export const volumeSource = (volume: Volume): string => volume.options.device ?? volume.mountpoint;
