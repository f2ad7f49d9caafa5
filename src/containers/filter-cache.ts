import { createHash } from "node:crypto";
import { readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { OciSeccomp, OciSpec } from "./spec/oci.js";

/**
 * Compiled seccomp filters by profile. libseccomp takes 8–25 ms to compile a profile of 350 calls for three architectures, nearly
 * half of a container's creation, and always with the same result. crun leaves the result in its state directory and takes a
 * compiled filter instead of a profile by the annotation run.oci.seccomp_bpf_data (crun(1)).
 */
export class FilterCache {
  readonly #directory: string;
  readonly #salt: string;
  readonly #filters = new Map<string, Buffer>();
  #enabled = true;

  /** `runtime`: its file's size and time are part of the key: another crun may compile otherwise. */
  constructor(directory: string, runtime: string) {
    this.#directory = directory;
    const { size, mtimeMs } = statSync(runtime);
    this.#salt = `${runtime} ${size} ${mtimeMs}`;
  }

  /** The same container with the compiled filter in the place of the profile, if there is one. */
  apply(config: OciSpec): { readonly config: OciSpec; readonly filter?: Buffer } {
    const { seccomp, ...linux } = config.linux;
    if (seccomp === undefined || !this.#enabled) return { config };
    const filter = this.#find(this.#key(seccomp));
    if (filter === undefined) return { config };
    const annotations = { ...config.annotations, "run.oci.seccomp_bpf_data": filter.toString("base64") };
    return { config: { ...config, annotations, linux }, filter };
  }

  /**
   * After creation: keeps what the runtime compiled; or, where `given` was handed over, makes sure that it was taken. A runtime that
   * does not know the annotation would run the container without a filter: that is an error, and the cache is not used again.
   */
  learn(seccomp: OciSeccomp, stateFile: string, given: Buffer | undefined): void {
    if (!this.#enabled) return;
    let actual: Buffer | undefined;
    try {
      actual = readFileSync(stateFile);
    } catch {
      // another runtime's state; not ours to use
    }
    if (given !== undefined) {
      if (actual?.equals(given)) return;
      this.#enabled = false;
      throw new Error("the runtime did not take the compiled seccomp filter; start the container again");
    }
    if (actual === undefined || actual.length === 0) return;
    const key = this.#key(seccomp);
    this.#filters.set(key, actual);
    const path = join(this.#directory, key);
    writeFileSync(`${path}.new`, actual, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  #find(key: string): Buffer | undefined {
    const known = this.#filters.get(key);
    if (known !== undefined) return known;
    try {
      const filter = readFileSync(join(this.#directory, key));
      // struct sock_filter is 8 bytes
      if (filter.length === 0 || filter.length % 8 !== 0) return undefined;
      this.#filters.set(key, filter);
      return filter;
    } catch {
      return undefined;
    }
  }

  #key(seccomp: OciSeccomp): string {
    return createHash("sha256").update(this.#salt).update(JSON.stringify(seccomp)).digest("hex");
  }
}
