import { refuse } from "../base/errors.js";

/** "ctrl-p,ctrl-q" → the bytes to look for. 400 for what is no key. Empty: the default. */
export function parseDetachKeys(text: string | null | undefined): Buffer {
  const keys = text === null || text === undefined || text === "" ? "ctrl-p,ctrl-q" : text;
  const bytes: number[] = [];
  for (const key of keys.split(",")) {
    const ctrl = /^ctrl-([a-z@[\\\]^_])$/i.exec(key);
    if (ctrl !== null) bytes.push(ctrl[1]!.toUpperCase().charCodeAt(0) & 0x1f);
    else if (key.length === 1) bytes.push(key.charCodeAt(0));
    else refuse(400, `Invalid detach keys (${keys}) provided: Unknown character: '${key}'`);
  }
  return Buffer.from(bytes);
}

/** Watches a terminal's input for the keys, across chunks. What may be their beginning is held back until it is decided. */
export class DetachWatcher {
  private readonly keys: Buffer;
  private matched = 0;
  constructor(keys: Buffer) {
    this.keys = keys;
  }

  /** The bytes to pass on, and whether the keys were completed (nothing after them is passed on). */
  push(data: Buffer): { readonly pass: Buffer; readonly detached: boolean } {
    const out: number[] = [];
    for (const byte of data) {
      if (byte === this.keys[this.matched]) {
        this.matched++;
        if (this.matched === this.keys.length) return { pass: Buffer.from(out), detached: true };
        continue;
      }
      out.push(...this.keys.subarray(0, this.matched));
      this.matched = byte === this.keys[0] ? 1 : 0;
      if (this.matched === 0) out.push(byte);
    }
    return { pass: Buffer.from(out), detached: false };
  }
}
