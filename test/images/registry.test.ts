import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { output, until } from "../lib/run.js";
import { addNamespace, removeSpace } from "../lib/space.js";
import { openTestStore, type TestStore } from "./harness.js";

/** Registries of Debian's docker-registry on the loopback of a namespace; skopeo is run in it by a wrapper in PATH. */
const namespace = `lstreg${process.pid}`;
const open = "127.0.0.1:5055";
const closed = "127.0.0.1:5056";
const credentials = { username: "user", password: "secret" };
const registries: ChildProcess[] = [];
const path = process.env.PATH;
let test: TestStore;

function serve(address: string, directory: string, auth: string): void {
  const config = join(directory, "config.yml");
  mkdirSync(directory);
  writeFileSync(
    config,
    `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${directory}/data}}\nhttp: {addr: "${address}"}\n${auth}`,
  );
  registries.push(spawn("ip", ["netns", "exec", namespace, "docker-registry", "serve", config], { stdio: "ignore" }));
}

beforeAll(async () => {
  test = await openTestStore();
  addNamespace(namespace);
  const bin = join(test.root, "bin");
  mkdirSync(bin);
  writeFileSync(join(bin, "skopeo"), `#!/bin/sh\nexec nsenter --net=/run/netns/${namespace} /usr/bin/skopeo "$@"\n`);
  chmodSync(join(bin, "skopeo"), 0o755);
  process.env.PATH = `${bin}:${path}`;
  const password = join(test.root, "htpasswd");
  writeFileSync(password, execFileSync("htpasswd", ["-Bbn", credentials.username, credentials.password]));
  serve(open, join(test.root, "open"), "");
  serve(closed, join(test.root, "closed"), `auth: {htpasswd: {realm: test, path: ${password}}}\n`);
  await until("the registries listen", () => {
    const listening = output("ip", "netns", "exec", namespace, "ss", "-Hltn");
    return listening.includes(open) && listening.includes(closed);
  });
  await test.store.ensureBuiltin();
});
afterAll(async () => {
  for (const registry of registries) registry.kill("SIGKILL");
  process.env.PATH = path;
  removeSpace(namespace);
  await test.remove();
});

const keep = { force: false, noPrune: false, inUse: new Map<string, string>() };
type Message = Readonly<Record<string, unknown>>;

async function collect(work: (progress: (message: Message) => void) => Promise<unknown>): Promise<Message[]> {
  const messages: Message[] = [];
  await work((message) => messages.push(message));
  return messages;
}

