import { readlinkSync, statSync } from "node:fs";
import { Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Launcher } from "../../src/containers/launcher.js";
import { closeFd, pipe } from "../../src/kernel/pipes.js";

let plain: Launcher;
let own: Launcher;
beforeAll(() => {
  plain = new Launcher({ hideUnified: undefined, sealed: undefined });
  own = new Launcher({ hideUnified: "/sys/fs/cgroup/unified", sealed: "/usr/bin/crun" });
});
afterAll(() => Promise.all([plain.close(), own.close()]));

async function output(launcher: Launcher, script: string, extra: (number | null)[] = []): Promise<string> {
  const out = pipe();
  const { exited } = await launcher.launch({
    argv: ["/bin/sh", "-c", script],
    env: { PATH: "/usr/bin:/bin", WORD: "a b" },
    cwd: "/usr",
    fds: [null, out.write, out.write, ...extra],
  });
  closeFd(out.write);
  let text = "";
  const socket = new Socket({ fd: out.read, readable: true, writable: false });
  for await (const chunk of socket) text += chunk;
  await exited;
  return text;
}

describe("launcher", () => {
  it("gives arguments, environment, directory, descriptors and nothing else", async () => {
    expect(await output(plain, 'echo "$WORD $(pwd) $(env | grep -c .)"')).toMatch(/^a b \/usr \d+\n$/);
    // 5 is ls's own
    const extra = pipe();
    const other = pipe();
    const listing = await output(plain, "readlink /proc/self/fd/0; ls /proc/self/fd", [other.write, extra.write]);
    expect(listing.split("\n")).toEqual(["/dev/null", "0", "1", "2", "3", "4", "5", ""]);
    for (const fd of [extra.read, extra.write, other.read, other.write]) closeFd(fd);
  });

  it("keeps crossed descriptors apart", async () => {
    const [a, b] = [pipe(), pipe()];
    const low = Math.min(a.write, b.write);
    const high = Math.max(a.write, b.write);
    // Targets that are sources of later ones
    const fds: (number | null)[] = Array.from({ length: low + 1 }, () => null);
    fds[low] = high;
    fds[low - 1] = low;
    const { exited } = await plain.launch({
      argv: ["/bin/bash", "-c", `echo low >&${low - 1}; echo high >&${low}`],
      env: { PATH: "/usr/bin:/bin" },
      cwd: "/",
      fds,
    });
    await exited;
    closeFd(a.write);
    closeFd(b.write);
    const read = async (fd: number) => {
      let text = "";
      for await (const chunk of new Socket({ fd, readable: true, writable: false })) text += chunk;
      return text;
    };
    const [first, second] = a.write === low ? [a, b] : [b, a];
    expect(await read(first.read)).toBe("low\n");
    expect(await read(second.read)).toBe("high\n");
  });

  it("reports exit codes, signals and failures", async () => {
    const end = async (script: string) => {
      const { exited } = await plain.launch({ argv: ["/bin/sh", "-c", script], env: {}, cwd: "/", fds: [null, null, null] });
      return exited;
    };
    expect(await end("exit 7")).toMatchObject({ code: 7, signal: null });
    expect(await end("kill -9 $$")).toMatchObject({ code: null, signal: 9 });
    await expect(plain.launch({ argv: ["/no/such"], env: {}, cwd: "/", fds: [] })).rejects.toThrow("ENOENT");
    // SIGPIPE, which Node ignores, has its usual effect again, and nothing is blocked.
    expect(await output(plain, "grep -E 'Sig(Blk|Ign)' /proc/self/status")).toBe(
      "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n",
    );
  });

  it("hides the v2 hierarchy and seals the runtime in a mount namespace of the program's own", async () => {
    const text = await output(
      own,
      "readlink /proc/self/ns/mnt; stat -fc %T /sys/fs/cgroup/unified; findmnt -no OPTIONS /usr/bin/crun; mount -t tmpfs none /mnt",
    );
    const lines = text.split("\n");
    expect(lines[0]).not.toBe(readlinkSync("/proc/self/ns/mnt"));
    expect(lines[1]).toBe("tmpfs");
    expect(lines[2]).toMatch(/^ro,/);
    expect(statSync("/mnt").dev).toBe(statSync("/").dev);
  });
});
