import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import type { Readable } from "node:stream";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { refuse } from "../base/errors.js";

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
 * Writes the uncompressed bytes of a tar (maybe gzip, bzip2, xz or zstd) to `path`, hashing on the way.
 * The whole source is read even if it is not compressed. Refusal 400 for bytes that cannot be decompressed.
 */
export async function writeUncompressed(source: Readable, path: string): Promise<{ digest: string; size: number }> {
  const head = await peek(source, 6);
  const hash = createHash("sha256");
  let size = 0;
  const meter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      size += chunk.length;
      done(null, chunk);
    },
  });
  const file = createWriteStream(path, { mode: 0o600 });
  if (source.readableEnded) {
    // Everything fitted in the peek: a stream that has ended cannot be given its bytes back.
    meter.end(head);
    await pipeline(meter, file);
    return { digest: `sha256:${hash.digest("hex")}`, size };
  }
  const compression = compressionOf(head);
  try {
    if (compression === "none") await pipeline(source, meter, file);
    else if (compression === "gzip") await pipeline(source, createGunzip(), meter, file);
    else await decompressByProgram(compression, source, meter, file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "";
    if (code.startsWith("Z_")) refuse(400, `Error processing tar file(exit status 1): ${(error as Error).message}`);
    throw error;
  }
  return { digest: `sha256:${hash.digest("hex")}`, size };
}

async function decompressByProgram(program: string, source: Readable, meter: Transform, file: NodeJS.WritableStream) {
  const child = spawn(program, ["-dc"], { stdio: ["pipe", "pipe", "ignore"] });
  const exit = new Promise<number>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve(code ?? 1));
  });
  const [code] = await Promise.all([exit, pipeline(source, child.stdin), pipeline(child.stdout, meter, file)]);
  if (code !== 0) refuse(400, `Error processing tar file(exit status ${code}): ${program} cannot read it`);
}
