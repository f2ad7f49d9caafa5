import { readFileSync } from "node:fs";

/** A process number with the time of its start (clock ticks since boot), so that a reused number is not taken for it. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: string;
}

export function identify(pid: number): ProcessIdentity | undefined {
  const startTime = statFields(pid)?.[19];
  return startTime === undefined ? undefined : { pid, startTime };
}

/** A zombie has ended. */
export function isAlive({ pid, startTime }: ProcessIdentity): boolean {
  const fields = statFields(pid);
  return fields !== undefined && fields[0] !== "Z" && fields[0] !== "X" && fields[19] === startTime;
}

/** Fields of /proc/<pid>/stat from the third (state) on: the second may hold spaces and brackets; see proc(5). */
function statFields(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return undefined;
  }
}
