import { execFileSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { extract } from "tar-stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { changes, copyUp, dirSize, encodePathStat, exportTar, getArchive, putArchive, statPath } from "../../src/images/index.js";
import { bytesOf, tarOf } from "./harness.js";

let top: string;
let root: string;
beforeEach(() => {
  top = mkdtempSync(join(tmpdir(), "lstarchive-"));
  root = join(top, "root");
  mkdirSync(join(root, "etc"), { recursive: true });
  mkdirSync(join(top, "outside"));
  writeFileSync(join(top, "outside/secret"), "secret");
  writeFileSync(join(root, "etc/hosts"), "127.0.0.1 localhost\n");
  symlinkSync("/etc/hosts", join(root, "abs"));
  symlinkSync("../../../../../../etc", join(root, "up"));
  symlinkSync(join(top, "outside"), join(root, "escape"));
  symlinkSync("loop", join(root, "loop"));
});
afterEach(() => rmSync(top, { recursive: true, force: true }));

async function namesOf(stream: Readable): Promise<string[]> {
  const names: string[] = [];
  const entries = extract();
  stream.pipe(entries as unknown as NodeJS.WritableStream);
  for await (const entry of entries) {
    names.push(
      entry.header.type === "file" || entry.header.type === "directory"
        ? entry.header.name
        : `${entry.header.name} ${entry.header.type} ${entry.header.linkname}`,
    );
    entry.resume();
  }
  return names.sort();
}
const plain = { noOverwriteDirNonDir: false };

describe("statPath", () => {
  it("gives Docker's header", async () => {
    const stat = await statPath(root, "/etc/hosts");
    expect(stat).toMatchObject({ name: "hosts", size: 20, mode: 0o644, linkTarget: "" });
    expect(JSON.parse(Buffer.from(encodePathStat(stat), "base64").toString())).toEqual(stat);
    expect((await statPath(root, "/etc")).mode).toBe((2 ** 31 + 0o755) >>> 0);
    expect((await statPath(root, "/")).name).toBe("/");
  });
  it("resolves links inside the root only", async () => {
    expect(await statPath(root, "/abs")).toMatchObject({ name: "abs", linkTarget: "/etc/hosts" });
    expect(await statPath(root, "/up")).toMatchObject({ linkTarget: "/etc" });
    expect((await statPath(root, "/up/hosts")).size).toBe(20);
    expect(await statPath(root, "/escape")).toMatchObject({ linkTarget: join(top, "outside") });
    await expect(statPath(root, "/escape/secret", "c1")).rejects.toMatchObject({
      status: 404,
      message: "Could not find the file /escape/secret in container c1",
    });
    await expect(statPath(root, "/loop/x")).rejects.toMatchObject({ status: 404 });
    await expect(statPath(root, "/../../../nosuch")).rejects.toMatchObject({ status: 404 });
  });
});

describe("getArchive and exportTar", () => {
  it("names entries from the last component on", async () => {
    expect(await namesOf(await getArchive(root, "/etc/hosts"))).toEqual(["hosts"]);
    expect(await namesOf(await getArchive(root, "/etc"))).toEqual(["etc/", "etc/hosts"]);
    expect(await namesOf(await getArchive(root, "/etc/"))).toEqual(["etc/", "etc/hosts"]);
    expect(await namesOf(await getArchive(root, "/etc/."))).toEqual(["./", "./hosts"]);
    expect(await namesOf(await getArchive(root, "/up/"))).toEqual(["up/", "up/hosts"]);
    expect(await namesOf(await getArchive(root, "/abs"))).toEqual(["abs symlink /etc/hosts"]);
    await expect(getArchive(root, "/nosuch", "c")).rejects.toMatchObject({ status: 404 });
    await expect(getArchive(root, "/escape/.", "c")).rejects.toMatchObject({ status: 404 });
  });
  it("survives odd names and exports all", async () => {
    mkdirSync(join(root, "a,b&c\\d"));
    writeFileSync(join(root, "a,b&c\\d/-x"), "1");
    linkSync(join(root, "a,b&c\\d/-x"), join(root, "a,b&c\\d/y"));
    const names = await namesOf(await getArchive(root, "/a,b&c\\d"));
    expect(names.map((name) => name.split(" ")[0])).toEqual(["a,b&c\\d/", "a,b&c\\d/-x", "a,b&c\\d/y"]);
    expect(await namesOf(await getArchive(root, "/a,b&c\\d/-x"))).toEqual(["-x"]);
    const all = await namesOf(await exportTar(root));
    expect(all).toContain("etc/hosts");
    expect(all).toContain("abs symlink /etc/hosts");
  });
});

describe("putArchive", () => {
  it("writes files, directories, links, owners and modes", async () => {
    const tar = tarOf({
      "d/": { type: "directory", mode: 0o750, uid: 7, gid: 8 },
      "d/link": { type: "symlink", linkname: "f" },
      "d/fifo": { type: "fifo", mode: 0o600 },
      f: "content",
      "missing/parent/g": "g",
    });
    await putArchive(root, "/etc", tar, plain);
    expect(readFileSync(join(root, "etc/f"), "utf8")).toBe("content");
    expect(readlinkSync(join(root, "etc/d/link"))).toBe("f");
    expect(statSync(join(root, "etc/d"))).toMatchObject({ uid: 7, gid: 8 });
    expect(statSync(join(root, "etc/d")).mode & 0o777).toBe(0o750);
    expect(statSync(join(root, "etc/d/fifo")).isFIFO()).toBe(true);
    expect(readFileSync(join(root, "etc/missing/parent/g"), "utf8")).toBe("g");
    await putArchive(root, "/etc", tarOf({ hard: { type: "link", linkname: "f" } }), plain);
    expect(statSync(join(root, "etc/hard")).nlink).toBe(2);
  });
  it("cannot be led outside, by the archive's or the container's links", async () => {
    await expect(putArchive(root, "/escape", tarOf({ x: "1" }), plain)).rejects.toMatchObject({ status: 404 });
    await putArchive(root, "/", tarOf({ "../../../../climb": "1" }), plain);
    expect(readFileSync(join(root, "climb"), "utf8")).toBe("1");
    await putArchive(root, "/", tarOf({ "escape/secret": "overwritten?" }), plain).catch(() => undefined);
    await putArchive(
      root,
      "/",
      tarOf({ l: { type: "symlink", linkname: join(top, "outside") }, "l/secret": "overwritten?" }),
      plain,
    );
    await putArchive(root, "/", tarOf({ h: { type: "link", linkname: "../outside/secret" } }), plain).catch(() => undefined);
    await putArchive(root, "/", tarOf({ escape: "a file now" }), plain);
    expect(readFileSync(join(top, "outside/secret"), "utf8")).toBe("secret");
    expect(statSync(join(top, "outside/secret")).nlink).toBe(1);
    expect(readFileSync(join(root, "escape"), "utf8")).toBe("a file now");
  });
  it("refuses what Docker refuses", async () => {
    await expect(putArchive(root, "/etc/hosts", tarOf({ x: "1" }), plain)).rejects.toMatchObject({
      status: 400,
      message: "extraction point is not a directory",
    });
    const strict = { noOverwriteDirNonDir: true };
    await expect(putArchive(root, "/", tarOf({ etc: "file" }), strict)).rejects.toMatchObject({
      status: 400,
      message: 'cannot overwrite directory "/etc" with non-directory "//etc"',
    });
    await expect(putArchive(root, "/", Readable.from([Buffer.alloc(700, 65)]), plain)).rejects.toMatchObject({ status: 400 });
  });
});

describe("changes, copyUp, dirSize", () => {
  it("tells what an overlay's upper layer changes", async () => {
    const low = join(top, "low");
    const upper = join(top, "upper");
    const merged = join(top, "merged");
    for (const path of [join(low, "d/sub"), join(low, "e"), join(low, "q"), upper, join(top, "work"), merged])
      mkdirSync(path, { recursive: true });
    for (const file of ["d/a", "d/sub/b", "e/c", "keep", "gone"]) writeFileSync(join(low, file), file);
    execFileSync("mount", [
      "-t",
      "overlay",
      "overlay",
      "-o",
      `lowerdir=${low},upperdir=${upper},workdir=${join(top, "work")},redirect_dir=off`,
      merged,
    ]);
    try {
      rmSync(join(merged, "gone"));
      rmSync(join(merged, "d"), { recursive: true });
      mkdirSync(join(merged, "d"));
      writeFileSync(join(merged, "d/new"), "new");
      writeFileSync(join(merged, "e/c"), "changed");
      writeFileSync(join(merged, "added"), "");
      // What the engine mounts over: not shown, nor is a directory that changed for it only.
      mkdirSync(join(merged, "etc"));
      writeFileSync(join(merged, "etc/hosts"), "");
      writeFileSync(join(merged, "q/resolv.conf"), "");
    } finally {
      execFileSync("umount", [merged]);
    }
    expect(await changes(upper, [low])).toEqual([
      { Path: "/added", Kind: 1 },
      { Path: "/d", Kind: 0 },
      { Path: "/d/a", Kind: 2 },
      { Path: "/d/new", Kind: 1 },
      { Path: "/d/sub", Kind: 2 },
      { Path: "/e", Kind: 0 },
      { Path: "/e/c", Kind: 0 },
      { Path: "/gone", Kind: 2 },
      { Path: "/q", Kind: 0 },
      { Path: "/q/resolv.conf", Kind: 1 },
    ]);
  });
  it("copies an image's directory into a volume, as it is", async () => {
    mkdirSync(join(root, "data/sub"), { recursive: true });
    writeFileSync(join(root, "data/sub/f"), "x".repeat(1000), { mode: 0o640 });
    linkSync(join(root, "data/sub/f"), join(root, "data/hard"));
    execFileSync("chown", ["33:44", join(root, "data")]);
    execFileSync("chmod", ["2770", join(root, "data")]);
    const volume = join(top, "volume");
    expect(await copyUp(root, "/data", volume)).toBe(true);
    expect(statSync(volume)).toMatchObject({ uid: 33, gid: 44 });
    expect(statSync(volume).mode & 0o7777).toBe(0o2770);
    expect(statSync(join(volume, "hard")).nlink).toBe(2);
    expect(await dirSize(volume)).toBe(1000);
    expect(await copyUp(root, "/nosuch", join(top, "v2"))).toBe(false);
    expect(existsSync(join(top, "v2"))).toBe(false);
    expect(await copyUp(root, "/escape", join(top, "v3"))).toBe(false);
    expect((await bytesOf(await exportTar(volume))).length).toBeGreaterThan(1000);
  });
});
