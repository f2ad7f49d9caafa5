import { constants } from "node:os";
import { refuse } from "../base/errors.js";

export const SIGKILL = 9;
const SIGRTMIN = 34;
const SIGRTMAX = 64;

/** "SIGTERM", "term", "15", "RTMIN+3" → number, as docker kill -s takes them. */
export function signalNumber(text: string): number {
  const name = text.toUpperCase().replace(/^SIG/, "");
  if (/^\d+$/.test(name)) {
    const number = Number(name);
    if (number >= 1 && number <= SIGRTMAX) return number;
  }
  const fixed = (constants.signals as Readonly<Record<string, number>>)[`SIG${name}`];
  if (fixed !== undefined) return fixed;
  const realTime = /^RT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name);
  if (realTime) {
    const base = realTime[1] === "MIN" ? SIGRTMIN : SIGRTMAX;
    const number = base + Number(`${realTime[2] ?? "+"}${realTime[3] ?? "0"}`);
    if (number >= SIGRTMIN && number <= SIGRTMAX) return number;
  }
  return refuse(400, `Invalid signal: ${text}`);
}
