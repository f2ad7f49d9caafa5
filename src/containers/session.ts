import type { Socket } from "node:net";
import { type SeqpacketSocket, seqpacketConnect } from "../kernel/seqpacket.js";
import type { AttachSession, OutputChunk } from "./contract.js";

/** Hands output to the listeners; keeps what comes before the first one. */
export class Output {
  readonly #listeners: ((chunk: OutputChunk) => void)[] = [];
  #early: OutputChunk[] = [];

  emit(chunk: OutputChunk): void {
    if (this.#listeners.length === 0) this.#early.push(chunk);
    for (const listener of this.#listeners) listener(chunk);
  }

  on(listener: (chunk: OutputChunk) => void): void {
    this.#listeners.push(listener);
    for (const chunk of this.#early.splice(0)) listener(chunk);
  }
}

/** conmon reads its attach socket in pieces of at most 32 KiB and cuts longer packets off. */
const INPUT_CHUNK = 8192;
const STDERR = 3;

/**
 * A session over conmon's attach socket: packets whose first byte names the stream (2 stdout, 3 stderr). Input goes the other way
 * as it is; a half close becomes end of file for the process.
 */
export function attachSession(path: string, options: { readonly stdin: boolean }): AttachSession {
  const socket = connectOrUndefined(path);
  const output = new Output();
  if (socket === undefined)
    return { onOutput: (l) => output.on(l), write() {}, endInput() {}, ended: Promise.resolve(), close() {} };
  const ended = new Promise<void>((resolve) => {
    socket.onReadable(
      (packet) => output.emit({ stream: packet[0] === STDERR ? "stderr" : "stdout", data: packet.subarray(1) }),
      () => {
        socket.close();
        resolve();
      },
    );
  });
  return {
    onOutput: (listener) => output.on(listener),
    write(data) {
      if (!options.stdin) return;
      let last: Promise<void> | undefined;
      for (let at = 0; at < data.length; at += INPUT_CHUNK) last = socket.write(data.subarray(at, at + INPUT_CHUNK));
      return last;
    },
    endInput() {
      if (options.stdin) socket.shutdown();
    },
    ended,
    close() {
      socket.close();
    },
  };
}

/** No socket: the process has ended, and its conmon with it. */
function connectOrUndefined(path: string): SeqpacketSocket | undefined {
  try {
    return seqpacketConnect(path);
  } catch (error) {
    const code = (error as { code?: string }).code;
    if (code === "ENOENT" || code === "ECONNREFUSED" || code === "ENOTDIR") return undefined;
    throw error;
  }
}

/** How long output may still come after the process's end when a child of it holds the pipe open. */
const DRAIN_MS = 100;

/**
 * A session over pipes. Ends when both outputs have ended, or when the process has (`exited`) and nothing came for a moment:
 * a daemon that it left behind may keep its stdout.
 */
export function pipeSession(pipes: {
  readonly stdin: Socket | undefined;
  readonly stdout: Socket | undefined;
  readonly stderr: Socket | undefined;
  readonly exited: Promise<void>;
}): AttachSession & { readonly output: Output } {
  const output = new Output();
  let last = 0;
  let paused = false;
  const streamEnd = (stream: Socket | undefined, name: "stdout" | "stderr") =>
    stream === undefined
      ? Promise.resolve()
      : new Promise<void>((resolve) => {
          stream.on("data", (data: Buffer) => {
            last = performance.now();
            output.emit({ stream: name, data });
          });
          stream.on("error", () => resolve());
          stream.on("close", () => resolve());
        });
  const streamsEnded = Promise.all([streamEnd(pipes.stdout, "stdout"), streamEnd(pipes.stderr, "stderr")]);
  const quiet = pipes.exited.then(
    () =>
      new Promise<void>((resolve) => {
        last = performance.now();
        const check = () => {
          const wait = paused ? DRAIN_MS : last + DRAIN_MS - performance.now();
          if (wait <= 0) resolve();
          else setTimeout(check, wait);
        };
        check();
      }),
  );
  const closeAll = () => {
    for (const stream of [pipes.stdin, pipes.stdout, pipes.stderr]) stream?.destroy();
  };
  // The process may end without reading all of its input.
  pipes.stdin?.on("error", () => {});
  const ended = Promise.all([Promise.race([streamsEnded, quiet]), pipes.exited]).then(closeAll);
  return {
    output,
    onOutput: (listener) => output.on(listener),
    write(data) {
      const { stdin } = pipes;
      if (!stdin?.writable || stdin.write(data)) return;
      return new Promise<void>((resolve) => {
        const done = () => {
          stdin.off("drain", done).off("close", done);
          resolve();
        };
        stdin.on("drain", done).on("close", done);
      });
    },
    pause() {
      paused = true;
      pipes.stdout?.pause();
      pipes.stderr?.pause();
    },
    resume() {
      paused = false;
      last = performance.now();
      pipes.stdout?.resume();
      pipes.stderr?.resume();
    },
    endInput() {
      pipes.stdin?.end();
    },
    ended,
    close: closeAll,
  };
}
