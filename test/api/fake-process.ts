import { type ChildProcess, spawn } from "node:child_process";
import type { AttachSession, OutputChunk } from "../../src/api/types.js";

/** A session over a real process of this machine, as a container's would be. */
export function processSession(child: ChildProcess): AttachSession & { closed: boolean } {
  const listeners: ((chunk: OutputChunk) => void)[] = [];
  const held: OutputChunk[] = [];
  const give = (stream: "stdout" | "stderr") => (data: Buffer) => {
    if (listeners.length === 0) held.push({ stream, data });
    for (const listener of listeners) listener({ stream, data });
  };
  child.stdout?.on("data", give("stdout"));
  child.stderr?.on("data", give("stderr"));
  const session = {
    closed: false,
    onOutput(listener: (chunk: OutputChunk) => void) {
      listeners.push(listener);
      for (const chunk of held.splice(0)) listener(chunk);
    },
    write: (data: Buffer) => void child.stdin?.write(data),
    endInput: () => void child.stdin?.end(),
    ended: new Promise<void>((resolve) => child.once("close", () => resolve())),
    close() {
      session.closed = true;
    },
  };
  return session;
}

export function shell(script: string): ChildProcess {
  return spawn("sh", ["-c", script]);
}
