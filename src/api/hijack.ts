import type { Readable, Writable } from "node:stream";
import type { Call } from "./call.js";
import { DetachWatcher } from "./detach-keys.js";
import { frame, streamType } from "./frames.js";
import type { AttachSession, OutputChunk } from "./types.js";

/** More than this waiting for a slow client: reading its output would be unbounded memory, so it is cut off. */
const MAX_BUFFERED_BYTES = 64 * 1024 * 1024;

/** The two directions of a connection that has stopped being HTTP. */
export interface RawConnection {
  readonly input: Readable;
  readonly output: Writable;
  /** Tells the client that nothing more comes; what it still sends is read until it ends too. */
  finish(): void;
  destroy(): void;
}

/**
 * Takes the connection: 101 when the client asked for an upgrade (the socket itself), 200 with the raw stream otherwise.
 * In the second form the client's input is the request's body, if it sends one.
 */
export function takeConnection(call: Call, tty: boolean): RawConnection {
  const type = streamType(tty, call.version !== undefined && call.atLeast("1.42"));
  const raw = call.response;
  if (call.upgraded !== undefined) {
    const { socket } = call.upgraded;
    const headers = Object.entries(call.reply.getHeaders())
      .map(([k, v]) => `${k}: ${String(v)}\r\n`)
      .join("");
    call.reply.hijack();
    raw.detachSocket(socket);
    socket.setNoDelay(true);
    socket.write(`HTTP/1.1 101 UPGRADED\r\n${headers}Content-Type: ${type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`);
    return { input: socket, output: socket, finish: () => void socket.end(), destroy: () => void socket.destroy() };
  }
  const headers = call.reply.getHeaders() as Record<string, string>;
  call.reply.hijack();
  // The end of the stream is the end of the connection, as from dockerd: no chunks.
  raw.shouldKeepAlive = false;
  raw.removeHeader("Transfer-Encoding");
  raw.writeHead(200, { ...headers, "Content-Type": type });
  raw.flushHeaders();
  call.track(raw);
  return { input: call.request.raw, output: raw, finish: () => void raw.end(), destroy: () => void raw.destroy() };
}

export interface PumpOptions {
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  /** The end of the client's input is the end of the process's input. */
  readonly closeStdin: boolean;
  /** Terminals only. */
  readonly detachKeys?: Buffer;
}

export function writeChunk(output: Writable, chunk: OutputChunk, tty: boolean): boolean {
  return output.write(tty ? chunk.data : frame(chunk));
}

/** Joins a process's streams and a client's connection until the output ends, the client goes, or it types the detach keys. */
export function pump(session: AttachSession, connection: RawConnection, options: PumpOptions): void {
  const { input, output } = connection;
  let over = false;
  let paused = false;
  output.on("drain", () => {
    paused = false;
    session.resume?.();
  });
  const end = (detach: boolean) => {
    if (over) return;
    over = true;
    if (detach) session.close();
    connection.finish();
    input.resume();
  };
  session.onOutput((chunk) => {
    if (over || (chunk.stream === "stderr" ? !options.stderr : !options.stdout)) return;
    if (!writeChunk(output, chunk, options.tty) && !paused && session.pause !== undefined) {
      paused = true;
      session.pause();
    }
    if (output.writableLength > MAX_BUFFERED_BYTES) {
      over = true;
      session.close();
      connection.destroy();
    }
  });
  void session.ended.then(
    () => end(false),
    () => end(false),
  );
  output.once("close", () => {
    if (over) return;
    over = true;
    session.close();
  });
  output.on("error", () => connection.destroy());
  const watcher = options.detachKeys === undefined ? undefined : new DetachWatcher(options.detachKeys);
  input.on("error", () => connection.destroy());
  input.on("data", (data: Buffer) => {
    if (over || !options.stdin) return;
    const { pass, detached } = watcher?.push(data) ?? { pass: data, detached: false };
    const accepted = pass.length > 0 ? session.write(pass) : undefined;
    if (accepted !== undefined) {
      input.pause();
      void accepted.finally(() => input.resume());
    }
    if (detached) end(true);
  });
  input.once("end", () => {
    if (!over && options.stdin && options.closeStdin) session.endInput();
  });
  input.resume();
}
