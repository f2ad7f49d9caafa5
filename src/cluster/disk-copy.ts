import { readFile, rename, writeFile } from "node:fs/promises";
import type { Mirror } from "./mirror.js";

const DELAY_MS = 500;
/** The pause between two copies is at least so many times what the last one took: a large cluster is copied less often. */
const REST = 20;

/** The mirror's content in a file, by which an engine that starts without etcd knows what it knew. Written soon after changes, whole and by rename. */
export class DiskCopy {
  private timer: NodeJS.Timeout | undefined;
  private writing: Promise<void> = Promise.resolve();
  private lastMs = 0;
  private networks: ReadonlySet<string> = new Set();
  private readonly file: string;
  private readonly mirror: Mirror;
  private readonly onError: (error: unknown) => void;

  constructor(file: string, mirror: Mirror, onError: (error: unknown) => void) {
    this.file = file;
    this.mirror = mirror;
    this.onError = onError;
  }

  /** Key, value and revision of what was kept; nothing when there is no copy or it is damaged: the store itself has everything. */
  async read(): Promise<readonly (readonly [string, string, number])[]> {
    try {
      return JSON.parse(await readFile(this.file, "utf8")) as [string, string, number][];
    } catch {
      return [];
    }
  }

  hasNetwork(id: string): boolean {
    return this.networks.has(id);
  }

  soon(): void {
    this.timer ??= setTimeout(
      () => {
        this.timer = undefined;
        void this.write();
      },
      Math.max(DELAY_MS, REST * this.lastMs),
    );
    this.timer.unref();
  }

  /** One at a time, the newest content last. Never rejects: what cannot be written is reported. */
  write(): Promise<void> {
    this.writing = this.writing.then(() => this.writeOnce()).catch(this.onError);
    return this.writing;
  }

  async close(): Promise<void> {
    clearTimeout(this.timer);
    await this.write();
  }

  private async writeOnce(): Promise<void> {
    const networks = new Set(this.mirror.networkIds());
    const start = performance.now();
    const text = JSON.stringify(this.mirror.snapshot());
    this.lastMs = performance.now() - start;
    await writeFile(`${this.file}.new`, text, { mode: 0o600 });
    await rename(`${this.file}.new`, this.file);
    this.networks = networks;
  }
}
