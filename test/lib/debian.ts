import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { must, run } from "./run.js";

const cache = process.env.LINKSPAN_TEST_CACHE ?? "/var/cache/linkspan-test";
const packages = [
  "python3-flask",
  "python3-redis",
  "redis-server",
  "python3-pip",
  "curl",
  "ca-certificates",
  "iproute2",
  "iputils-ping",
];
const excluded = ["./proc/*", "./sys/*", "./dev/*", "./var/cache/apt/*", "./var/lib/apt/lists/*", "./debootstrap"];
const excludedDirectories = ["./usr/share/doc", "./usr/share/man", "./usr/share/locale"];

/**
 * A Debian with python3-flask, python3-redis and redis-server as a tar for `docker import`; stands for the images python:2.7 and redis of the
 * seeds. Made once by debootstrap (minutes) and kept in a cache directory; needs Debian's archive the first time.
 */
export async function debianArchive(): Promise<string> {
  const archive = join(cache, "debian.tar");
  if (existsSync(archive)) return archive;
  mkdirSync(cache, { recursive: true });
  const tree = await debianTree();
  const entrypoint = join(tree, "usr/local/bin/docker-entrypoint.sh");
  writeFileSync(entrypoint, '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
  rmSync(join(tree, "usr/bin/python"), { force: true });
  symlinkSync("python3", join(tree, "usr/bin/python"));
  // pip refuses to touch a distribution's Python (PEP 668); the image of the seeds has no such mark.
  await must("python's mark", run("sh", ["-c", 'rm -f "$0"/usr/lib/python3*/EXTERNALLY-MANAGED', tree]));
  const flags = [...excluded, ...excludedDirectories.map((directory) => `${directory}/*`)].map((path) => `--exclude=${path}`);
  await must("tar", run("tar", ["-C", tree, "--numeric-owner", ...flags, "-cf", `${archive}.part`, "."], { timeoutMs: 300_000 }));
  renameSync(`${archive}.part`, archive);
  return archive;
}

async function debianTree(): Promise<string> {
  const tree = join(cache, "debroot");
  if (existsSync(tree)) return tree;
  const part = `${tree}.part`;
  rmSync(part, { recursive: true, force: true });
  const mirror = process.env.LINKSPAN_TEST_MIRROR ?? "http://deb.debian.org/debian";
  const args = ["--variant=minbase", `--include=${packages.join(",")}`, "bookworm", part, mirror];
  // A mount namespace of its own: what debootstrap mounts goes with it.
  await must("debootstrap", run("unshare", ["--mount", "--propagation=private", "debootstrap", ...args], { timeoutMs: 900_000 }));
  renameSync(part, tree);
  return tree;
}
