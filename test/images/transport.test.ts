import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { extract } from "tar-stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bytesOf, openTestStore, type TestStore, tarOf } from "./harness.js";

let test: TestStore;
beforeAll(async () => {
  test = await openTestStore();
  const files = { "./": null, "bin/": null, "bin/sh": "shell", "d/": null, "d/a": "a", "d/b": "b", gone: "x" };
  await test.store.import(
    tarOf(files),
    { repo: "base", tag: "latest", changes: ['CMD ["sh"]', "ENV A=1"], message: "base" },
    () => undefined,
  );
});
afterAll(() => test.remove());

const keep = { force: false, noPrune: false, inUse: new Map<string, string>() };

/** Changes files on an overlay mount of an image; resolves to the upper directory. */
async function changed(image: string, change: (merged: string) => void): Promise<string> {
  const layers = await test.store.layers((await test.store.get(image)).id);
  const top = join(test.root, `c${Math.random()}`);
  const [upper, work, merged] = ["upper", "work", "merged"].map((name) => join(top, name)) as [string, string, string];
  for (const path of [upper, work, merged]) mkdirSync(path, { recursive: true });
  const options = `lowerdir=${layers.join(":")},upperdir=${upper},workdir=${work},redirect_dir=off`;
  execFileSync("mount", ["-t", "overlay", "overlay", "-o", options, merged]);
  try {
    change(merged);
  } finally {
    execFileSync("umount", [merged]);
  }
  return upper;
}

async function entriesOf(stream: Readable): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  const entries = extract();
  stream.pipe(entries as unknown as NodeJS.WritableStream);
  for await (const entry of entries)
    found.set(entry.header.name, (await bytesOf(entry as unknown as Readable)).toString("latin1"));
  return found;
}

describe("commit", () => {
  it("adds one layer with deletions, and keeps the base's layers by reference", async () => {
    const base = await test.store.get("base");
    const upper = await changed("base", (merged) => {
      rmSync(join(merged, "gone"));
      rmSync(join(merged, "d"), { recursive: true });
      mkdirSync(join(merged, "d"));
      writeFileSync(join(merged, "d/new"), "new");
      writeFileSync(join(merged, "n".repeat(120)), "long name");
      if (existsSync("/usr/sbin/setcap")) execFileSync("setcap", ["cap_setuid,cap_net_raw+ep", join(merged, "bin/sh")]);
    });
    const id = await test.store.commit({
      upperDir: upper,
      imageId: base.id,
      config: { ...base.config, Labels: { x: "y" } },
      repo: "committed",
      tag: "",
      comment: "why",
      author: "me",
      changes: ["ENV B=2"],
      createdBy: "sh -c change",
    });
    const image = await test.store.get("committed");
    expect(image).toMatchObject({ id, parent: base.id, comment: "why", author: "me", repoTags: ["committed:latest"] });
    expect(image.config).toEqual({ Cmd: ["sh"], Env: ["A=1", "B=2"], Labels: { x: "y" } });
    expect(image.diffIds.slice(0, 1)).toEqual(base.diffIds);
    expect(image.history.map((entry) => entry.created_by)).toEqual(["", "sh -c change"]);
    const layers = await test.store.layers(id);
    expect(layers.length).toBe(2);
    expect(layers[1]).toBe((await test.store.layers(base.id))[0]);
    await changed("committed", (merged) => {
      expect(existsSync(join(merged, "gone"))).toBe(false);
      expect(existsSync(join(merged, "d/a"))).toBe(false);
      expect(readFileSync(join(merged, "d/new"), "utf8")).toBe("new");
      expect(readFileSync(join(merged, "n".repeat(120)), "utf8")).toBe("long name");
      if (existsSync("/usr/sbin/getcap"))
        expect(execFileSync("getcap", [join(merged, "bin/sh")]).toString()).toContain("cap_setuid,cap_net_raw=ep");
    });
  });
  it("hides and deletes the base as docker does with parents", async () => {
    const base = await test.store.get("base");
    await expect(test.store.remove(base.id, keep)).rejects.toMatchObject({
      status: 409,
      message: `conflict: unable to delete ${base.id.slice(7, 19)} (cannot be forced) - image has dependent child images`,
    });
    expect(await test.store.remove("base", keep)).toEqual([{ Untagged: "base:latest" }]);
    expect((await test.store.list()).map((image) => image.repoTags)).toEqual([["committed:latest"]]);
    expect((await test.store.list({ all: true })).length).toBe(2);
    await test.store.tag(base.id, "base", "");
  });
});

