import { mkdirSync } from "node:fs";
import type { Logger } from "../base/log.js";
import type { ContainerRuntime } from "./contract.js";
import { detectHost } from "./host.js";
import { createPaths } from "./paths.js";
import { OciRuntime } from "./runtime.js";

export { startExitCode } from "./refusals.js";
export { signalNumber } from "./signals.js";
export { resolveInRoot } from "./spec/in-root.js";
export { mergeEnvironment } from "./spec/process.js";

/**
 * The runtime of one engine. `dataRoot` holds what lasts as long as a container (writable layer, log), `execRoot` what lasts as long as
 * its process. `runtime` chooses the OCI runtime; by default crun, where it is installed. Throws if conmon or both runtimes are missing.
 */
export async function createContainerRuntime(options: {
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly log: Logger;
  readonly runtime?: "crun" | "runc";
}): Promise<ContainerRuntime & { readonly runtimeName: string; readonly cgroupVersion: "1" | "2" }> {
  const host = detectHost(options.runtime === undefined ? {} : { runtime: options.runtime });
  const paths = createPaths(options.dataRoot, options.execRoot);
  for (const directory of [paths.runs, paths.exits, paths.ociRoot, paths.stores, paths.execs, paths.filters])
    mkdirSync(directory, { recursive: true, mode: 0o711 });
  options.log.info("container runtime", {
    runtime: host.runtime.path,
    cgroup: host.cgroup.version,
    hideUnified: host.hideUnified,
  });
  const runtime = new OciRuntime({ host, paths, log: options.log });
  return Object.assign(runtime, { runtimeName: host.runtime.name, cgroupVersion: host.cgroup.version });
}
