import { once } from "node:events";
import { resolve } from "node:path";
import { PassThrough } from "node:stream";
import Docker from "dockerode";
import { extract, pack } from "tar-stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks } from "../lib/checks.js";
import { Lab } from "../lib/lab.js";
import { eventually } from "../lib/run.js";

let lab: Lab;
let docker: Docker;
beforeAll(async () => {
  lab = await Lab.open({ images: ["tools"] });
  await lab.out("run", "--rm", "busybox", "true");
  docker = new Docker({ socketPath: lab.engine.socket });
});
afterAll(() => lab?.close());

describe("dockerode", () => {
  let container: Docker.Container;
  let network: Docker.Network;

  it("creates a network and a container on it, under an alias", async () => {
    network = await docker.createNetwork({ Name: "walk", CheckDuplicate: true, Labels: { from: "dockerode" } });
    container = await docker.createContainer({
      name: "walker",
      Image: "busybox",
      Cmd: ["sh", "-c", "for i in 1 2 3; do echo out$i; echo err$i >&2; sleep 0.1; done; exec sleep 600"],
      HostConfig: { NetworkMode: "walk" },
      NetworkingConfig: { EndpointsConfig: { walk: { Aliases: ["pilgrim"] } } },
    });
    await container.start();
    expect((await container.inspect()).NetworkSettings.Networks["walk"]!.Aliases).toContain("pilgrim");
  });
  it("streams the log, both outputs apart, until it lets go", async () => {
    const stream = (await container.logs({ follow: true, stdout: true, stderr: true })) as NodeJS.ReadableStream & {
      destroy(): void;
    };
    const text = { out: "", err: "" };
    const sink = (name: "out" | "err") =>
      new PassThrough().on("data", (chunk: Buffer) => {
        text[name] += chunk.toString();
      });
    docker.modem.demuxStream(stream, sink("out"), sink("err"));
    await eventually(async () => text.out.includes("out3") && text.err.includes("err3"));
    stream.destroy();
    expect(text).toEqual({ out: "out1\nout2\nout3\n", err: "err1\nerr2\nerr3\n" });
  });
  it("runs a command with input, and asks for its code", async () => {
    const exec = await container.exec({
      Cmd: ["sh", "-c", "cat; exit 4"],
      AttachStdin: true,
      AttachStdout: true,
      AttachStderr: true,
    });
    const stream = await exec.start({ hijack: true, stdin: true });
    const output = new PassThrough();
    docker.modem.demuxStream(stream, output, output);
    let text = "";
    output.on("data", (chunk: Buffer) => {
      text += chunk;
    });
    stream.end("typed\n");
    await once(stream, "end");
    expect({ text, code: (await exec.inspect()).ExitCode }).toEqual({ text: "typed\n", code: 4 });
  });
  it("puts a file in, and gets it out again", async () => {
    const archive = pack();
    archive.entry({ name: "note.txt", mode: 0o600 }, "by archive");
    archive.finalize();
    await container.putArchive(archive as unknown as NodeJS.ReadableStream, { path: "/tmp" });
    const files: Record<string, string> = {};
    const reader = extract();
    (await container.getArchive({ path: "/tmp/note.txt" })).pipe(reader);
    for await (const entry of reader) {
      const chunks: Buffer[] = [];
      for await (const chunk of entry) chunks.push(chunk as Buffer);
      files[entry.header.name] = Buffer.concat(chunks).toString();
    }
    expect(files).toEqual({ "note.txt": "by archive" });
  });
  it("lists by label, by network and by name", async () => {
    expect((await docker.listNetworks({ filters: { label: ["from=dockerode"] } })).map((each) => each.Name)).toEqual(["walk"]);
    expect((await docker.listContainers({ filters: { network: ["walk"] } })).map((each) => each.Names)).toEqual([["/walker"]]);
    expect(await docker.listContainers({ filters: { name: ["nosuch"] } })).toEqual([]);
  });
  it("connects and disconnects", async () => {
    const second = await docker.createNetwork({ Name: "second" });
    await second.connect({ Container: "walker", EndpointConfig: { Aliases: ["also"] } });
    expect(Object.keys((await container.inspect()).NetworkSettings.Networks).sort()).toEqual(["second", "walk"]);
    await second.disconnect({ Container: "walker" });
    await second.remove();
  });
  it("takes one sample of stats", async () => {
    await lab.pings("walker", (await container.inspect()).NetworkSettings.Networks["walk"]!.Gateway);
    const stats = await container.stats({ stream: false });
    expect(stats.networks["eth0"]!.tx_packets).toBeGreaterThan(0);
    expect(stats.memory_stats.usage).toBeGreaterThan(0);
  });
  it("hears events while they happen", async () => {
    const events = (await docker.getEvents({ filters: { container: ["walker"] } })) as NodeJS.ReadableStream & {
      destroy(): void;
    };
    let text = "";
    events.on("data", (chunk: Buffer) => {
      text += chunk;
    });
    await container.pause();
    await container.unpause();
    await eventually(async () => text.includes("unpause"));
    events.destroy();
    const actions = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line).Action);
    expect(actions).toEqual(["pause", "unpause"]);
  });
  it("waits for the end, which stop brings", async () => {
    const ended = container.wait();
    await container.stop({ t: 0 });
    expect(await ended).toEqual(expect.objectContaining({ StatusCode: 137 }));
  });
  it("runs a container in the foreground, all in one call", async () => {
    const output = new PassThrough();
    let text = "";
    output.on("data", (chunk: Buffer) => {
      text += chunk;
    });
    const [result, ran] = (await docker.run("busybox", ["echo", "at once"], output)) as [
      { StatusCode: number },
      Docker.Container,
    ];
    expect({ text: text.trim(), code: result.StatusCode }).toEqual({ text: "at once", code: 0 });
    await ran.remove();
  });
  checks([
    "gets status and message of a refusal",
    () =>
      docker
        .getContainer("nosuch")
        .inspect()
        .then(undefined, ({ statusCode, json }) => ({ statusCode, message: json.message })),
    { statusCode: 404, message: "No such container: nosuch" },
  ]);
  it("removes all", async () => {
    await container.remove();
    await network.remove();
    expect(await lab.out("ps", "-aq")).toBe("");
  });
});

