import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { BuildRequest } from "../../src/images/contract.js";
import { addNamespace, removeSpace } from "../lib/space.js";
import { bytesOf, openTestStore, type TestStore, tarOf } from "./harness.js";
import { stepRunner } from "./step-runner.js";

/** RUN steps run in this namespace. */
const namespace = `lstbuild${process.pid}`;
let test: TestStore;
let run: ReturnType<typeof stepRunner>;

beforeAll(async () => {
  test = await openTestStore();
  addNamespace(namespace);
  run = stepRunner(join(test.root, "steps"), namespace);
  await test.store.ensureBuiltin();
});
afterAll(async () => {
  removeSpace(namespace);
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
    async () => run.runner,
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
    const shape = first.text.replace(/( ---> (?:Running in )?|container )[0-9a-f]{12}\n/g, "$1ID\n");
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
        " ---> Running in ID",
        "print('hi')",
        "Removing intermediate container ID",
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
    // Only what is built is an image; the steps are remembered.
    expect((await test.store.list({ all: true })).length).toBe(2);
    expect(image.parent.slice(7, 19)).toBe(base);
    expect(image.history.map((entry) => entry.created_by)).toEqual([
      "",
      '/bin/sh -c #(nop)  LABEL maintaner="stt"',
      expect.stringMatching(/^\/bin\/sh -c #\(nop\) COPY dir:[0-9a-f]{64} in \/app $/),
      "/bin/sh -c #(nop) WORKDIR /app",
      "/bin/sh -c cat app.py # read it",
      "/bin/sh -c #(nop)  EXPOSE 5000",
      '/bin/sh -c #(nop)  CMD ["python" "app.py"]',
    ]);
    const changed = await build(dockerfile, { tags: ["t"] }, { "app.py": "print('ho')\n" });
    expect(changed.text.match(/ ---> Using cache\n/g)?.length).toBe(1);
    expect((await build(dockerfile, { noCache: true }, { "app.py": "print('hi')\n" })).text).not.toContain("Using cache");
    await test.store.buildCachePrune();
    expect((await build(dockerfile, {}, { "app.py": "print('hi')\n" })).text).not.toContain("Using cache");
    expect((await test.store.layers(first.id)).length).toBe((await test.store.get(first.id)).diffIds.length);
  }, 60_000);

  it("runs steps in the namespace that it is given", async () => {
    const before = run.steps.length;
    const result = await build("FROM busybox\nENV A=b\nWORKDIR /w\nUSER daemon\nRUN pwd; echo err >&2\n");
    expect(result.text).toContain("/w\n");
    expect(result.text).toContain("\u001b[91merr\n\u001b[0m");
    expect(run.steps.length).toBe(before + 1);
    const { config, command, layers } = run.steps.at(-1)!;
    expect([config.Env, config.User, config.WorkingDir, command, layers.length]).toEqual([
      ["A=b"],
      "daemon",
      "/w",
      ["/bin/sh", "-c", "pwd; echo err >&2"],
      2,
    ]);
    expect(run.released).toBeGreaterThan(0);
    // All cached: no namespace is made.
    const released = run.released;
    await build("FROM busybox\nENV A=b\nWORKDIR /w\nUSER daemon\nRUN pwd; echo err >&2\n");
    expect(run.released).toBe(released);
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
    expect(two.text).not.toContain("not consumed");
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

  it("copies as Docker does", async () => {
    const files = {
      "a.txt": "a",
      "b.txt": "b",
      "d/x": "x",
      "d/sub/y": "y",
      "skip.log": "",
      "keep.log": "k",
      ".dockerignore": "*.log\n!keep.log\nDockerfile\n",
      link: { type: "symlink", linkname: "a.txt" },
    } as const;
    const dockerfile = [
      "FROM busybox AS one",
      "WORKDIR /w",
      "COPY *.txt into/",
      "COPY a.txt renamed",
      "COPY d /dir",
      "COPY d /w/into",
      "COPY --chown=daemon:tty d/x /owned/deep/",
      "COPY --chmod=640 b.txt /moded",
      "COPY . /all",
      'COPY ["a.txt", "/json form/"]',
      "COPY link /followed",
      "RUN ln -s /dir /away",
      "COPY b.txt /away/",
      "FROM busybox",
      "COPY --from=one /dir/sub /owned /from/",
      "COPY --from=0 /w/renamed /r",
      "",
    ].join("\n");
    const result = await build(dockerfile, { tags: ["copies"] }, files as unknown as Record<string, string>);
    expect(result.error).toBeUndefined();
    const show = "cd /; find w dir owned moded all 'json form' followed -exec stat -c '%n %F %a %u:%g' {} + | sort";
    const one = await build(
      `${dockerfile.slice(0, dockerfile.indexOf("FROM busybox\n"))}RUN ${show}\n`,
      {},
      files as unknown as Record<string, string>,
    );
    expect(one.error).toBeUndefined();
    const lines = one.text.split("\n").filter((line) => / [0-9]+:[0-9]+$/.test(line));
    expect(lines).toEqual([
      "all directory 755 0:0",
      "all/.dockerignore regular file 644 0:0",
      "all/a.txt regular file 644 0:0",
      "all/b.txt regular file 644 0:0",
      "all/d directory 755 0:0",
      "all/d/sub directory 755 0:0",
      "all/d/sub/y regular file 644 0:0",
      "all/d/x regular file 644 0:0",
      "all/keep.log regular file 644 0:0",
      "all/link symbolic link 777 0:0",
      "dir directory 755 0:0",
      "dir/b.txt regular file 644 0:0",
      "dir/sub directory 755 0:0",
      "dir/sub/y regular file 644 0:0",
      "dir/x regular file 644 0:0",
      "followed regular file 644 0:0",
      "json form directory 755 0:0",
      "json form/a.txt regular file 644 0:0",
      "moded regular file 640 0:0",
      "owned directory 755 1:5",
      "owned/deep directory 755 1:5",
      "owned/deep/x regular file 644 1:5",
      "w directory 755 0:0",
      "w/into directory 755 0:0",
      "w/into/a.txt regular file 644 0:0",
      "w/into/b.txt regular file 644 0:0",
      "w/into/sub directory 755 0:0",
      "w/into/sub/y regular file 644 0:0",
      "w/into/x regular file 644 0:0",
      "w/renamed regular file 644 0:0",
    ]);
    const two = await build(`FROM copies\nRUN ${"find /from /r -type f -exec stat -c '%n %u:%g' {} + | sort"}\n`);
    expect(two.text).toContain("/from/deep/x 1:5\n/from/y 0:0\n/r 0:0\n");
  }, 30_000);

  it("ADD unpacks archives", async () => {
    const archive = await bytesOf(tarOf({ "in/side": "s" }));
    const result = await build("FROM busybox\nADD a.tar.gz /x/\nADD plain /x/\nRUN cat /x/in/side /x/plain\n", {}, {
      "a.tar.gz": { content: gzipSync(archive) },
      plain: "p",
    } as unknown as Record<string, string>);
    expect(result.error).toBeUndefined();
    expect(result.text).toContain("\nspRemoving");
  });

  it("keeps the steps of a build that failed", async () => {
    const good = "FROM busybox\nRUN echo once >/kept\n";
    expect((await build(`${good}RUN exit 9\n`)).error).toBe("The command '/bin/sh -c exit 9' returned a non-zero code: 9");
    expect((await build(`${good}CMD x\n`)).text).toContain("RUN echo once >/kept\n ---> Using cache\n");
  });

  it("knows ARG, ENV, SHELL, ENTRYPOINT, CMD, ONBUILD, VOLUME, HEALTHCHECK, USER, STOPSIGNAL, MAINTAINER", async () => {
    const parent = await build(
      [
        "FROM busybox",
        "MAINTAINER me",
        "ARG V=1",
        // biome-ignore lint/suspicious/noTemplateCurlyInString: the Dockerfile's own substitution
        "ENV W=${V}2 X=$V",
        'CMD ["inherited"]',
        "ONBUILD RUN echo triggered >/t",
        "ONBUILD ENV T=1",
        "VOLUME /v /w$V",
        "HEALTHCHECK --interval=5s CMD true",
        "USER daemon:daemon",
        "STOPSIGNAL SIGINT",
        'SHELL ["/bin/sh", "-ec"]',
        "RUN echo $V $W >/tmp/args",
        "",
      ].join("\n"),
      { tags: ["parent"], buildArgs: { V: "7", NOT: "used" } },
    );
    expect(parent.error).toBeUndefined();
    expect(parent.text).toContain("[Warning] One or more build-args [NOT] were not consumed\n");
    const image = await test.store.get("parent");
    expect(image.author).toBe("me");
    expect(image.history.at(-1)?.created_by).toBe("|1 V=7 /bin/sh -ec echo $V $W >/tmp/args");
    expect(image.config).toMatchObject({
      Env: ["W=72", "X=7"],
      Cmd: ["inherited"],
      OnBuild: ["RUN echo triggered >/t", "ENV T=1"],
      Volumes: { "/v": {}, "/w7": {} },
      Healthcheck: { Test: ["CMD-SHELL", "true"], Interval: 5e9 },
      User: "daemon:daemon",
      StopSignal: "SIGINT",
      Shell: ["/bin/sh", "-ec"],
    });
    const child = await build('FROM parent\nENTRYPOINT ["e"]\nRUN cat /t /tmp/args\n');
    expect(child.text).toContain("# Executing 2 build triggers\n");
    expect(child.text).toContain("triggered\n7 72\n");
    const built = await test.store.get(child.id);
    expect(built.config.OnBuild).toBeUndefined();
    expect(built.config.Cmd).toBeUndefined();
    expect(built.config.Env).toContain("T=1");
  });

  it("ends when the client goes", async () => {
    const gone = new AbortController();
    gone.abort();
    expect((await build("FROM busybox\nRUN sleep 60\n", { signal: gone.signal })).error).toBe("build cancelled");
  });
});
