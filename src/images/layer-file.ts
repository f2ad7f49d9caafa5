import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { PassThrough, Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { RefusalError, refusal } from "../base/errors.js";

export type Compression = "none" | "gzip" | "bzip2" | "xz" | "zstd";

export function compressionOf(head: Buffer): Compression {
  const hex = head.subarray(0, 6).toString("hex");
  if (hex.startsWith("1f8b08")) return "gzip";
  if (hex.startsWith("425a68")) return "bzip2";
  if (hex.startsWith("fd377a585a00")) return "xz";
  if (hex.startsWith("28b52ffd")) return "zstd";
  return "none";
}

/** The first bytes of a stream, put back so that the stream can still be read from its start. */
export async function peek(source: Readable, bytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let length = 0;
  while (length < bytes) {
    const chunk = (source.read() as Buffer | null) ?? undefined;
    if (chunk !== undefined) {
      parts.push(chunk);
      length += chunk.length;
      continue;
    }
    if (source.readableEnded || source.destroyed) break;
    await new Promise<void>((resolve, reject) => {
      const done = (action: () => void) => () => {
        source.off("readable", onReadable).off("end", onEnd).off("error", onError).off("close", onEnd);
        action();
      };
      const onReadable = done(resolve);
      const onEnd = done(resolve);
      const onError = (error: Error) => done(() => reject(error))();
      source.on("readable", onReadable).on("end", onEnd).on("error", onError).on("close", onEnd);
    });
  }
  const head = Buffer.concat(parts);
  if (head.length > 0 && !source.readableEnded) source.unshift(head);
  return head;
}

/**
 * The stream without its gzip, bzip2, xz or zstd, recognised by its first bytes (as docker import and load do; the names of the
 * latter three are also the programs that are run). Broken data destroys the stream with a refusal 400.
 */
export async function decompressed(source: Readable): Promise<Readable> {
  const head = await peek(source, 6);
  // A stream that has ended cannot be given its bytes back.
  if (source.readableEnded) return Readable.from([head], { objectMode: false });
  const compression = compressionOf(head);
  if (compression === "none") return source;
  const broken = (reason: string) =>
    new RefusalError(refusal(400, `Error processing tar file(exit status 1): ${compression}: ${reason}`));
  if (compression === "gzip") {
    const gunzip = createGunzip();
    const out = new PassThrough();
    pipeline(source, gunzip, out).catch((error: Error) => out.destroy(broken(error.message)));
    return out;
  }
  const child = spawn(compression, ["-dc"], { stdio: ["pipe", "pipe", "ignore"] });
  const out = new PassThrough();
  child.on("error", (error) => out.destroy(broken(error.message)));
  child.on("close", (code) => (code === 0 ? out.end() : out.destroy(broken(`exit status ${code}`))));
  pipeline(source, child.stdin).catch(() => undefined);
  child.stdout.pipe(out, { end: false });
  return out;
}

/** Writes the uncompressed bytes of a tar to `path`, hashing on the way. Reads the whole source. */
export async function writeUncompressed(source: Readable, path: string): Promise<{ digest: string; size: number }> {
  const hash = createHash("sha256");
  let size = 0;
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      size += chunk.length;
      done(null, chunk);
    },
  });
  await pipeline(await decompressed(source), meter, createWriteStream(path, { mode: 0o600 }));
  return { digest: `sha256:${hash.digest("hex")}`, size };
}

export async function fileDigest(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return `sha256:${hash.digest("hex")}`;
}
