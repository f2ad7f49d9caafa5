import { connect } from "node:net";
import { limits } from "./limits.js";

let open = 0;

/**
 * Asks over TCP, one connection per question (this happens only for answers that are too large for UDP). Calls back once: with the answer, its
 * id that of `query`, or with undefined when there is none in time.
 */
export function askTcp(
  upstream: { readonly address: string; readonly port: number },
  query: Uint8Array,
  timeoutMs: number,
  done: (answer: Uint8Array | undefined) => void,
): void {
  if (open >= limits.tcpUpstreamConnections || timeoutMs <= 0) {
    setImmediate(done, undefined);
    return;
  }
  open++;
  const socket = connect({ host: upstream.address, port: upstream.port });
  const chunks: Buffer[] = [];
  let size = 0;
  let finished = false;
  const finish = (answer: Uint8Array | undefined) => {
    if (finished) return;
    finished = true;
    open--;
    clearTimeout(timer);
    socket.destroy();
    done(answer);
  };
  const timer = setTimeout(finish, timeoutMs, undefined);
  socket.on("connect", () => {
    const frame = Buffer.allocUnsafe(query.length + 2);
    frame.writeUInt16BE(query.length, 0);
    frame.set(query, 2);
    socket.write(frame);
  });
  socket.on("data", (chunk) => {
    chunks.push(chunk);
    size += chunk.length;
    if (size < 2) return;
    const all = chunks.length === 1 ? chunk : Buffer.concat(chunks);
    chunks.splice(0, chunks.length, all);
    const length = all.readUInt16BE(0);
    if (size >= length + 2) finish(all[2] === query[0] && all[3] === query[1] ? all.subarray(2, length + 2) : undefined);
  });
  socket.on("error", () => finish(undefined));
  socket.on("close", () => finish(undefined));
}
