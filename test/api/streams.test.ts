import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import Docker from "dockerode";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fillHostConfig } from "../../src/api/host-config-defaults.js";
import type { AttachSession, ExecRequest, OutputChunk } from "../../src/api/types.js";
import { refuse } from "../../src/base/errors.js";
import type { Container } from "../../src/model/container.js";
import { createdState, plainConfig } from "../../src/model/container-defaults.js";
import { sleep } from "../lib/run.js";
import { type FakeEngine, fakeEngine, hexId } from "./fake-engine.js";
import { processSession, shell } from "./fake-process.js";
import { api, docker, run, type Served, serve } from "./helpers.js";

let fake: FakeEngine;
let served: Served;
let exitCode = 0;
const execs = new Map<string, { request: ExecRequest; child?: ChildProcess; code: number | null }>();
const sessions: (AttachSession & { closed: boolean })[] = [];
let script = "cat";
const plain = hexId(1);
const terminal = hexId(2);
const text = (s: string) => Buffer.from(s);

function container(id: string, name: string, tty: boolean): Container {
  return {
    id,
    name,
    created: "2026-01-01T00:00:00Z",
    imageId: `sha256:${hexId(3)}`,
    path: "cat",
    args: [],
    config: {
      ...plainConfig(["cat"]),
      Hostname: "h",
      AttachStdin: true,
      Tty: tty,
      OpenStdin: true,
      StdinOnce: true,
      Image: "busybox",
    },
    hostConfig: fillHostConfig({}, { runtimeName: "crun", cgroupVersion: "1" }),
    networks: [],
    mounts: [],
    state: { ...createdState(), status: "running", pid: 1, startedAt: "2026-01-01T00:00:00Z" },
  };
}

async function* logChunks(follow: boolean): AsyncIterable<OutputChunk> {
  yield { stream: "stdout", data: text("to-out\n") };
  yield { stream: "stderr", data: text("to-err\n") };
  if (follow) {
    await sleep(300);
    yield { stream: "stdout", data: text("later\n") };
  }
}

beforeAll(async () => {
  fake = fakeEngine({
    containers: {
      attach: async () => {
        const session = processSession(shell(script));
        sessions.push(session);
        return session;
      },
      wait: () => ({ result: new Promise((resolve) => setTimeout(() => resolve({ StatusCode: exitCode }), 300)) }),
      start: async () => true,
      resize: async () => undefined,
      logs: (_ref: string, options: { follow: boolean }) => logChunks(options.follow),
      execCreate: async (_ref: string, request: ExecRequest) => {
        const id = hexId(execs.size + 100);
        execs.set(id, { request, code: null });
        return id;
      },
      execInspect: (id: string) => {
        const exec = execs.get(id) ?? refuse(404, `No such exec instance: ${id}`);
        return { id, containerId: plain, request: exec.request, running: exec.code === null, exitCode: exec.code, pid: 0 };
      },
      execStart: async (id: string) => {
        const exec = execs.get(id)!;
        const child = shell(exec.request.cmd.at(-1)!);
        child.once("exit", (code) => {
          exec.code = code;
        });
        return processSession(child);
      },
      execResize: async () => undefined,
      stats: async () => ({ cpu_stats: { cpu_usage: { total_usage: Date.now() } }, memory_stats: {} }),
    },
    images: {
      pull: async (ref: string, _o: unknown, progress: (m: object) => void) => {
        if (ref.startsWith("nosuch")) refuse(404, `pull access denied for ${ref}`);
        progress({ status: "Pulling from library/busybox", id: "latest" });
        await sleep(200);
        if (ref.includes("half")) refuse(500, "the registry went away");
        progress({ status: "Status: Downloaded newer image" });
      },
    },
  });
  (fake.engine as { build: unknown }).build = async (
    request: { context: NodeJS.ReadableStream; dockerfile: string; tags: string[]; buildArgs: object },
    progress: (m: object) => void,
  ) => {
    let size = 0;
    for await (const chunk of request.context) size += (chunk as Buffer).length;
    progress({ stream: `Step 1/1 : FROM scratch ${request.dockerfile} ${JSON.stringify(request.buildArgs)} ${size > 1024}\n` });
    progress({ aux: { ID: `sha256:${hexId(5)}` } });
    progress({ stream: `Successfully tagged ${request.tags.join()}\n` });
    return "x";
  };
  fake.containers.set(plain, container(plain, "plain", false));
  fake.containers.set(terminal, container(terminal, "terminal", true));
  served = await serve(fake.engine);
});
afterAll(() => served.close());