describe("save and load", () => {
  it("saves several images and tags into one archive that loads again", async () => {
    await test.store.tag("base", "team/base", "v2");
    const [base, committed] = [await test.store.get("base"), await test.store.get("committed")];
    const archive = await bytesOf(await test.store.save(["base", "team/base:v2", "committed"]));
    const entries = await entriesOf(Readable.from([archive]));
    expect(JSON.parse(entries.get("manifest.json") ?? "")).toEqual([
      {
        Config: `${base.id.slice(7)}.json`,
        RepoTags: ["base:latest", "team/base:v2"],
        Layers: [`${base.diffIds[0]?.slice(7)}/layer.tar`],
      },
      {
        Config: `${committed.id.slice(7)}.json`,
        RepoTags: ["committed:latest"],
        Layers: committed.diffIds.map((digest) => `${digest.slice(7)}/layer.tar`),
      },
    ]);
    for (const name of ["base", "team/base:v2", "committed"]) await test.store.remove(name, keep);
    expect(await test.store.list({ all: true })).toEqual([]);
    const messages: object[] = [];
    await test.store.load(Readable.from([gzipSync(archive)]), (message) => messages.push(message));
    expect(messages.filter((message) => "stream" in message)).toEqual([
      { stream: "Loaded image: base:latest\n" },
      { stream: "Loaded image: team/base:v2\n" },
      { stream: "Loaded image: committed:latest\n" },
    ]);
    expect(await test.store.get("committed")).toEqual(committed);
    // What skopeo calls a docker-archive is one.
    const file = join(test.root, "saved.tar");
    writeFileSync(file, archive);
    execFileSync("skopeo", ["inspect", "--insecure-policy", `docker-archive:${file}:docker.io/library/committed:latest`]);
  });
  it("loads an OCI archive, with gzip layers", async () => {
    const committed = await test.store.get("committed");
    const file = join(test.root, "in.tar");
    const oci = join(test.root, "oci.tar");
    writeFileSync(file, await bytesOf(await test.store.save([committed.id])));
    execFileSync("skopeo", [
      "copy",
      "-q",
      "--insecure-policy",
      `docker-archive:${file}`,
      `oci-archive:${oci}:example.org/from/oci:1`,
    ]);
    await test.store.remove("committed", keep);
    const messages: object[] = [];
    await test.store.load(Readable.from([readFileSync(oci)]), (message) => messages.push(message));
    expect(messages.at(-1)).toEqual({ stream: "Loaded image: example.org/from/oci:1\n" });
    const loaded = await test.store.get("example.org/from/oci:1");
    expect(loaded.diffIds).toEqual(committed.diffIds);
    expect(loaded.config).toEqual(committed.config);
  });
  it("refuses what is no image archive", async () => {
    const load = (stream: Readable) => test.store.load(stream, () => undefined);
    await expect(load(tarOf({ x: "1" }))).rejects.toMatchObject({ status: 400 });
    await expect(load(Readable.from([Buffer.alloc(2000, 65)]))).rejects.toMatchObject({ status: 400 });
    await expect(load(Readable.from([]))).rejects.toMatchObject({ status: 400 });
    const climbing = JSON.stringify([{ Config: "../../../../../../etc/passwd", RepoTags: null, Layers: [] }]);
    await expect(load(tarOf({ "manifest.json": climbing }))).rejects.toMatchObject({ status: 400 });
    await expect(load(tarOf({ "manifest.json": "{" }))).rejects.toMatchObject({ status: 400 });
    await expect(test.store.save(["nosuch"])).rejects.toMatchObject({ status: 404 });
  });
});
