import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { promisify } from "node:util";
import { pack } from "tar-stream";
import { importImage } from "./import.js";
import type { Storage } from "./storage.js";

const candidates = ["/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox"];

/**
 * Makes the image `busybox:latest` out of the host's static busybox: a fresh machine can run containers without any registry.
 * Resolves to undefined when the host has no busybox that runs without libraries.
 */
export async function makeBuiltinBusybox(storage: Storage): Promise<string | undefined> {
  for (const path of candidates) {
    const program = await readFile(path).catch(() => undefined);
    if (program === undefined) continue;
    if (!isStaticElf(program)) {
      storage.log.warn("busybox is dynamically linked: no built-in image", { path });
      continue;
    }
    const { stdout } = await promisify(execFile)(path, ["--list"]);
    const applets = stdout.split("\n").filter((name) => /^[a-z0-9_.[-]+$/.test(name) && name !== "busybox");
    return importImage(storage, rootFilesystem(program, applets), {
      repo: "busybox",
      tag: "latest",
      changes: ['CMD ["sh"]'],
      message: "Built in: the host's static busybox",
    });
  }
  return undefined;
}

/** An ELF without PT_INTERP needs no loader and no library (elf(5)). */
function isStaticElf(program: Buffer): boolean {
  if (program.readUInt32BE(0) !== 0x7f454c46) return false;
  const wide = program[4] === 2;
  const big = program[5] === 2;
  const u16 = (at: number) => (big ? program.readUInt16BE(at) : program.readUInt16LE(at));
  const u32 = (at: number) => (big ? program.readUInt32BE(at) : program.readUInt32LE(at));
  const offset = wide ? Number(big ? program.readBigUInt64BE(32) : program.readBigUInt64LE(32)) : u32(28);
  const size = u16(wide ? 54 : 42);
  const count = u16(wide ? 56 : 44);
  for (let i = 0; i < count; i++) if (u32(offset + i * size) === 3) return false;
  return true;
}

function rootFilesystem(program: Buffer, applets: readonly string[]): Readable {
  const archive = pack();
  const mtime = new Date();
  const directory = (name: string, mode = 0o755) => archive.entry({ name, type: "directory", mode, mtime });
  const file = (name: string, content: Buffer | string, mode = 0o644) => archive.entry({ name, mode, mtime }, content);
  directory("./");
  for (const name of ["bin", "dev", "etc", "home", "proc", "sys", "usr", "usr/bin", "var", "var/spool", "var/www"])
    directory(`./${name}/`);
  directory("./root/", 0o700);
  for (const name of ["tmp", "var/tmp"]) directory(`./${name}/`, 0o1777);
  file("./bin/busybox", program, 0o755);
  for (const name of applets) archive.entry({ name: `./bin/${name}`, type: "symlink", linkname: "busybox", mode: 0o777, mtime });
  archive.entry({ name: "./usr/bin/env", type: "symlink", linkname: "/bin/busybox", mode: 0o777, mtime });
  file(
    "./etc/passwd",
    "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\nnobody:x:65534:65534:nobody:/home:/bin/false\n",
  );
  file("./etc/group", "root:x:0:\ndaemon:x:1:\ntty:x:5:\nmail:x:8:\nwww-data:x:33:\nnogroup:x:65534:\n");
  file("./etc/shadow", "root:*:::::::\ndaemon:*:::::::\nwww-data:*:::::::\nnobody:*:::::::\n", 0o640);
  file("./etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n");
  archive.finalize();
  return Readable.from(archive as AsyncIterable<Buffer>, { objectMode: false });
}
