import { randomBytes } from "node:crypto";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AttachSession, Exit, OutputChunk, RunSpec } from "../../src/containers/contract.js";
import { createContainerRuntime } from "../../src/containers/index.js";
import { umount } from "../../src/kernel/mounts.js";
import type { Container, ContainerConfig, HostConfig } from "../../src/model/container.js";
import { createdState, plainConfig, plainHostConfig } from "../../src/model/container-defaults.js";
import { entries } from "../lib/files.js";
import { stderrLog } from "../lib/log.js";

export type Runtime = Awaited<ReturnType<typeof createContainerRuntime>>;

/** A runtime with roots of its own and a root file system of Debian's static busybox. Paths as long as the acceptance lab's. */
export class Lab {
  readonly root = mkdtempSync("/tmp/lst-containers-");
  readonly dataRoot = join(this.root, "data");
  readonly execRoot = join(this.root, "x");
  readonly layer = join(this.root, "layer");
  runtime!: Runtime;
  readonly exits: Exit[] = [];
  readonly #ids = new Set<string>();
  readonly #waiting: ((exit: Exit) => void)[] = [];

  async open(runtime?: "crun" | "runc"): Promise<void> {
    makeBusyboxRoot(this.layer);
    await this.reopen(runtime);
  }

  /** A new life of the engine on the same roots. */
  async reopen(runtime?: "crun" | "runc"): Promise<void> {
    if (this.runtime !== undefined) await this.runtime.close();
    const options = { dataRoot: this.dataRoot, execRoot: this.execRoot, log: stderrLog() };
    this.runtime = await createContainerRuntime(runtime === undefined ? options : { ...options, runtime });
    this.runtime.onExit((exit) => {
      this.exits.push(exit);
      for (const resolve of this.#waiting) resolve(exit);
    });
  }

  /** Ends and removes all containers made so far. */
  async clear(): Promise<void> {
    for (const id of this.#ids) {
      await this.runtime.cleanup(id);
      await this.runtime.removeStorage(id);
    }
    this.#ids.clear();
    this.exits.length = 0;
  }

  async close(): Promise<void> {
    await this.clear();
    await this.runtime.close();
    for (const id of entries(join(this.execRoot, "containers"))) umount(join(this.execRoot, "containers", id, "rootfs"));
    rmSync(this.root, { recursive: true, force: true });
  }

  container(cmd: readonly string[], config: Partial<ContainerConfig> = {}, hostConfig: Partial<HostConfig> = {}): Container {
    const id = randomBytes(32).toString("hex");
    this.#ids.add(id);
    return makeContainer(id, cmd, config, hostConfig);
  }

  spec(container: Container, extra: Partial<RunSpec> = {}): RunSpec {
    return {
      container,
      netnsPath: undefined,
      hostname: container.config.Hostname || container.id.slice(0, 12),
      layers: [this.layer],
      imageConfig: {},
      mounts: container.mounts,
      etcFiles: {},
      linkEnv: [],
      ...extra,
    };
  }

  /** Creates and starts. */
  async run(container: Container, extra: Partial<RunSpec> = {}): Promise<number> {
    const { pid } = await this.runtime.create(this.spec(container, extra));
    await this.runtime.start(container.id);
    return pid;
  }

  exit(container: Container): Promise<Exit> {
    const seen = this.exits.find((e) => e.containerId === container.id);
    if (seen !== undefined) return Promise.resolve(seen);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no exit of ${container.id}`)), 10_000);
      this.#waiting.push((exit) => {
        if (exit.containerId !== container.id) return;
        clearTimeout(timer);
        resolve(exit);
      });
    });
  }

  /** Runs to the end; what it printed and its code. */
  async output(container: Container, extra: Partial<RunSpec> = {}): Promise<{ stdout: string; stderr: string; code: number }> {
    await this.runtime.create(this.spec(container, extra));
    const session = await this.runtime.attach(container.id, { tty: container.config.Tty, stdin: false });
    const collected = collect(session);
    await this.runtime.start(container.id);
    const exit = await this.exit(container);
    await session.ended;
    await this.runtime.cleanup(container.id);
    return { ...collected.text(), code: exit.exitCode };
  }

  async exec(container: Container, cmd: readonly string[], options: Record<string, unknown> = {}, stdin?: string) {
    let code: number | undefined;
    let done = (_: number): void => {};
    const finished = new Promise<number>((resolve) => {
      done = resolve;
    });
    const { session } = await this.runtime.execStart(
      container,
      {
        id: randomBytes(32).toString("hex"),
        request: {
          cmd,
          env: [],
          workingDir: "",
          user: "",
          tty: false,
          attachStdin: stdin !== undefined,
          attachStdout: true,
          attachStderr: true,
          privileged: false,
          ...options,
        },
      },
      (c) => {
        code = c;
        done(c);
      },
    );
    const collected = collect(session);
    if (stdin !== undefined) {
      session.write(Buffer.from(stdin));
      session.endInput();
    }
    await session.ended;
    await finished;
    return { ...collected.text(), code };
  }
}

export function collect(session: AttachSession): { text(): { stdout: string; stderr: string }; chunks: OutputChunk[] } {
  const chunks: OutputChunk[] = [];
  session.onOutput((chunk) => chunks.push(chunk));
  const of = (stream: "stdout" | "stderr") =>
    Buffer.concat(chunks.filter((c) => c.stream === stream).map((c) => c.data)).toString();
  return { chunks, text: () => ({ stdout: of("stdout"), stderr: of("stderr") }) };
}

export async function logText(log: AsyncIterable<OutputChunk>): Promise<{ stdout: string; stderr: string }> {
  const text = { stdout: "", stderr: "" };
  for await (const chunk of log) text[chunk.stream] += chunk.data.toString();
  return text;
}

export const allLogs = { stdout: true, stderr: true, follow: false, timestamps: false } as const;

function makeBusyboxRoot(root: string): void {
  for (const directory of ["bin", "etc", "tmp", "proc", "dev", "sys", "root", "home/ann"])
    mkdirSync(join(root, directory), { recursive: true });
  chmodSync(join(root, "tmp"), 0o1777);
  copyFileSync("/bin/busybox", join(root, "bin/busybox"));
  const applets =
    "sh cat echo env printenv sleep ls id pwd hostname true false head dd ps kill mount umount touch stat tail yes md5sum seq grep tty stty nc ip wc mkdir df tr dmesg ulimit date readlink chroot mknod trap unshare";
  for (const applet of applets.split(" ")) symlinkSync("busybox", join(root, "bin", applet));
  writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001::/home/ann:/bin/sh\n");
  writeFileSync(join(root, "etc/group"), "root:x:0:\nann:x:1001:\naudio:x:29:ann\nvideo:x:44:\n");
  writeFileSync(join(root, "bin/noexec"), "#!/bin/sh\n", { mode: 0o644 });
}

export function makeContainer(
  id: string,
  cmd: readonly string[],
  config: Partial<ContainerConfig>,
  hostConfig: Partial<HostConfig>,
): Container {
  return {
    id,
    name: `t${id.slice(0, 8)}`,
    created: "2024-01-01T00:00:00Z",
    imageId: "sha256:0",
    path: cmd[0]!,
    args: cmd.slice(1),
    config: { ...plainConfig(cmd), Image: "busybox", ...config },
    hostConfig: { ...plainHostConfig("none"), ...hostConfig },
    networks: [],
    mounts: [],
    state: createdState(),
  };
}
