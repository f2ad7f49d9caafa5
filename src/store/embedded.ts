import { mkdir, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { ClassicLevel } from "classic-level";
import { RefusalError, refusal } from "../base/errors.js";
import type { Logger } from "../base/log.js";
import type { Change } from "../model/state.js";
import type { Store } from "./contract.js";
import { decodeRecord, recordKey, recordText } from "./record.js";

export interface EmbeddedStoreOptions {
  /** Directory of the database; its parent is made if missing. */
  readonly directory: string;
  readonly log: Logger;
  /** For the name of a database that is moved aside; milliseconds since the epoch. */
  readonly now: () => number;
}

type Database = ClassicLevel<string, string>;

/**
 * The store of one host: LevelDB in `directory`. Never a reason not to start: what cannot be opened is repaired, and what cannot
 * be repaired is moved to `<directory>.damaged-<time>` and a fresh database takes its place. It is refused only where nothing is
 * damaged: when another live engine holds the database, and when the disk is full or not writable.
 */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<Store> {
  await mkdir(dirname(options.directory), { recursive: true, mode: 0o711 });
  const db = await openOrReplace(options);
  return new EmbeddedStore(db, options);
}

class EmbeddedStore implements Store {
  #db: Database;
  readonly #options: EmbeddedStoreOptions;
  #waiting: { readonly changes: readonly Change[]; readonly resolve: () => void; readonly reject: (e: unknown) => void }[] = [];
  #writing: Promise<void> = Promise.resolve();
  #draining = false;
  #closed = false;
  /** A write failed: what follows a record that was cut off would not be found again, so the database begins a new log first. */
  #torn = false;

  constructor(db: Database, options: EmbeddedStoreOptions) {
    this.#db = db;
    this.#options = options;
  }

  async load(): Promise<{ readonly changes: readonly Change[]; readonly damaged: readonly string[] }> {
    const first = await this.#read();
    if (first.unreadable === undefined) return first;
    // A block on disk is damaged: LevelDB's own repair drops it and keeps the rest.
    this.#options.log.error("store: unreadable block, repairing", { error: first.unreadable });
    await this.#db.close();
    await ClassicLevel.repair(this.#options.directory).catch(() => undefined);
    this.#db = await openOrReplace(this.#options);
    const second = await this.#read();
    const lost = [`database: ${first.unreadable}`, ...second.damaged];
    if (second.unreadable === undefined) return { changes: second.changes, damaged: lost };
    // Not even repair helped: what could be read goes into a fresh database.
    await this.#db.close();
    await moveAside(this.#options);
    this.#db = await open(this.#options.directory);
    const best = second.changes.length >= first.changes.length ? second.changes : first.changes;
    await this.#write(best);
    return { changes: best, damaged: lost };
  }

  /**
   * Commits are written strictly in the order of the calls (two commits of one record must not change places); those that arrive
   * while a write is under way go into the next write together, so that many concurrent requests share one fsync.
   */
  commit(changes: readonly Change[]): Promise<void> {
    if (this.#closed) return Promise.reject(new Error("store: closed"));
    if (changes.length === 0) return Promise.resolve();
    const done = new Promise<void>((resolve, reject) => this.#waiting.push({ changes, resolve, reject }));
    if (!this.#draining) this.#writing = this.#drain();
    return done;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#writing;
    await this.#db.close();
  }

  async #drain(): Promise<void> {
    this.#draining = true;
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      try {
        if (this.#torn) await this.#reopen();
        await this.#write(group.flatMap((g) => g.changes));
        for (const g of group) g.resolve();
      } catch (error) {
        this.#torn = true;
        for (const g of group) g.reject(error);
      }
    }
    // In the same tick in which the queue was found empty: a commit made by a resolved caller starts a new drain.
    this.#draining = false;
  }

  async #reopen(): Promise<void> {
    await this.#db.close();
    this.#db = await open(this.#options.directory);
    this.#torn = false;
  }

  #write(changes: readonly Change[]): Promise<void> {
    return this.#db.batch(
      changes.map((c) =>
        c.value === undefined
          ? { type: "del" as const, key: recordKey(c) }
          : { type: "put" as const, key: recordKey(c), value: recordText(c) },
      ),
      { sync: true },
    );
  }

  async #read(): Promise<{ changes: readonly Change[]; damaged: readonly string[]; unreadable?: string }> {
    const changes: Change[] = [];
    const damaged: string[] = [];
    try {
      for await (const [key, text] of this.#db.iterator()) {
        const record = decodeRecord(key, text);
        if (typeof record === "string") damaged.push(record);
        else changes.push(record);
      }
    } catch (error) {
      return { changes, damaged, unreadable: causeText(error) };
    }
    return { changes, damaged };
  }
}

async function openOrReplace(options: EmbeddedStoreOptions): Promise<Database> {
  const { directory, log } = options;
  try {
    return await open(directory);
  } catch (error) {
    if (isLocked(error)) throw inUse(directory);
    if (isDiskFault(error)) throw notWritable(directory, error);
    log.error("store: cannot be opened, repairing", { directory, error: causeText(error) });
  }
  try {
    await ClassicLevel.repair(directory);
    return await open(directory);
  } catch (error) {
    if (isLocked(error)) throw inUse(directory);
    if (isDiskFault(error)) throw notWritable(directory, error);
    log.error("store: cannot be repaired, starting with an empty one", { directory, error: causeText(error) });
  }
  await moveAside(options);
  return await open(directory);
}

async function open(directory: string): Promise<Database> {
  // Paranoid checks off (the default): a torn last write, as a power loss leaves it, is dropped instead of refused.
  const db: Database = new ClassicLevel<string, string>(directory, { keyEncoding: "utf8", valueEncoding: "utf8" });
  try {
    await db.open();
  } catch (error) {
    await db.close().catch(() => undefined);
    throw error;
  }
  return db;
}

async function moveAside(options: EmbeddedStoreOptions): Promise<void> {
  const to = `${options.directory}.damaged-${options.now()}`;
  await rename(options.directory, to);
  options.log.warn("store: the damaged database was kept", { at: to });
}

function isLocked(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && "code" in cause && cause.code === "LEVEL_LOCKED";
}

/** The database may be whole: to begin an empty one would lose it. LevelDB gives strerror(3)'s text only. */
function isDiskFault(error: unknown): boolean {
  return /No space left on device|Disk quota exceeded|Read-only file system|Too many open files|Permission denied/.test(
    causeText(error),
  );
}

function causeText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}

const inUse = (directory: string): RefusalError =>
  new RefusalError(
    refusal(409, `another engine uses this data root (${directory} is locked); give this one its own --data-root`),
  );

const notWritable = (directory: string, error: unknown): RefusalError =>
  new RefusalError(refusal(507, `the store in ${directory} cannot be opened, and is left as it is: ${causeText(error)}`));
