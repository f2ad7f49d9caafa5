import { closeSync, constants, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";

/**
 * Writes a file that is bind mounted into a container: in place, because a rename would leave the container with the old inode.
 * The new text is written over the old one and the rest cut off, so that a reader never finds the file empty.
 * Does nothing when the text is there already. Returns whether it wrote.
 */
export function writeEtcFile(path: string, text: string): boolean {
  try {
    if (readFileSync(path, "utf8") === text) return false;
  } catch {
    // not there yet
  }
  const bytes = Buffer.from(text, "utf8");
  const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT, 0o644);
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, done);
    ftruncateSync(fd, bytes.length);
  } finally {
    closeSync(fd);
  }
  return true;
}
