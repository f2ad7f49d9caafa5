import { closeSync, constants, openSync, writeSync } from "node:fs";
import { refuse } from "../base/errors.js";

const WINDOW_SIZE = 1;

/** Tells conmon the terminal's size, by its control fifo. Nobody reads it any more: the process has ended. */
export function resizeTerminal(controlFifo: string, height: number, width: number): void {
  if (!Number.isInteger(height) || !Number.isInteger(width) || height < 0 || width < 0 || height > 65535 || width > 65535)
    refuse(400, `invalid terminal size ${height}x${width}`);
  const fd = openFifo(controlFifo) ?? refuse(409, "cannot resize a stopped container: unknown");
  try {
    writeSync(fd, `${WINDOW_SIZE} ${height} ${width}\n`);
  } finally {
    closeSync(fd);
  }
}

/** Undefined if nobody reads it. */
function openFifo(path: string): number | undefined {
  try {
    return openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
}
