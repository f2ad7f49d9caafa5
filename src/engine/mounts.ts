import { mkdir, readdir, stat } from "node:fs/promises";
import { isAbsolute, posix } from "node:path";
import { refuse } from "../base/errors.js";
import { copyUp } from "../images/index.js";
import type { Container, ContainerConfig, ContainerMount, HostConfig, MountRequest, Volume } from "../model/container.js";
import type { EngineContext } from "./context.js";
import { type Volumes, volumeSource } from "./volumes.js";

export interface PlannedMount {
  readonly mount: ContainerMount;
  /** Named volume to be made first (`-v name:/path`). */
  readonly volume?: { readonly name: string; readonly labels: Record<string, string>; readonly options: Record<string, string> };
  /** A volume without a name is to be made. */
  readonly anonymous?: boolean;
  /** The image's files at the destination are copied into an empty volume. */
  readonly copyUp: boolean;
  /** A bind mount whose source is made if it is missing (`-v`, not `--mount`). */
  readonly makeSource: boolean;
}

/** What a container's configuration asks for, checked; makes nothing yet. */
export async function planMounts(
  config: ContainerConfig,
  hostConfig: HostConfig,
  imageVolumes: Readonly<Record<string, object>>,
  resolve: (ref: string) => Container,
): Promise<readonly PlannedMount[]> {
  const planned = new Map<string, PlannedMount>();
  for (const from of hostConfig.VolumesFrom ?? []) {
    const colon = from.indexOf(":");
    const mode = colon < 0 ? "" : from.slice(colon + 1);
    if (!["", "ro", "rw", "z", "Z"].includes(mode)) refuse(400, `invalid mode for volumes-from: ${mode}`);
    for (const m of resolve(colon < 0 ? from : from.slice(0, colon)).mounts) {
      if (m.Type === "tmpfs") continue;
      planned.set(m.Destination, { mount: { ...m, RW: m.RW && mode !== "ro" }, copyUp: false, makeSource: false });
    }
  }
  const explicit = new Set<string>();
  const add = (mount: PlannedMount) => {
    if (explicit.has(mount.mount.Destination)) refuse(400, `Duplicate mount point: ${mount.mount.Destination}`);
    explicit.add(mount.mount.Destination);
    planned.set(mount.mount.Destination, mount);
  };
  for (const bind of hostConfig.Binds ?? []) add(parseBind(bind));
  for (const request of hostConfig.Mounts ?? []) add(await parseMount(request));
  for (const path of Object.keys({ ...imageVolumes, ...(config.Volumes ?? {}) })) {
    const destination = cleanDestination(path, path);
    if (planned.has(destination) || hostConfig.Tmpfs?.[destination] !== undefined) continue;
    planned.set(destination, { mount: volumeMount("", destination, "", true), anonymous: true, copyUp: true, makeSource: false });
  }
  return [...planned.values()].sort((a, b) => (a.mount.Destination < b.mount.Destination ? -1 : 1));
}

/** Makes volumes and missing sources; the result is what the container's record keeps. */
export async function realiseMounts(
  planned: readonly PlannedMount[],
  volumes: Volumes,
): Promise<readonly { readonly mount: ContainerMount; readonly copyUp: boolean }[]> {
  const out: { mount: ContainerMount; copyUp: boolean }[] = [];
  for (const p of planned) {
    let mount = p.mount;
    let volume: Volume | undefined;
    if (p.anonymous === true) volume = await volumes.createAnonymous();
    else if (p.volume !== undefined)
      volume = await volumes.create({ Name: p.volume.name, Labels: p.volume.labels, DriverOpts: p.volume.options });
    if (volume !== undefined) mount = { ...mount, Name: volume.name, Driver: volume.driver, Source: volumeSource(volume) };
    if (p.makeSource && mount.Type === "bind") await makeIfMissing(mount.Source);
    out.push({ mount, copyUp: p.copyUp });
  }
  return out;
}

/** Docker's copy-up: an empty volume takes what the image has at its destination, with owners and times. */
export async function fillVolumes(
  ctx: EngineContext,
  containerId: string,
  layers: readonly string[],
  mounts: readonly ContainerMount[],
): Promise<void> {
  const empty: ContainerMount[] = [];
  for (const m of mounts) if ((await readdir(m.Source)).length === 0) empty.push(m);
  if (empty.length === 0) return;
  await ctx.runtime.withRootfs(containerId, layers, async (root) => {
    for (const m of empty) await copyUp(root, m.Destination, m.Source);
  });
}

