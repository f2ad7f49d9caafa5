import type { Container } from "../../model/container.js";
import type { ExecRequest } from "../contract.js";
import type { Host } from "../host.js";
import { capabilitySets, containerCapabilities } from "./capabilities.js";
import type { OciProcess, OciSpec } from "./oci.js";
import { mergeEnvironment } from "./process.js";
import { resolveUser } from "./users.js";

/**
 * The process of an exec: the container's own, with another command, and what the request says of environment, directory and user.
 * HOME follows the user, unless image or user set it.
 */
export function execProcess(
  config: OciSpec,
  container: Container,
  request: ExecRequest,
  context: { readonly rootfs: string; readonly host: Host },
): OciProcess {
  const user = resolveUser(context.rootfs, request.user || container.config.User || "", container.hostConfig.GroupAdd ?? []);
  const capabilities = request.privileged
    ? containerCapabilities({ privileged: true, add: [], drop: [], available: context.host.capabilities })
    : config.process.capabilities.bounding;
  const homeIsSet = (container.config.Env ?? []).some((entry) => entry.startsWith("HOME="));
  const env = mergeEnvironment(
    request.tty ? ["TERM=xterm"] : [],
    config.process.env,
    homeIsSet ? [] : [`HOME=${user.home}`],
    request.env,
  );
  return {
    ...config.process,
    terminal: request.tty,
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    args: request.cmd,
    env,
    cwd: request.workingDir || config.process.cwd,
    capabilities: capabilitySets(capabilities, user.uid),
    // As text in config.json, unlimited is beyond a double; the process inherits the container's limits from the runtime.
    rlimits: [],
  };
}
