import type { OutputChunk } from "./types.js";

/** One frame of Docker's multiplexed stream: stream number, three zeros, length (big endian), payload. */
export function frame(chunk: OutputChunk): Buffer {
  const out = Buffer.allocUnsafe(8 + chunk.data.length);
  out.writeUInt32BE(chunk.stream === "stderr" ? 0x02000000 : 0x01000000, 0);
  out.writeUInt32BE(chunk.data.length, 4);
  chunk.data.copy(out, 8);
  return out;
}

export const RAW_STREAM = "application/vnd.docker.raw-stream";
export const MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream";

/** The content type tells tty from frames since API 1.42; before, both were called raw. */
export function streamType(tty: boolean, atLeast142: boolean): string {
  return !tty && atLeast142 ? MULTIPLEXED_STREAM : RAW_STREAM;
}
