import koffi from "koffi";
import { KernelError } from "../../base/errors.js";
import { EINVAL, ENOENT, kernelError } from "../errno.js";

/**
 * libnftables(3), in this process, for whole tables: their text is nft's language. A context works on the namespace in which it was
 * made. It is remade after an error, as the library keeps what it had parsed of the failed input. Only text is given to it, never
 * JSON: its JSON parser crashes on input of a wrong type.
 */
interface Library {
  readonly create: (flags: number) => unknown;
  readonly free: (context: unknown) => void;
  readonly bufferOutput: (context: unknown) => number;
  readonly bufferError: (context: unknown) => number;
  readonly run: (context: unknown, text: string) => number;
  readonly errors: (context: unknown) => string | null;
}

let library: Library | undefined;

function load(): Library {
  if (library !== undefined) return library;
  let handle: ReturnType<typeof koffi.load>;
  try {
    handle = koffi.load("libnftables.so.1");
  } catch {
    throw new KernelError("load libnftables.so.1 (Debian package libnftables1)", ENOENT, "ENOENT");
  }
  library = {
    create: handle.func("void *nft_ctx_new(uint32_t flags)") as unknown as Library["create"],
    free: handle.func("void nft_ctx_free(void *ctx)") as unknown as Library["free"],
    bufferOutput: handle.func("int nft_ctx_buffer_output(void *ctx)") as unknown as Library["bufferOutput"],
    bufferError: handle.func("int nft_ctx_buffer_error(void *ctx)") as unknown as Library["bufferError"],
    run: handle.func("int nft_run_cmd_from_buffer(void *ctx, const char *buf)") as unknown as Library["run"],
    errors: handle.func("const char *nft_ctx_get_error_buffer(void *ctx)") as unknown as Library["errors"],
  };
  return library;
}

export class NftContext {
  #context: unknown;

  /** Runs the text as one transaction in the thread's present namespace, which must be the same one each time. Throws KernelError. */
  run(text: string, operation: string): void {
    const lib = load();
    if (this.#context === undefined) {
      this.#context = lib.create(0);
      lib.bufferOutput(this.#context);
      lib.bufferError(this.#context);
    }
    if (lib.run(this.#context, text) === 0) return;
    const said = lib.errors(this.#context) ?? "";
    this.close();
    throw errorFrom(said, operation);
  }

  close(): void {
    if (this.#context === undefined) return;
    load().free(this.#context);
    this.#context = undefined;
  }
}

const MESSAGES = new Map<string, number>([
  ["No such file or directory", 2],
  ["File exists", 17],
  ["Operation not supported", 95],
  ["Operation not permitted", 1],
  ["Device or resource busy", 16],
  ["Too many open files in system", 23],
  ["Numerical result out of range", 34],
  ["No buffer space available", 105],
  ["Invalid argument", EINVAL],
]);

/** The library reports "/dev/stdin:1:2-3: Error: Could not process rule: File exists" and then shows the place. */
function errorFrom(said: string, operation: string): KernelError {
  const line = /Error: (.*)/.exec(said)?.[1] ?? said.trim().split("\n")[0] ?? "";
  const words = line.replace(/^Could not process rule: /, "");
  const errno = MESSAGES.get(words) ?? EINVAL;
  const place = said
    .split("\n")
    .slice(1, 2)
    .map((text) => text.trim())
    .join("");
  return kernelError(operation, errno, place === "" ? line : `${line}: ${place.slice(0, 200)}`);
}