describe("push and pull", () => {
  it("push says Docker's words, pull brings the same image back", async () => {
    const { store } = test;
    const busybox = await store.get("busybox");
    await store.tag("busybox", `${open}/team/bb`, "v1");
    const layer = busybox.diffIds[0]?.slice(7, 19);
    const pushed = await collect((progress) => store.push(`${open}/team/bb:v1`, {}, progress));
    const aux = pushed.at(-1)?.aux as { Tag: string; Digest: string; Size: number };
    expect(pushed).toEqual([
      { status: `The push refers to repository [${open}/team/bb]` },
      { status: "Preparing", progressDetail: {}, id: layer },
      { status: "Pushed", progressDetail: {}, id: layer },
      { status: `v1: digest: ${aux.Digest} size: ${aux.Size}` },
      { progressDetail: {}, aux: { Tag: "v1", Digest: aux.Digest, Size: aux.Size } },
    ]);
    expect((await store.get("busybox")).repoDigests).toEqual([`${open}/team/bb@${aux.Digest}`]);

    const again = await collect((progress) => store.pull(`${open}/team/bb:v1`, {}, progress));
    expect(again.at(0)).toEqual({ status: "Pulling from team/bb", id: "v1" });
    expect(again.slice(-2)).toEqual([
      { status: `Digest: ${aux.Digest}` },
      { status: `Status: Image is up to date for ${open}/team/bb:v1` },
    ]);

    await store.remove("busybox", keep);
    await store.remove(`${open}/team/bb:v1`, keep);
    expect(await store.list({ all: true })).toEqual([]);
    const pulled = await collect((progress) => store.pull(`${open}/team/bb:v1`, {}, progress));
    const statuses = pulled.map((message) => message.status);
    expect(statuses).toEqual([
      "Pulling from team/bb",
      "Pulling fs layer",
      "Download complete",
      "Pull complete",
      `Digest: ${aux.Digest}`,
      `Status: Downloaded newer image for ${open}/team/bb:v1`,
    ]);
    const image = await store.get(`${open}/team/bb:v1`);
    expect(image).toMatchObject({ id: busybox.id, repoDigests: [`${open}/team/bb@${aux.Digest}`], config: busybox.config });
    expect((await store.get(`${open}/team/bb@${aux.Digest}`)).id).toBe(busybox.id);
    expect(await store.remove(`${open}/team/bb:v1`, keep)).toEqual([
      { Untagged: `${open}/team/bb:v1` },
      { Untagged: `${open}/team/bb@${aux.Digest}` },
      { Deleted: busybox.id },
      { Deleted: busybox.diffIds[0] },
    ]);
    await collect((progress) => store.pull(`${open}/team/bb@${aux.Digest}`, {}, progress));
    expect(await store.get(`${open}/team/bb@${aux.Digest}`)).toMatchObject({ id: busybox.id, repoTags: [] });
  });

  it("fails before the first message, with Docker's statuses and words", async () => {
    const pull = (ref: string, auth?: object) =>
      collect((progress) => test.store.pull(ref, auth === undefined ? {} : { auth }, progress));
    await expect(pull(`${open}/nosuch`)).rejects.toMatchObject({
      status: 404,
      message: `manifest for ${open}/nosuch:latest not found: manifest unknown: manifest unknown`,
    });
    await expect(pull("127.0.0.1:5057/x")).rejects.toMatchObject({
      status: 500,
      message: 'Get "http://127.0.0.1:5057/v2/": dial tcp 127.0.0.1:5057: connect: connection refused',
    });
    await expect(pull("nosuch")).rejects.toMatchObject({
      status: 500,
      message: expect.stringContaining('Get "https://registry-1.docker.io/v2/"'),
    });
    await expect(collect((progress) => test.store.push(`${open}/nosuch`, {}, progress))).rejects.toMatchObject({
      status: 404,
      message: `An image does not exist locally with the tag: ${open}/nosuch`,
    });
  });

  it("uses credentials, and leaves none behind", async () => {
    const { store } = test;
    const [image] = await store.list();
    await store.tag(image?.id ?? "", `${closed}/private`, "latest");
    const push = (auth?: object) =>
      collect((progress) => store.push(`${closed}/private:latest`, auth === undefined ? {} : { auth }, progress));
    await expect(push()).rejects.toMatchObject({ message: "no basic auth credentials" });
    await expect(push({ username: "user", password: "wrong" })).rejects.toMatchObject({
      message: "unauthorized: authentication required",
    });
    expect((await push(credentials)).length).toBe(5);
    await store.remove(`${closed}/private:latest`, keep);
    const pull = (auth?: object) =>
      collect((progress) => store.pull(`${closed}/private`, auth === undefined ? {} : { auth }, progress));
    await expect(pull()).rejects.toMatchObject({
      status: 500,
      message: `Head "http://${closed}/v2/private/manifests/latest": no basic auth credentials`,
    });
    expect((await pull(credentials)).length).toBeGreaterThan(3);
    expect(readdirSync(join(test.root, "data/image-tmp")).filter((name) => /^[0-9a-f]{16}$/.test(name))).toEqual([]);
    expect(existsSync(join(test.root, "data/image-config/home/.docker"))).toBe(false);
  });

  it("checks a login", async () => {
    const login = (password: string, serveraddress: string) => test.store.login({ username: "user", password, serveraddress });
    expect(await login("secret", closed)).toEqual({ Status: "Login Succeeded", IdentityToken: "" });
    await expect(login("wrong", closed)).rejects.toMatchObject({ status: 401 });
    await expect(login("wrong", "127.0.0.1:5057")).rejects.toMatchObject({
      status: 500,
      message: expect.stringMatching(/^Get "http.*connection refused$/),
    });
  });
});
