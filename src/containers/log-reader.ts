import { type FSWatcher, watch } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { LogOptions, OutputChunk } from "./contract.js";
import { type LogRecord, LogRenderer, parseRecord, timeSeconds } from "./log-format.js";

const BLOCK = 64 * 1024;
/** Longest record that is looked for: conmon's own are below 16 KiB. */
const MAX_RECORD = 1024 * 1024;

/**
 * The records of a log file, rendered. `ended` tells whether the process is gone: following stops when it is and the file was read
 * to its end. A file that does not exist is an empty log. `changed` resolves when something may have happened (exit); optional.
 */
export async function* readLog(
  path: string,
  options: LogOptions,
  live: { ended(): boolean; onEnd(listener: () => void): () => void },
): AsyncGenerator<OutputChunk> {
  const renderer = new LogRenderer(options.timestamps);
  for await (const record of records(path, options, live)) {
    if (record.stream === "stdout" ? !options.stdout : !options.stderr) continue;
    if (options.since !== undefined && timeSeconds(record.time) < options.since) continue;
    if (options.until !== undefined && timeSeconds(record.time) > options.until) return;
    yield renderer.render(record);
  }
}

async function* records(
  path: string,
  options: LogOptions,
  live: { ended(): boolean; onEnd(listener: () => void): () => void },
): AsyncGenerator<LogRecord> {
  const file = await openOrUndefined(path);
  if (file === undefined) return;
  const wake = new Wake();
  let watcher: FSWatcher | undefined;
  let stopListening = () => {};
  let current = file;
  try {
    if (options.follow) {
      watcher = watch(path, () => wake.up());
      stopListening = live.onEnd(() => wake.up());
    }
    const wanted = (record: LogRecord) => (record.stream === "stdout" ? options.stdout : options.stderr);
    let position = options.tail === undefined ? 0 : await tailPosition(current, options.tail, wanted);
    let rest: Buffer = Buffer.alloc(0);
    for (;;) {
      // Asked before reading: what the process wrote before its end is then in the file.
      const ended = !options.follow || live.ended();
      const block = Buffer.allocUnsafe(BLOCK);
      const { bytesRead } = await current.read(block, 0, BLOCK, position);
      if (bytesRead > 0) {
        position += bytesRead;
        let data = rest.length === 0 ? block.subarray(0, bytesRead) : Buffer.concat([rest, block.subarray(0, bytesRead)]);
        for (let at = data.indexOf(10); at >= 0; at = data.indexOf(10)) {
          const record = parseRecord(data.subarray(0, at));
          if (record !== undefined) yield record;
          data = data.subarray(at + 1);
        }
        rest = data.length > MAX_RECORD ? Buffer.alloc(0) : data;
        continue;
      }
      if (ended) return;
      if (await wasReplaced(current, path)) {
        // conmon's rotation (--log-size-max) begins a new file.
        const next = await openOrUndefined(path);
        if (next !== undefined) {
          await current.close();
          current = next;
          watcher?.close();
          watcher = watch(path, () => wake.up());
          position = 0;
          rest = Buffer.alloc(0);
          continue;
        }
      } else if ((await current.stat()).size < position) {
        position = 0;
        rest = Buffer.alloc(0);
        continue;
      }
      if (options.until !== undefined && Date.now() / 1000 > options.until) return;
      await wake.wait();
    }
  } finally {
    watcher?.close();
    stopListening();
    await current.close();
  }
}

/** Where the last `count` lines (of the streams that are wanted) begin. Reads the file backwards, in blocks. */
export async function tailPosition(file: FileHandle, count: number, wanted: (record: LogRecord) => boolean): Promise<number> {
  const { size } = await file.stat();
  if (count <= 0) return size;
  let lines = 0;
  let end = size;
  let later: Buffer = Buffer.alloc(0);
  let start = size;
  let sawRecord = false;
  while (end > 0) {
    const from = Math.max(0, end - BLOCK);
    const block = Buffer.alloc(end - from);
    await file.read(block, 0, block.length, from);
    let data = later.length === 0 ? block : Buffer.concat([block, later]);
    // `data` is the file's bytes from `from`; whole records are taken from its end.
    for (;;) {
      const stop = data.length > 0 && data[data.length - 1] === 10 ? data.length - 1 : data.length;
      if (stop <= 0) break;
      const before = data.lastIndexOf(10, stop - 1);
      if (before < 0 && from > 0) break;
      const record = parseRecord(data.subarray(before + 1, stop));
      if (record !== undefined && wanted(record)) {
        // A line is what ends with F; an unfinished one at the very end counts as well.
        if (!record.partial || !sawRecord) lines++;
        sawRecord = true;
        if (lines > count) return start;
      }
      start = from + before + 1;
      data = data.subarray(0, before + 1);
      if (data.length === 0) break;
    }
    later = data;
    end = from;
  }
  return 0;
}

async function wasReplaced(file: FileHandle, path: string): Promise<boolean> {
  const next = await openOrUndefined(path);
  if (next === undefined) return false;
  try {
    return (await next.stat()).ino !== (await file.stat()).ino;
  } finally {
    await next.close();
  }
}

async function openOrUndefined(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Sleeps until told, at most a second (a notification may be lost when the kernel's queue is full). */
class Wake {
  #signalled = false;
  #resolve: (() => void) | undefined;

  up(): void {
    this.#signalled = true;
    this.#resolve?.();
  }

  wait(): Promise<void> {
    if (this.#signalled) {
      this.#signalled = false;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const timer = setTimeout(done, 1000);
      const self = this;
      function done() {
        clearTimeout(timer);
        self.#resolve = undefined;
        self.#signalled = false;
        resolve();
      }
      this.#resolve = done;
    });
  }
}