describe("testcontainers", () => {
  let seen: Record<string, unknown>;
  beforeAll(async () => {
    const ran = await lab.host.run(process.execPath, [resolve(import.meta.dirname, "../lib/testcontainers-walk.mjs")], {
      timeoutMs: 50_000,
      env: {
        ...lab.engine.clientEnv,
        DOCKER_HOST: `unix://${lab.engine.socket}`,
        TESTCONTAINERS_RYUK_DISABLED: "true",
        TESTCONTAINERS_HOST_OVERRIDE: "localhost",
      },
    });
    if (ran.code !== 0) throw new Error(`${ran.code}: ${ran.both}`);
    seen = JSON.parse(ran.stdout);
  });
  checks(
    ["waits for HTTP, at a published port", () => seen["http"], true],
    ["copies content in before the start", () => seen["early"], "copied before the start\n"],
    ["copies files in later", () => seen["late"], "copied while it runs\n"],
    ["waits for listening ports; each container has its own", () => seen["twoPorts"], true],
    ["waits for lines of the log, and streams it", () => seen["logs"], ["line 1", "line 2", "line 3", "to-err"]],
    ["waits for health", () => seen["healthy"], true],
    ["waits for a command to succeed, and restarts", () => seen["restarted"], 0],
    ["finds the other by its second alias", () => seen["alias"], "copied before the start\n"],
    ["executes, outputs apart, with the code", () => seen["exec"], { stdout: "green", stderr: "bad", exitCode: 3 }],
    ["executes in a directory", () => seen["workdir"], "/tmp"],
    ["mounts a tmpfs", () => seen["tmpfs"], "tmpfs"],
    ["adds hosts", () => seen["hosts"], true],
    ["knows the address on its network", () => seen["address"], true],
    ["leaves no container", () => lab.out("ps", "-aq"), ""],
    ["leaves no network", () => lab.out("network", "ls", "-q", "-f", "type=custom"), ""],
  );
});
