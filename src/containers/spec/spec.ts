import { mkdirSync } from "node:fs";
import { refuse } from "../../base/errors.js";
import { maskedPaths, readonlyPaths } from "../../model/container-defaults.js";
import type { RunSpec } from "../contract.js";
import type { Host } from "../host.js";
import { capabilitySets, containerCapabilities } from "./capabilities.js";
import { hostDevices, requestedDevices } from "./devices.js";
import { makeDirectoryInRoot } from "./in-root.js";
import { containerMounts, missingSource } from "./mounts.js";
import { namespaces, type Peers } from "./namespaces.js";
import type { OciResources, OciSpec } from "./oci.js";
import { environment, processArguments, rlimits, securityOptions, UNLIMITED } from "./process.js";
import { defaultDeviceRules, limits } from "./resources.js";
import { customSeccomp, defaultSeccomp } from "./seccomp.js";
import { resolveUser } from "./users.js";

export interface SpecContext {
  readonly host: Host;
  readonly rootfs: string;
  readonly cgroupPath: string;
  /** Processes of other containers whose namespaces are to be joined. */
  readonly peers: Peers;
  /** Directory for /dev/shm, where it is shared. */
  readonly shm: string | undefined;
  readonly arch: string;
}

/** config.json of a container. May make the working directory in the root file system and bind sources that Docker makes. */
export function containerSpec(spec: RunSpec, context: SpecContext): OciSpec {
  const { container, imageConfig } = spec;
  const { config, hostConfig } = container;
  const { host, rootfs } = context;
  const user = resolveUser(rootfs, config.User || imageConfig.User || "", hostConfig.GroupAdd ?? []);
  const capabilities = containerCapabilities({
    privileged: hostConfig.Privileged,
    add: hostConfig.CapAdd ?? [],
    drop: hostConfig.CapDrop ?? [],
    available: host.capabilities,
  });
  const security = securityOptions(hostConfig.SecurityOpt);
  const cwd = config.WorkingDir || imageConfig.WorkingDir || "/";
  if (cwd !== "/" && !hostConfig.ReadonlyRootfs) makeDirectoryInRoot(rootfs, cwd);
  if (hostConfig.Init && host.init === undefined)
    refuse(400, "--init needs a static init program: install catatonit or tini (apt-get install catatonit)");
  const { mounts, rootfsPropagation } = containerMounts({
    hostConfig,
    mounts: spec.mounts,
    etcFiles: spec.etcFiles,
    shm: context.shm,
    init: hostConfig.Init ? host.init : undefined,
  });
  const missing = missingSource(mounts);
  if (missing !== undefined) refuse(400, `invalid mount config for type "bind": bind source path does not exist: ${missing}`);
  const { devices, resources } = devicesAndResources(spec);
  const unconfined = hostConfig.Privileged || security.seccomp === "unconfined";
  const ownUts = hostConfig.UTSMode !== "host";
  return {
    ociVersion: "1.0.2",
    process: {
      terminal: config.Tty,
      user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
      args: processArguments(container),
      env: environment(spec, user.home),
      cwd,
      capabilities: capabilitySets(capabilities, user.uid),
      rlimits: rlimits(hostConfig.Ulimits, host),
      noNewPrivileges: security.noNewPrivileges,
      ...(hostConfig.OomScoreAdj ? { oomScoreAdj: hostConfig.OomScoreAdj } : {}),
    },
    root: { path: rootfs, readonly: hostConfig.ReadonlyRootfs },
    ...(ownUts ? { hostname: spec.hostname } : {}),
    mounts,
    linux: {
      namespaces: namespaces(spec, context.peers, host.cgroup.version),
      cgroupsPath: context.cgroupPath,
      resources,
      devices,
      sysctl: {
        ...(hostConfig.Sysctls ?? {}),
        ...(ownUts && config.Domainname ? { "kernel.domainname": config.Domainname } : {}),
      },
      maskedPaths: hostConfig.Privileged ? [] : (hostConfig.MaskedPaths ?? maskedPaths),
      readonlyPaths: hostConfig.Privileged ? [] : (hostConfig.ReadonlyPaths ?? readonlyPaths),
      ...(unconfined
        ? {}
        : {
            seccomp:
              security.seccomp === "default"
                ? defaultSeccomp(capabilities, context.arch)
                : customSeccomp(security.seccomp, capabilities, context.arch),
          }),
      ...(rootfsPropagation === undefined ? {} : { rootfsPropagation }),
    },
  };
}

function devicesAndResources({ container }: RunSpec): { devices: OciSpec["linux"]["devices"]; resources: OciResources } {
  const { hostConfig } = container;
  if (hostConfig.Privileged)
    return { devices: hostDevices(), resources: { ...limits(hostConfig), devices: [{ allow: true, access: "rwm" }] } };
  const { devices, rules } = requestedDevices(hostConfig.Devices ?? []);
  return { devices, resources: { ...limits(hostConfig), devices: [...defaultDeviceRules, ...rules] } };
}

/** RLIM_INFINITY is beyond what a JavaScript number holds exactly: it is put in as text. */
export function specText(value: unknown): string {
  return JSON.stringify(value).replaceAll(
    new RegExp(`"(soft|hard)":${UNLIMITED}(?=[,}])`, "g"),
    (_, name: string) => `"${name}":18446744073709551615`,
  );
}

/** Docker makes the directories of `-v` bind mounts that are not there; those of `--mount` must be. */
export function makeBindSources(spec: RunSpec): void {
  const strict = new Set(
    (spec.container.hostConfig.Mounts ?? []).filter((m) => !m.BindOptions?.CreateMountpoint).map((m) => m.Target),
  );
  for (const mount of spec.mounts)
    if (mount.Type === "bind" && !strict.has(mount.Destination)) {
      try {
        mkdirSync(mount.Source, { recursive: true, mode: 0o755 });
      } catch {
        // A file of that name: bound as it is.
      }
    }
}
