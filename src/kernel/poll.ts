import koffi from "koffi";

type Handle = ReturnType<typeof koffi.node.poll>;
/** As the .d.ts has it: without the status. */
type DeclaredCallback = Parameters<typeof koffi.node.poll>[1];

/** What the descriptor is ready for. `status` below 0 is a negative errno: libuv has then stopped polling. */
export interface Readiness {
  readonly status: number;
  readonly readable: boolean;
  readonly writable: boolean;
}

/**
 * Calls `onReady` on this thread's event loop while a descriptor is ready (level-triggered). The descriptor stays the caller's:
 * call `close()` before closing it. koffi's poll is undocumented, so that this file is its only user, with these facts built in:
 * the callback gets (status, events); an exception in it would end the event loop, so it goes to `uncaughtException` from a timer
 * instead; it is called outside Node's callback scope, so promises settled in it would wait for the next event: an immediate runs them.
 */
export class Poll {
  readonly #handle: Handle;
  readonly #onReady: (ready: Readiness) => void;
  #wants: { readable: boolean; writable: boolean };
  #closed = false;
  #kicked = false;

  constructor(
    fd: number,
    wants: { readonly readable: boolean; readonly writable?: boolean },
    onReady: (ready: Readiness) => void,
  ) {
    this.#onReady = onReady;
    this.#wants = { readable: wants.readable, writable: wants.writable ?? false };
    this.#handle = koffi.node.poll(fd, this.#wants, this.#callback as unknown as DeclaredCallback);
  }

  /** Changes what is waited for, and starts again after an error status stopped the polling. */
  restart(wants: { readonly readable: boolean; readonly writable?: boolean } = this.#wants): void {
    if (this.#closed) return;
    this.#wants = { readable: wants.readable, writable: wants.writable ?? false };
    this.#handle.stop();
    if (this.#wants.readable || this.#wants.writable)
      this.#handle.start(this.#wants, this.#callback as unknown as DeclaredCallback);
  }

  /** The event loop may end though this is open. */
  unref(): this {
    this.#handle.unref();
    return this;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#handle.stop();
    this.#handle.close();
  }

  readonly #callback = (status: number, events: { readonly readable: boolean; readonly writable: boolean }): void => {
    if (this.#closed) return;
    try {
      this.#onReady({ status, readable: events.readable, writable: events.writable });
    } catch (error) {
      setImmediate(() => {
        throw error;
      });
    }
    if (this.#kicked) return;
    this.#kicked = true;
    setImmediate(() => {
      this.#kicked = false;
    });
  };
}
