import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Logger } from "../base/log.js";
import { unmountBelow } from "./overlay-mount.js";
import { type ProgramOptions, type ProgramResult, runProgram } from "./program.js";

export interface ImageStoreOptions {
  readonly dataRoot: string;
  readonly execRoot: string;
  readonly log: Logger;
  /** host[:port] of registries that are spoken to over plain HTTP or without checking certificates. Loopback ones always are. */
  readonly insecureRegistries?: readonly string[];
}

/** Where everything is, and how skopeo and buildah are called so that they see our storage and nothing of the machine's. */
export interface Storage {
  readonly root: string;
  readonly runRoot: string;
  /** Working files; emptied at start. On the same file system as the storage, so that a rename is enough. */
  readonly tmp: string;
  readonly metadataFile: string;
  readonly policyFile: string;
  readonly insecureRegistries: ReadonlySet<string>;
  readonly log: Logger;
  skopeo(args: readonly string[], options?: Partial<ProgramOptions>): Promise<ProgramResult>;
  buildah(args: readonly string[], options?: Partial<ProgramOptions>): Promise<ProgramResult>;
  /** `containers-storage:name`; which storage is said by storage.conf. */
  reference(name: string): string;
  env(): NodeJS.ProcessEnv;
  /** Ends the programs that run. */
  close(): void;
}

export async function openStorage(options: ImageStoreOptions): Promise<Storage> {
  const root = join(options.dataRoot, "storage");
  const runRoot = join(options.execRoot, "storage");
  const etc = join(options.dataRoot, "image-config");
  const tmp = join(options.dataRoot, "image-tmp");
  const home = join(etc, "home");
  unmountBelow(tmp);
  await rm(tmp, { recursive: true, force: true });
  for (const directory of [root, runRoot, etc, tmp, home, join(etc, "registries.d"), join(etc, "registries.conf.d")])
    await mkdir(directory, { recursive: true, mode: 0o700 });
  const files = configFiles({ root, runRoot, tmp, insecure: options.insecureRegistries ?? [] });
  for (const [name, text] of Object.entries(files)) await writeIfDifferent(join(etc, name), text);

  const env = (): NodeJS.ProcessEnv => ({
    ...proxyVariables(),
    PATH: process.env.PATH ?? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    LANG: "C.UTF-8",
    // A person's own credentials (~/.docker/config.json) are not the engine's to use.
    HOME: home,
    XDG_RUNTIME_DIR: tmp,
    TMPDIR: tmp,
    CONTAINERS_STORAGE_CONF: join(etc, "storage.conf"),
    CONTAINERS_CONF: join(etc, "containers.conf"),
    CONTAINERS_REGISTRIES_CONF: join(etc, "registries.conf"),
  });
  const running = new AbortController();
  const defaults = (): ProgramOptions => ({ env: env(), signal: running.signal });
  const policyFile = join(etc, "policy.json");
  return {
    policyFile,
    root,
    runRoot,
    tmp,
    metadataFile: join(options.dataRoot, "images.json"),
    insecureRegistries: new Set(options.insecureRegistries ?? []),
    log: options.log,
    env,
    close: () => running.abort(),
    reference: (name) => `containers-storage:${name}`,
    skopeo: (args, more) =>
      runProgram("skopeo", ["--policy", policyFile, "--registries.d", join(etc, "registries.d"), ...args], {
        env: env(),
        ...more,
      }),
    buildah: (args, more) =>
      runProgram(
        "buildah",
        [
          ...["--registries-conf", join(etc, "registries.conf"), "--registries-conf-dir", join(etc, "registries.conf.d")],
          ...args,
        ],
        { ...defaults(), ...more },
      ),
  };
}

/** Docker takes the proxies of the daemon's environment for pulls; so do we. */
function proxyVariables(): NodeJS.ProcessEnv {
  const out: NodeJS.ProcessEnv = {};
  for (const name of ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE"])
    if (process.env[name] !== undefined) out[name] = process.env[name];
  return out;
}

function configFiles(options: {
  root: string;
  runRoot: string;
  tmp: string;
  insecure: readonly string[];
}): Record<string, string> {
  const quote = (text: string) => JSON.stringify(text);
  const insecure = options.insecure
    .filter((location) => !location.includes("/"))
    .map((location) => `\n[[registry]]\nlocation = ${quote(location)}\ninsecure = true\n`)
    .join("");
  return {
    // skip_mount_home: else every program leaves a bind mount of the storage onto itself behind.
    "storage.conf": `[storage]\ndriver = "overlay"\ngraphroot = ${quote(options.root)}\nrunroot = ${quote(options.runRoot)}\n[storage.options.overlay]\nskip_mount_home = "true"\n`,
    "containers.conf": `[containers]\nbase_hosts_file = "none"\nhost_containers_internal_ip = "none"\ndefault_ulimits = []\n[engine]\nimage_copy_tmp_dir = ${quote(options.tmp)}\n`,
    "registries.conf": `unqualified-search-registries = ["docker.io"]\nshort-name-mode = "disabled"\n${insecure}`,
    "policy.json": '{"default":[{"type":"insecureAcceptAnything"}]}\n',
  };
}

async function writeIfDifferent(path: string, text: string): Promise<void> {
  const present = await readFile(path, "utf8").catch(() => undefined);
  if (present !== text) await writeFile(path, text, { mode: 0o600 });
}
