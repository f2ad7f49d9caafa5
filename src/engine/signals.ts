import { constants } from "node:os";
import { refuse } from "../base/errors.js";

/** "SIGTERM", "TERM", "15", "RTMIN+3" → its number. Refuses what is none with Docker's text. */
export function signalNumber(text: string): number {
  const name = text.toUpperCase().replace(/^SIG/, "");
  if (/^[0-9]+$/.test(name)) {
    const number = Number(name);
    if (number > 0 && number <= 64) return number;
  }
  const known = (constants.signals as Record<string, number>)[`SIG${name}`];
  if (known !== undefined) return known;
  // Real-time signals: 34 to 64 as glibc counts them.
  const realtime = /^RT(MIN|MAX)(?:([+-])([0-9]{1,2}))?$/.exec(name);
  if (realtime !== null) {
    const number = (realtime[1] === "MIN" ? 34 : 64) + Number(`${realtime[2] ?? "+"}${realtime[3] ?? 0}`);
    if (number >= 34 && number <= 64) return number;
  }
  return refuse(400, `Invalid signal: ${text}`);
}

export const SIGTERM = 15;
export const SIGKILL = 9;
