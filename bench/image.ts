import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { BenchEngine } from "./lab.js";

/** A root file system of the host's static busybox, the same for every engine. */
export function importBusybox(engine: BenchEngine): void {
  const dir = mkdtempSync(join(tmpdir(), "lsb-img-"));
  try {
    for (const d of ["bin", "etc", "tmp", "proc", "sys", "dev", "root", "www"])
      mkdirSync(join(dir, "rootfs", d), { recursive: true });
    copyFileSync("/bin/busybox", join(dir, "rootfs/bin/busybox"));
    execFileSync("chmod", ["755", join(dir, "rootfs/bin/busybox")]);
    for (const applet of execFileSync("/bin/busybox", ["--list"], { encoding: "utf8" }).split("\n").filter(Boolean)) {
      if (applet !== "busybox") symlinkSync("busybox", join(dir, "rootfs/bin", applet));
    }
    writeFileSync(join(dir, "rootfs/etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
    writeFileSync(join(dir, "rootfs/etc/group"), "root:x:0:\n");
    writeFileSync(join(dir, "rootfs/www/index.html"), "<!DOCTYPE html>\n");
    execFileSync("tar", ["-C", join(dir, "rootfs"), "-cf", join(dir, "busybox.tar"), "."]);
    engine.cli("import", join(dir, "busybox.tar"), "busybox");
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
