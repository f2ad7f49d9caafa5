import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BuildRequest } from "../../src/images/contract.js";
import { openTestStore, type TestStore, tarOf } from "./harness.js";

/** RUN steps run in this namespace by runc. */
const namespace = `lstbuild${process.pid}`;
let test: TestStore;
let released = 0;

beforeAll(async () => {
  test = await openTestStore();
  execFileSync("ip", ["netns", "add", namespace]);
  await test.store.ensureBuiltin();
});
afterAll(async () => {
  execFileSync("ip", ["netns", "del", namespace]);
  await test.remove();
});

type Message = Readonly<Record<string, unknown>>;
const defaults = {
  dockerfile: "Dockerfile",
  tags: ["t"],
  buildArgs: {},
  target: "",
  noCache: false,
  pull: false,
  labels: {},
  networkMode: "default",
  extraHosts: [],
  quiet: false,
  remove: true,
  auth: {},
  platform: "",
  memory: 0,
  shmSize: 0,
} as const;

async function build(dockerfile: string, more: Partial<BuildRequest> = {}, files: Record<string, string> = {}) {
  const messages: Message[] = [];
  const result = test.store.build(
    { ...defaults, context: tarOf({ Dockerfile: dockerfile, ...files }), ...more },
    (message) => messages.push(message),
    async () => ({
      path: `/run/netns/${namespace}`,
      hosts: ["known:192.0.2.7"],
      resolvConf: "nameserver 127.0.0.11\nsearch lab\noptions ndots:0\n",
      async release() {
        released++;
      },
    }),
  );
  const text = () => messages.map((message) => message.stream ?? "").join("");
  try {
    return { id: await result, messages, text: text(), error: undefined };
  } catch (error) {
    return { id: "", messages, text: text(), error: (error as Error).message };
  }
}

