import { parentPort, workerData } from "node:worker_threads";
import { messageOf } from "../base/errors.js";
import { check, libc, O_CLOEXEC, O_RDONLY } from "../kernel/ffi.js";
import { bindMount, MS_REC, MS_SLAVE, mount } from "../kernel/mounts.js";
import { onChildExit, spawnProgram } from "../kernel/spawn.js";
import type { LauncherOptions, LaunchReply, LaunchRequest } from "./launcher.js";

/** The thread that starts programs; see Launcher. */

const CLONE_NEWNS = 0x20000;
const { hideUnified, sealed } = workerData as LauncherOptions;
const ownMounts = hideUnified !== undefined || sealed !== undefined;

const port = parentPort;
if (port === null) throw new Error("launcher-worker runs as a worker thread only");
const post = (reply: LaunchReply): void => port.postMessage(reply);

let hostMounts = -1;
if (ownMounts) {
  hostMounts = check(libc.open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC, 0), "open the host's mount namespace");
  // Also ends the sharing of root and working directory with the process's other threads, without which setns(2) refuses.
  check(libc.unshare(CLONE_NEWNS), "unshare mounts");
}

port.on("message", (request: LaunchRequest & { readonly id: number }) => {
  const { id, argv, env, cwd, fds } = request;
  try {
    if (ownMounts) enterFreshMounts();
    const pid = spawnProgram({
      path: argv[0]!,
      argv,
      env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
      cwd,
      fds,
    });
    post({ id, kind: "started", pid });
    onChildExit(pid, (status) => post({ id, kind: "exited", ...status }));
  } catch (error) {
    post({ id, kind: "failed", message: messageOf(error) });
  }
});

/**
 * A new copy of the host's mounts as they are now, as slaves (nothing that is done here is seen outside), without the v2 hierarchy
 * and with the runtime on a read-only mount. Made anew for each program: where the host's root is private, an older copy would lack
 * the newest root file systems.
 */
function enterFreshMounts(): void {
  check(libc.setns(hostMounts, CLONE_NEWNS), "setns to the host's mounts");
  check(libc.unshare(CLONE_NEWNS), "unshare mounts");
  mount({ source: "none", target: "/", flags: MS_REC | MS_SLAVE });
  // Covered, not unmounted: crun makes directories at the place of the hierarchy, which would stay behind in the host's tmpfs below it.
  if (hideUnified !== undefined) mount({ source: "none", target: hideUnified, type: "tmpfs", data: "size=256k,mode=755" });
  if (sealed !== undefined) bindMount(sealed, sealed, { readOnly: true });
}
