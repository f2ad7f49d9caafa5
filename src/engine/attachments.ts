import type { AttachSession, OutputChunk } from "../containers/contract.js";

/**
 * `docker run` attaches before it starts the container: the session exists first and is joined to the process when there is one.
 * What is written before that waits.
 */
export class Attachments {
  readonly #waiting = new Map<string, Set<WaitingSession>>();

  /** A session for a container that does not run yet. */
  wait(containerId: string): AttachSession {
    const set = this.#waiting.get(containerId) ?? new Set();
    this.#waiting.set(containerId, set);
    const session = new WaitingSession(() => set.delete(session));
    set.add(session);
    return session;
  }

  /** The container's process exists (and has not begun): whoever waits is joined to it. */
  async join(containerId: string, open: () => Promise<AttachSession>): Promise<void> {
    const set = this.#waiting.get(containerId);
    this.#waiting.delete(containerId);
    for (const session of set ?? []) session.join(await open());
  }

  /** The container will not run: whoever waits sees the end. */
  end(containerId: string): void {
    const set = this.#waiting.get(containerId);
    this.#waiting.delete(containerId);
    for (const session of set ?? []) session.finish();
  }
}

class WaitingSession implements AttachSession {
  readonly ended: Promise<void>;
  #finish: () => void = () => undefined;
  #onJoined: () => void = () => undefined;
  readonly #joined: Promise<void>;
  #real: AttachSession | undefined;
  #closed = false;
  #inputEnded = false;
  #input: Buffer[] = [];
  readonly #listeners: ((chunk: OutputChunk) => void)[] = [];
  readonly #onClose: () => void;

  constructor(onClose: () => void) {
    this.#onClose = onClose;
    this.#joined = new Promise((resolve) => {
      this.#onJoined = resolve;
    });
    this.ended = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  join(real: AttachSession): void {
    this.#onJoined();
    if (this.#closed) {
      real.close();
      return;
    }
    this.#real = real;
    for (const listener of this.#listeners) real.onOutput(listener);
    for (const data of this.#input) real.write(data);
    if (this.#inputEnded) real.endInput();
    void real.ended.then(this.#finish);
  }

  finish(): void {
    this.#onJoined();
    this.#finish();
  }

  onOutput(listener: (chunk: OutputChunk) => void): void {
    this.#listeners.push(listener);
    this.#real?.onOutput(listener);
  }

  write(data: Buffer): void | Promise<void> {
    if (this.#real !== undefined) return this.#real.write(data);
    this.#input.push(data);
    // The client is held back until there is a process to read.
    return this.#joined;
  }

  endInput(): void {
    this.#inputEnded = true;
    this.#real?.endInput();
  }

  close(): void {
    this.#closed = true;
    this.#onJoined();
    this.#onClose();
    this.#real?.close();
    this.#finish();
  }
}