/** Sends the text and reads all that comes until the end of the connection. */
async function raw(request: string, after: (socket: Socket) => void = () => undefined): Promise<Buffer> {
  const socket = connect({ path: served.socket, allowHalfOpen: true });
  const chunks: Buffer[] = [];
  socket.on("data", (c) => chunks.push(c));
  await once(socket, "connect");
  socket.write(request);
  after(socket);
  await once(socket, "end");
  socket.destroy();
  return Buffer.concat(chunks);
}
const split = (b: Buffer): [string, Buffer] => {
  const at = b.indexOf("\r\n\r\n");
  return [b.subarray(0, at).toString(), b.subarray(at + 4)];
};
const framed = (n: 1 | 2, s: string) => Buffer.concat([Buffer.from([n, 0, 0, 0, 0, 0, 0, s.length]), text(s)]);

describe("attach", () => {
  it("upgrades to the bare socket and closes each way by itself", async () => {
    script = "cat; echo gone >&2";
    const answer = await raw(
      "POST /v1.50/containers/plain/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}",
      (socket) => setTimeout(() => socket.write("hello", () => setTimeout(() => socket.end(), 100)), 100),
    );
    const [head, body] = split(answer);
    expect(head).toMatch(/^HTTP\/1\.1 101 UPGRADED\r\n/);
    expect(head).toContain("Content-Type: application/vnd.docker.multiplexed-stream");
    expect(head).toContain("Upgrade: tcp");
    expect(body).toEqual(Buffer.concat([framed(1, "hello"), framed(2, "gone\n")]));
  });
  it("gives the raw stream with 200 when no upgrade was asked for, without chunks", async () => {
    script = "echo out; echo err >&2";
    const [head, body] = split(await raw("POST /containers/plain/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n\r\n"));
    expect(head).toMatch(/^HTTP\/1\.1 200 OK/);
    expect(head).toContain("Content-Type: application/vnd.docker.raw-stream");
    expect(head).not.toMatch(/chunked/i);
    expect(body).toEqual(framed(1, "out\n"));
  });
  it("sends a terminal's bytes as they are, and lets go at the detach keys", async () => {
    script = "cat";
    const upgrade = "HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    const [, body] = split(
      await raw(`POST /containers/terminal/attach?stream=1&stdin=1&stdout=1 ${upgrade}`, (socket) =>
        setTimeout(() => socket.write("ab\x10c", () => setTimeout(() => socket.write("\x10\x11never"), 100)), 100),
      ),
    );
    expect(body.toString()).toBe("ab\x10c");
    expect(sessions.at(-1)?.closed).toBe(true);
    sessions.at(-1)?.endInput();
  });
  it("shows the log first when asked", async () => {
    script = "echo live";
    const [, body] = split(
      await raw("POST /containers/plain/attach?stream=1&logs=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: d\r\n\r\n"),
    );
    expect(body).toEqual(Buffer.concat([framed(1, "to-out\n"), framed(2, "to-err\n"), framed(1, "live\n")]));
  });
  it("refuses as JSON also when an upgrade was asked for", async () => {
    const answer = await raw(
      "POST /containers/nosuch/attach?stream=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
    );
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 404 [\s\S]*\{"message":"No such container: nosuch"\}\n$/);
  });
  it("serves what is no stream even if the client offers an upgrade", async () => {
    const answer = await raw("GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n");
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 200 OK[\s\S]*OK$/);
  });
});