function parseBind(text: string): PlannedMount {
  const parts = text.split(":");
  const bad = () => refuse(400, `invalid volume specification: '${text}'`);
  if (parts.length > 3 || parts.some((p) => p === "")) bad();
  if (parts.length === 1) bad();
  const [source, target, mode = ""] = parts as [string, string, string?];
  const options = mode === "" ? [] : mode.split(",");
  const known = [
    "ro",
    "rw",
    "z",
    "Z",
    "nocopy",
    "private",
    "rprivate",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "cached",
    "delegated",
    "consistent",
  ];
  if (options.some((o) => !known.includes(o))) refuse(400, `invalid mode: ${mode}`);
  const destination = cleanDestination(target, text);
  const writable = !options.includes("ro");
  if (isAbsolute(source)) {
    const propagation = options.find((o) => /^r?(private|shared|slave)$/.test(o)) ?? "rprivate";
    const mount: ContainerMount = {
      Type: "bind",
      Source: posix.normalize(source).replace(/(.)\/$/, "$1"),
      Destination: destination,
      Mode: mode,
      RW: writable,
      Propagation: propagation,
    };
    return { mount, copyUp: false, makeSource: true };
  }
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(source))
    refuse(
      400,
      `create ${source}: "${source}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`,
    );
  return {
    mount: volumeMount(source, destination, mode === "" ? "z" : mode, writable),
    volume: { name: source, labels: {}, options: {} },
    copyUp: !options.includes("nocopy"),
    makeSource: false,
  };
}

async function parseMount(request: MountRequest): Promise<PlannedMount> {
  const invalid = (why: string) => refuse(400, `invalid mount config for type "${request.Type}": ${why}`);
  if (!request.Target) invalid("field Target must not be empty");
  const destination = cleanDestination(request.Target, request.Target);
  const writable = request.ReadOnly !== true;
  switch (request.Type) {
    case "bind": {
      const source = request.Source ?? "";
      if (source === "") invalid("field Source must not be empty");
      if (!isAbsolute(source)) invalid(`invalid mount path: '${source}' mount path must be absolute`);
      const make = request.BindOptions?.CreateMountpoint === true;
      if (!make && (await stat(source).catch(() => undefined)) === undefined)
        invalid(`bind source path does not exist: ${source}`);
      const propagation = request.BindOptions?.Propagation;
      const mount: ContainerMount = {
        Type: "bind",
        Source: source,
        Destination: destination,
        Mode: "",
        RW: writable,
        Propagation: propagation === undefined || propagation === "" ? "rprivate" : propagation,
      };
      return { mount, copyUp: false, makeSource: make };
    }
    case "volume": {
      const name = request.Source ?? "";
      const copy = request.VolumeOptions?.NoCopy !== true;
      if (name === "")
        return { mount: volumeMount("", destination, "z", writable), anonymous: true, copyUp: copy, makeSource: false };
      const driver = request.VolumeOptions?.DriverConfig;
      if (driver?.Name !== undefined && !["", "local"].includes(driver.Name))
        refuse(404, `create ${name}: Error looking up volume plugin ${driver.Name}: plugin "${driver.Name}" not found`);
      return {
        mount: volumeMount(name, destination, "z", writable),
        volume: { name, labels: request.VolumeOptions?.Labels ?? {}, options: driver?.Options ?? {} },
        copyUp: copy,
        makeSource: false,
      };
    }
    case "tmpfs": {
      const options: string[] = [];
      if (request.TmpfsOptions?.SizeBytes) options.push(`size=${request.TmpfsOptions.SizeBytes}`);
      if (request.TmpfsOptions?.Mode) options.push(`mode=${request.TmpfsOptions.Mode.toString(8)}`);
      const mount: ContainerMount = {
        Type: "tmpfs",
        Source: "",
        Destination: destination,
        Mode: options.join(","),
        RW: writable,
        Propagation: "",
      };
      return { mount, copyUp: false, makeSource: false };
    }
    default:
      return refuse(400, `mount type unknown: "${String(request.Type)}"`);
  }
}

function cleanDestination(path: string, specification: string): string {
  if (!isAbsolute(path))
    refuse(400, `invalid volume specification: '${specification}': invalid mount path: '${path}' mount path must be absolute`);
  const clean = posix.normalize(path).replace(/(.)\/$/, "$1");
  if (clean === "/")
    refuse(400, `invalid volume specification: '${specification}': invalid specification: destination can't be '/'`);
  return clean;
}

const volumeMount = (name: string, destination: string, mode: string, writable: boolean): ContainerMount => ({
  Type: "volume",
  Name: name,
  Source: "",
  Destination: destination,
  Driver: "local",
  Mode: mode,
  RW: writable,
  Propagation: "",
});

async function makeIfMissing(path: string): Promise<void> {
  if ((await stat(path).catch(() => undefined)) === undefined) await mkdir(path, { recursive: true, mode: 0o755 });
}
