import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Logger } from "../../src/base/log.js";
import { type Kernel, type KernelOptions, startKernel } from "../../src/kernel/index.js";
import { umount } from "../../src/kernel/mounts.js";
import { makeNamespace, removeNamespace } from "../../src/kernel/namespaces.js";
import type { KernelObject } from "../../src/plan/objects.js";
import type { ApplyResult, Batch } from "../../src/plan/port.js";
import { output } from "../lib/run.js";

/** IFLA_GROUP of the links that the tests make */
export const GROUP = 0x4c00;

export interface Lab {
  readonly kernel: Kernel;
  readonly warnings: string[];
  /** A program inside the namespace that is the host's here; its standard output. */
  host(...command: string[]): string;
  /** The same inside a namespace that the kernel layer has pinned. */
  inside(name: string, ...command: string[]): string;
  apply(...batches: Batch[]): Promise<ApplyResult>;
  /** Puts in one batch and demands success. */
  put(...objects: KernelObject[]): Promise<ApplyResult>;
  remove(...objects: KernelObject[]): Promise<ApplyResult>;
  close(): Promise<void>;
}

/** A fresh namespace as the host's, with lo up, and a kernel thread in it. */
export async function openLab(options: Pick<KernelOptions, "spares"> = {}): Promise<Lab> {
  const execRoot = mkdtempSync(join(tmpdir(), "lst-exec-"));
  const hostNetns = join(execRoot, "host");
  makeNamespace(hostNetns, () => undefined);
  output("nsenter", `--net=${hostNetns}`, "ip", "link", "set", "lo", "up");
  const warnings: string[] = [];
  const quiet = () => undefined;
  const log: Logger = {
    debug: quiet,
    info: quiet,
    warn: (message, fields) => warnings.push(`${message} ${JSON.stringify(fields)}`),
    error: (message, fields) => warnings.push(`${message} ${JSON.stringify(fields)}`),
  };
  const kernel = await startKernel({ execRoot, group: GROUP, hostNetns, log, ...options });
  const apply = async (...batches: Batch[]) => kernel.apply(batches);
  const demand = async (batch: Batch): Promise<ApplyResult> => {
    const result = await kernel.apply([batch]);
    if (result.failures.length > 0)
      throw new Error(result.failures.map((f) => `${f.operation}: ${f.code} ${f.extAck ?? ""}`).join("\n"));
    return result;
  };
  return {
    kernel,
    warnings,
    host: (...command) => output("nsenter", `--net=${hostNetns}`, ...command),
    inside: (name, ...command) => output("nsenter", `--net=${join(execRoot, "netns", name)}`, ...command),
    apply,
    put: (...objects) => demand(objects.map((object) => ({ op: "put", object }))),
    remove: (...objects) => demand(objects.map((object) => ({ op: "delete", object }))),
    async close() {
      await kernel.close();
      for (const name of readdirSync(join(execRoot, "netns"))) umount(join(execRoot, "netns", name));
      removeNamespace(hostNetns);
      rmSync(execRoot, { recursive: true, force: true });
    },
  };
}

/** True if the program ends with another status than 0. */
export function fails(action: () => unknown): boolean {
  try {
    action();
    return false;
  } catch {
    return true;
  }
}