describe("wait and logs", () => {
  it("flushes the headers of wait long before its body", async () => {
    exitCode = 3;
    const socket = connect({ path: served.socket });
    await once(socket, "connect");
    const began = Date.now();
    socket.write("POST /containers/plain/wait?condition=next-exit HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
    const [first] = (await once(socket, "data")) as [Buffer];
    expect(first.toString()).toMatch(/^HTTP\/1\.1 200 OK/);
    expect(Date.now() - began).toBeLessThan(250);
    const [second] = (await once(socket, "data")) as [Buffer];
    expect(second.toString()).toContain('{"Error":null,"StatusCode":3}');
    socket.destroy();
    expect(await api(served.socket, "POST", "/containers/plain/wait?condition=odd")).toMatchObject({ status: 400 });
  });
  it("keeps stdout and stderr apart, and follows", async () => {
    expect(await docker(served.socket, "logs", "plain")).toMatchObject({ stdout: "to-out\n", stderr: "to-err\n" });
    expect((await docker(served.socket, "logs", "-f", "plain")).stdout).toBe("to-out\nlater\n");
    expect((await docker(served.socket, "logs", "terminal")).stdout).toBe("to-out\nto-err\n");
    expect(await api(served.socket, "GET", "/containers/plain/logs")).toMatchObject({
      status: 400,
      message: "Bad parameters: you must choose at least one stream",
    });
  });
  it("stats: two samples in one answer, a line a second in a stream", async () => {
    const { json } = await api(served.socket, "GET", "/containers/plain/stats?stream=false");
    const s = json as {
      name: string;
      precpu_stats: { cpu_usage: { total_usage: number } };
      cpu_stats: { cpu_usage: { total_usage: number } };
    };
    expect(s.name).toBe("/plain");
    expect(s.cpu_stats.cpu_usage.total_usage).toBeGreaterThan(s.precpu_stats.cpu_usage.total_usage);
  });
});

describe("exec by the docker CLI", () => {
  it("stdin to its end, stdout, stderr, exit code", async () => {
    const cat = await run("docker", ["-H", `unix://${served.socket}`, "exec", "-i", "plain", "cat; echo end >&2; exit 7"], {
      stdin: "abc\n",
    });
    expect(cat).toEqual({ code: 7, stdout: "abc\n", stderr: "end\n" });
    expect(await docker(served.socket, "exec", "plain", "echo one")).toMatchObject({ code: 0, stdout: "one\n" });
    const big = await docker(
      served.socket,
      "exec",
      "plain",
      "head -c 3000000 /dev/zero | tr '\\0' x | cksum; head -c 900000 /dev/zero | tr '\\0' y",
    );
    expect(big.stdout.length).toBeGreaterThan(900_000);
  });
  it("refuses an empty command", async () => {
    expect(await api(served.socket, "POST", "/containers/plain/exec", '{"Cmd":[]}')).toMatchObject({
      status: 400,
      message: "No exec command specified",
    });
  });
});

describe("dockerode", () => {
  const client = () => new Docker({ socketPath: served.socket });
  it("exec with and without hijack", async () => {
    const c = client().getContainer("plain");
    const exec = await c.exec({ Cmd: ["echo hi"], AttachStdout: true, AttachStderr: true });
    const stream = await exec.start({});
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks)).toEqual(framed(1, "hi\n"));
    const both = await c.exec({ Cmd: ["cat"], AttachStdin: true, AttachStdout: true });
    const duplex = await both.start({ hijack: true, stdin: true });
    const got: Buffer[] = [];
    duplex.on("data", (d: Buffer) => got.push(d));
    duplex.write("ping");
    duplex.end();
    await once(duplex, "end");
    expect(Buffer.concat(got)).toEqual(framed(1, "ping"));
    expect((await both.inspect()).ExitCode).toBe(0);
  });
  it("attach and wait", async () => {
    script = "cat";
    const c = client().getContainer("plain");
    const stream = await c.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
    const got: Buffer[] = [];
    stream.on("data", (d: Buffer) => got.push(d));
    stream.write("xyz");
    (stream as Socket).end();
    await once(stream, "end");
    expect(Buffer.concat(got)).toEqual(framed(1, "xyz"));
    exitCode = 4;
    expect(await c.wait()).toMatchObject({ StatusCode: 4 });
  });
});

describe("progress", () => {
  it("an early failure is a status, a late one is in the stream", async () => {
    expect(await api(served.socket, "POST", "/images/create?fromImage=nosuch&tag=1")).toMatchObject({
      status: 404,
      message: "pull access denied for nosuch:1",
    });
    const late = await api(served.socket, "POST", "/images/create?fromImage=half&tag=latest");
    expect(late.status).toBe(200);
    expect(late.text.trim().split("\r\n").at(-1)).toBe(
      '{"errorDetail":{"message":"the registry went away"},"error":"the registry went away"}',
    );
    const pull = await docker(served.socket, "pull", "half");
    expect(pull).toMatchObject({ code: 1, stderr: expect.stringContaining("the registry went away") });
  });
  it("docker build of the CLI goes through POST /build", async () => {
    const { mkdtempSync, writeFileSync, rmSync } = await import("node:fs");
    const dir = mkdtempSync("/tmp/lst-build-");
    writeFileSync(`${dir}/Dockerfile`, "FROM scratch\n");
    const built = await docker(served.socket, "build", "-t", "me/app", "--build-arg", "A=b", dir);
    rmSync(dir, { recursive: true });
    expect(built.code).toBe(0);
    expect(built.stdout).toContain('Step 1/1 : FROM scratch Dockerfile {"A":"b"} true');
    expect(built.stdout).toContain("Successfully tagged me/app");
  });
});
