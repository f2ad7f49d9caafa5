import { spawn } from "node:child_process";
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { BuildRunner, BuildStep } from "../../src/images/contract.js";
import { withOverlay } from "../../src/images/overlay-mount.js";

/** Stands for the engine: RUN in chroot(1), in the network namespace of this name. Counts what is asked of it. */
export function stepRunner(
  directory: string,
  namespace: string,
): { readonly runner: BuildRunner; readonly steps: BuildStep[]; released: number } {
  const counts = {
    steps: [] as BuildStep[],
    released: 0,
    runner: {
      async run(step: BuildStep) {
        counts.steps.push(step);
        const place = join(directory, step.id);
        const { value, upper } = await withOverlay(place, step.layers, (root) => chroot(namespace, root, step));
        return { exitCode: value, upper };
      },
      async forget(id: string) {
        rmSync(join(directory, id), { recursive: true, force: true });
      },
      async release() {
        counts.released++;
      },
    },
  };
  mkdirSync(directory, { recursive: true });
  return counts;
}

function chroot(namespace: string, root: string, step: BuildStep): Promise<number> {
  for (const mount of step.mounts) {
    mkdirSync(join(root, mount.Destination, ".."), { recursive: true });
    symlinkSync(mount.Source, join(root, mount.Destination));
  }
  const env = Object.fromEntries((step.config.Env ?? []).map((e) => [e.slice(0, e.indexOf("=")), e.slice(e.indexOf("=") + 1)]));
  const child = spawn(
    "nsenter",
    [
      `--net=/run/netns/${namespace}`,
      "chroot",
      root,
      "/bin/sh",
      "-c",
      'cd "$1"; shift; exec "$@"',
      "sh",
      step.config.WorkingDir || "/",
      ...step.command,
    ],
    {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", ...env },
    },
  );
  child.stdout.on("data", (data: Buffer) => step.onOutput({ stream: "stdout", data }));
  child.stderr.on("data", (data: Buffer) => step.onOutput({ stream: "stderr", data }));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve(code ?? 128));
  });
}