describe("build", () => {
  it("looks like the classic builder, gives the config exactly, and uses its cache", async () => {
    const dockerfile = [
      "FROM busybox",
      'LABEL maintaner="stt"',
      "COPY . /app",
      "WORKDIR /app",
      "RUN cat app.py # read it",
      "EXPOSE 5000",
      'CMD [ "python", "app.py" ]',
      "",
    ].join("\n");
    const first = await build(dockerfile, { tags: ["stt/flask-redis", "other:1"] }, { "app.py": "print('hi')\n" });
    expect(first.error).toBeUndefined();
    const base = (await test.store.get("busybox")).id.slice(7, 19);
    const image = await test.store.get("stt/flask-redis");
    const short = image.id.slice(7, 19);
    const shape = first.text.replace(/ ---> (?!Using)[0-9a-f]{12}\n/g, " ---> ID\n");
    expect(shape).toBe(
      [
        "Step 1/7 : FROM busybox",
        " ---> ID",
        'Step 2/7 : LABEL maintaner="stt"',
        " ---> ID",
        "Step 3/7 : COPY . /app",
        " ---> ID",
        "Step 4/7 : WORKDIR /app",
        " ---> ID",
        "Step 5/7 : RUN cat app.py # read it",
        "print('hi')",
        " ---> ID",
        "Step 6/7 : EXPOSE 5000",
        " ---> ID",
        'Step 7/7 : CMD [ "python", "app.py" ]',
        " ---> ID",
        `Successfully built ${short}`,
        "Successfully tagged stt/flask-redis:latest",
        "Successfully tagged other:1",
        "",
      ].join("\n"),
    );
    expect(first.text).toContain(`FROM busybox\n ---> ${base}\n`);
    expect(first.messages).toContainEqual({ aux: { ID: image.id } });
    const { Cmd, WorkingDir, ExposedPorts, Labels } = image.config;
    expect({ Cmd, WorkingDir, ExposedPorts, Labels }).toEqual({
      Cmd: ["python", "app.py"],
      WorkingDir: "/app",
      ExposedPorts: { "5000/tcp": {} },
      Labels: { maintaner: "stt" },
    });
    const again = await build(dockerfile, {}, { "app.py": "print('hi')\n" });
    expect(again.text.match(/ ---> Using cache\n/g)?.length).toBe(6);
    expect(again.id).toBe(first.id);
    // Steps are hidden from `docker images`, shown with -a, and go with builder prune.
    expect((await test.store.list()).length).toBe(2);
    expect((await test.store.list({ all: true })).length).toBeGreaterThan(2);
    let parents = 0;
    for (let at = await test.store.get(first.id); at.parent !== ""; at = await test.store.get(at.parent)) parents++;
    expect(parents).toBe(6);
    await test.store.buildCachePrune();
    expect((await test.store.list({ all: true })).length).toBe(2);
    expect((await test.store.layers(first.id)).length).toBe((await test.store.get(first.id)).diffIds.length);
  }, 60_000);

  it("runs steps in the namespace that it is given", async () => {
    const result = await build("FROM busybox\nRUN readlink /proc/self/ns/net; cat /etc/resolv.conf /etc/hosts\n");
    const inode = execFileSync("stat", ["-Lc", "%i", `/run/netns/${namespace}`])
      .toString()
      .trim();
    expect(result.text).toContain(`net:[${inode}]`);
    expect(result.text).toContain("nameserver 127.0.0.11");
    expect(result.text).toMatch(/192\.0\.2\.7\s+known/);
    expect(result.text).not.toContain("host.containers.internal");
    expect(released).toBeGreaterThan(0);
  });

  it("builds several stages, with build arguments, labels, a target and here-documents", async () => {
    const dockerfile = [
      "ARG BASE=nosuch",
      "FROM $BASE AS one",
      "ARG WHO=nobody",
      "RUN <<EOF",
      'echo "hello $WHO" >/greeting',
      "printf 'no newline'",
      "EOF",
      "FROM scratch AS two",
      "COPY --from=one \\",
      "  # a comment in between",
      "  /greeting /g",
      "",
    ].join("\n");
    const request = { buildArgs: { BASE: "busybox", WHO: "world", UNSET: null }, labels: { a: "b" } };
    const two = await build(dockerfile, request);
    expect(two.error).toBeUndefined();
    expect(two.text).toContain("Step 1/7 : ARG BASE=nosuch\nStep 2/7 : FROM $BASE AS one\n ---> ");
    expect(two.text).toContain("Step 6/7 : COPY --from=one   /greeting /g\n");
    expect(two.text).toContain("no newline");
    const image = await test.store.get(two.id);
    expect(image.config.Labels).toEqual({ a: "b" });
    const [layer] = await test.store.layers(two.id);
    expect(await readFile(join(layer!, "g"), "utf8")).toBe("hello world\n");
    const one = await build(dockerfile, { ...request, target: "one", labels: {}, quiet: true });
    expect(one.messages).toEqual([{ stream: `${one.id}\n` }]);
  });

  it("fails in Docker's words", async () => {
    const message = async (dockerfile: string, more: Partial<BuildRequest> = {}) => (await build(dockerfile, more)).error;
    const commented = await build("FROM busybox\nRUN false\nEXPOSE 5000 # the port\n");
    expect(commented.error).toBe("Invalid containerPort: #");
    expect(commented.messages.length).toBeGreaterThan(0);
    expect(await message("FROM busybox\nRUN echo out; exit 3\n")).toBe(
      "The command '/bin/sh -c echo out; exit 3' returned a non-zero code: 3",
    );
    expect(await message("FROM busybox\nCOPY nosuch /x\n")).toBe(
      "COPY failed: file not found in build context or excluded by .dockerignore: stat nosuch: file does not exist",
    );
    expect(await message('FROM busybox\nRUN ["nosuch"]\n')).toMatch(
      /^OCI runtime create failed: .*exec: "nosuch": executable file not found/,
    );
    expect(await message("FROM busybox\nFOO x\n")).toBe("dockerfile parse error line 2: unknown instruction: FOO");
    expect(await message("# nothing\n")).toBe("the Dockerfile (Dockerfile) cannot be empty");
    expect(await message("RUN x\n")).toBe("no build stage in current context");
    expect(await message("FROM busybox\n", { dockerfile: "../../etc/passwd" })).toBe(
      "Cannot locate specified Dockerfile: ../../etc/passwd",
    );
    expect(await message("FROM busybox\n", { target: "x" })).toBe("failed to reach build target x in Dockerfile");
    expect(await message("FROM 127.0.0.1:5/nosuch\n")).toContain("connection refused");
    expect((await test.store.list({ all: true })).filter((image) => image.repoTags.includes("broken:latest"))).toEqual([]);
  });
});
