import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bytesOf, openTestStore, type TestStore, tarOf, watchPrograms } from "./harness.js";

let test: TestStore;
let programs: ReturnType<typeof watchPrograms>;
beforeAll(async () => {
  test = await openTestStore();
  programs = watchPrograms(test.root);
});
afterAll(async () => {
  programs.restore();
  await test.remove();
});

const quiet = () => undefined;
const none = { repo: "", tag: "", changes: [] as string[], message: "" };

describe("the image store", () => {
  it("makes busybox out of the host's, once and quickly", async () => {
    await test.store.ensureBuiltin();
    expect(programs.started()).toEqual(["skopeo"]);
    const image = await test.store.get("busybox");
    expect(image.repoTags).toEqual(["busybox:latest"]);
    expect(image.config.Cmd).toEqual(["sh"]);
    await test.store.ensureBuiltin();
    expect((await test.store.list()).length).toBe(1);
    const [layer] = await test.store.layers(image.id);
    expect(await readFile(join(layer!, "etc/nsswitch.conf"), "utf8")).toContain("hosts: files dns");
    expect((await readFile(join(layer!, "bin/sh"))).length).toBeGreaterThan(100_000);
    expect(programs.started()).toEqual([]);
  });

  it("finds by short name, full name, id and id prefix", async () => {
    const { id } = await test.store.get("busybox");
    for (const ref of [
      "busybox:latest",
      "docker.io/library/busybox",
      "library/busybox",
      id,
      id.slice(7),
      id.slice(7, 19),
      id.slice(0, 20),
    ])
      expect((await test.store.find(ref))?.id, ref).toBe(id);
    await expect(test.store.get("nosuch")).rejects.toMatchObject({ status: 404, message: "No such image: nosuch:latest" });
    await expect(test.store.get("docker.io/library/nosuch")).rejects.toMatchObject({ message: "No such image: nosuch:latest" });
    await expect(test.store.get("NoSuch")).rejects.toMatchObject({
      status: 400,
      message: "invalid reference format: repository name must be lowercase",
    });
  });

  it("imports a tar, plain and gzip, with changes", async () => {
    const tar = await bytesOf(tarOf({ "./": null, "hello.txt": "hello" }));
    const messages: unknown[] = [];
    const changes = [
      'CMD ["a","b c"]',
      "ENTRYPOINT run it",
      'ENV A=1 B="two words"',
      "EXPOSE 80 53/udp 7000-7001",
      "LABEL a.b=c",
      "USER 1:2",
      "VOLUME /data",
      "WORKDIR /w",
      "STOPSIGNAL SIGINT",
      "ONBUILD RUN true",
    ];
    const id = await test.store.import(
      Readable.from([gzipSync(tar)]),
      { ...none, repo: "docker.io/library/imported", tag: "v1", changes, message: "hi" },
      (message) => messages.push(message),
    );
    expect(messages).toEqual([{ status: id }]);
    const image = await test.store.get("imported:v1");
    expect(image.id).toBe(id);
    expect(image.comment).toBe("hi");
    expect(image.config).toEqual({
      Cmd: ["a", "b c"],
      Entrypoint: ["/bin/sh", "-c", "run it"],
      Env: ["A=1", "B=two words"],
      ExposedPorts: { "80/tcp": {}, "53/udp": {}, "7000/tcp": {}, "7001/tcp": {} },
      Labels: { "a.b": "c" },
      User: "1:2",
      Volumes: { "/data": {} },
      WorkingDir: "/w",
      StopSignal: "SIGINT",
      OnBuild: ["RUN true"],
    });
    programs.started();
    await test.store.import(Readable.from([tar]), { ...none, repo: "imported", tag: "v2" }, quiet);
    expect(programs.started()).toEqual(["skopeo"]);
    // The same layer twice is stored once.
    expect(await test.store.layers("imported:v2")).toEqual(await test.store.layers(id));
  });

  it("refuses bad changes and names before it reads the stream", async () => {
    const refused = (request: object) => test.store.import(tarOf({}), { ...none, repo: "x", ...request }, quiet);
    await expect(refused({ changes: ["EXPOSE 5000 # port"] })).rejects.toMatchObject({
      status: 400,
      message: "Invalid containerPort: #",
    });
    await expect(refused({ changes: ["COPY a b"] })).rejects.toMatchObject({ message: "COPY is not a valid change command" });
    await expect(refused({ repo: "A/b" })).rejects.toMatchObject({ status: 400 });
  });

  it("tags, moves tags, and removes by name and by id as docker does", async () => {
    const busybox = await test.store.get("busybox");
    await test.store.tag("busybox", "localhost:5000/team/bb", "1.0");
    await test.store.tag("busybox", "bb", "");
    expect((await test.store.get("bb")).repoTags).toEqual(["bb:latest", "busybox:latest", "localhost:5000/team/bb:1.0"]);
    const keep = { force: false, noPrune: false, inUse: new Map<string, string>() };
    await expect(test.store.remove(busybox.id, keep)).rejects.toMatchObject({
      status: 409,
      message: `conflict: unable to delete ${busybox.id.slice(7, 19)} (must be forced) - image is referenced in multiple repositories`,
    });
    expect(await test.store.remove("bb", keep)).toEqual([{ Untagged: "bb:latest" }]);
    expect(await test.store.remove("localhost:5000/team/bb:1.0", keep)).toEqual([{ Untagged: "localhost:5000/team/bb:1.0" }]);
    const inUse = new Map([[busybox.id, "0123456789abcdef"]]);
    await expect(test.store.remove("busybox", { ...keep, inUse })).rejects.toMatchObject({
      status: 409,
      message: `conflict: unable to remove repository reference "busybox" (must force) - container 0123456789ab is using its referenced image ${busybox.id.slice(7, 19)}`,
    });
    expect(await test.store.remove("busybox", { force: true, noPrune: false, inUse })).toEqual([{ Untagged: "busybox:latest" }]);
    expect((await test.store.get(busybox.id)).repoTags).toEqual([]);
    expect((await test.store.layers(busybox.id)).length).toBe(1);
    // In use: prune leaves it alone. Not in use: it goes.
    expect((await test.store.prune({ all: false, inUse: new Set([busybox.id]), filters: {} })).deleted).toEqual([]);
    const pruned = await test.store.prune({ all: false, inUse: new Set(), filters: {} });
    expect(pruned.deleted).toEqual([{ Deleted: busybox.id }, { Deleted: busybox.diffIds[0] }]);
    expect(pruned.spaceReclaimed).toBeGreaterThan(1_000_000);
    const removed = await test.store.remove("imported:v2", keep);
    expect(removed.length).toBe(2);
    const v1 = await test.store.get("imported:v1");
    expect(await test.store.remove("imported:v1", keep)).toEqual([
      { Untagged: "imported:v1" },
      { Deleted: v1.id },
      { Deleted: v1.diffIds[0] },
    ]);
    expect(await test.store.list()).toEqual([]);
  });
});
