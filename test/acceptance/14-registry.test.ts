import { type ChildProcess, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks } from "../lib/checks.js";
import { Lab } from "../lib/lab.js";
import { eventually, type Ran } from "../lib/run.js";

/** Registries of Debian's docker-registry on the host's loopback: one open, one that wants a password. By the docker CLI. */
const open = "127.0.0.1:5000";
const closed = "127.0.0.1:5001";
const servers: ChildProcess[] = [];
let lab: Lab;

function serve(name: string, address: string, auth: string): void {
  const directory = join(lab.directory, name);
  mkdirSync(directory);
  const config = `version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: ${directory}/data}}\nhttp: {addr: "${address}"}\n${auth}`;
  writeFileSync(join(directory, "config.yml"), config);
  servers.push(lab.host.spawn("docker-registry", ["serve", join(directory, "config.yml")]));
}

beforeAll(async () => {
  lab = await Lab.open();
  const password = join(lab.directory, "htpasswd");
  writeFileSync(password, execFileSync("htpasswd", ["-Bbn", "user", "secret"]));
  serve("open", open, "");
  serve("closed", closed, `auth: {htpasswd: {realm: test, path: ${password}}}\n`);
  await lab.out("run", "--rm", "busybox", "true");
  const up = async () => (await lab.host.out("ss -Hltn")).match(/127\.0\.0\.1:500[01]/g)?.length === 2;
  expect(await eventually(up, 15_000)).toBe(true);
});
afterAll(async () => {
  for (const server of servers) server.kill("SIGKILL");
  await lab?.close();
});

const manifest = (name: string, tag: string, accept: string) =>
  lab.host.run("curl", ["-s", "-H", `Accept: ${accept}`, `http://${open}/v2/${name}/manifests/${tag}`]);
const docker2 = "application/vnd.docker.distribution.manifest.v2+json";

describe("an open registry", () => {
  let pushed: Ran;
  let digest: string;
  beforeAll(async () => {
    await lab.out("tag", "busybox", `${open}/team/bb:v1`);
    pushed = await lab.docker("push", `${open}/team/bb:v1`);
    digest = /digest: (sha256:[0-9a-f]{64})/.exec(pushed.stdout)?.[1] ?? "none";
  });
  checks(
    [
      "push",
      () => pushed.stdout,
      /^The push refers to repository \[127\.0\.0\.1:5000\/team\/bb\]\n[\s\S]*v1: digest: sha256:\w{64} size: \d+\n$/,
    ],
    [
      "the registry has it, under this digest",
      async () =>
        `sha256:${createHash("sha256")
          .update((await manifest("team/bb", "v1", docker2)).stdout)
          .digest("hex")}`,
      () => digest,
    ],
    ["images --digests", () => lab.out("images", "--digests", "--format", "{{.Digest}}", `${open}/team/bb`), () => digest],
    [
      "pull of what is there",
      () => lab.out("pull", `${open}/team/bb:v1`),
      /Status: Image is up to date for 127\.0\.0\.1:5000\/team\/bb:v1/,
    ],
    [
      "pull of what is not",
      async () => {
        await lab.out("rmi", `${open}/team/bb:v1`, "busybox");
        expect(await lab.out("images", "-q")).toBe("");
        return lab.out("pull", `${open}/team/bb:v1`);
      },
      () => new RegExp(`^v1: Pulling from team/bb\\n[\\s\\S]*Pull complete\\nDigest: ${digest}\\nStatus: Downloaded newer image`),
    ],
    ["it runs", () => lab.out("run", "--rm", `${open}/team/bb:v1`, "echo", "pulled"), "pulled"],
    [
      "run pulls",
      async () => {
        await lab.out("rmi", `${open}/team/bb:v1`);
        return (await lab.docker("run", "--rm", `${open}/team/bb:v1`, "echo", "here")).both;
      },
      /Unable to find image '127\.0\.0\.1:5000\/team\/bb:v1' locally[\s\S]*here\n$/,
    ],
    [
      "by digest",
      async () => {
        await lab.out("rmi", `${open}/team/bb:v1`);
        return lab.out("run", "--rm", `${open}/team/bb@${digest}`, "echo", "by digest");
      },
      "by digest",
    ],
    [
      "a tag that is not there",
      async () => (await lab.docker("pull", `${open}/team/bb:v9`)).stderr,
      /manifest for 127\.0\.0\.1:5000\/team\/bb:v9 not found: manifest unknown/,
    ],
    ["no registry there", async () => (await lab.docker("pull", "127.0.0.1:5009/x")).stderr, /connection refused/],
    [
      "FROM pulls",
      async () => {
        await lab.docker("rmi", "-f", `${open}/team/bb@${digest}`);
        return (
          await lab.dockerWith(
            { stdin: `FROM ${open}/team/bb:v1\nRUN echo layer >/x\n` },
            "build",
            "-t",
            `${open}/team/built`,
            "-",
          )
        ).stdout;
      },
      /v1: Pulling from team\/bb[\s\S]*Successfully tagged 127\.0\.0\.1:5000\/team\/built:latest/,
    ],
    [
      "only the new layer goes up",
      async () => await lab.out("push", `${open}/team/built`),
      /Layer already exists|Mounted from|Pushed/,
    ],
    [
      "push -a",
      async () => {
        await lab.out("tag", `${open}/team/built`, `${open}/team/many:1`);
        await lab.out("tag", `${open}/team/built`, `${open}/team/many:2`);
        await lab.out("push", "-a", `${open}/team/many`);
        return (await lab.host.run("curl", ["-s", `http://${open}/v2/team/many/tags/list`])).stdout;
      },
      /"tags":\["(1","2|2","1)"\]/,
    ],
    [
      "build --pull asks again",
      async () => (await lab.dockerWith({ stdin: `FROM ${open}/team/bb:v1\n` }, "build", "--pull", "-")).stdout,
      /Image is up to date/,
    ],
  );
  it("platforms: the one asked for, of an image of several", async () => {
    const config = JSON.parse((await manifest("team/bb", "v1", docker2)).stdout) as {
      config: { size: number; digest: string };
      mediaType: string;
    };
    expect(config.mediaType).toBe(docker2);
    const size = Buffer.byteLength((await manifest("team/bb", "v1", docker2)).stdout);
    const entry = (architecture: string) => ({ mediaType: docker2, size, digest, platform: { architecture, os: "linux" } });
    const list = {
      schemaVersion: 2,
      mediaType: "application/vnd.docker.distribution.manifest.list.v2+json",
      manifests: [entry("amd64"), entry("arm64")],
    };
    const path = join(lab.directory, "list.json");
    writeFileSync(path, JSON.stringify(list));
    const put = [
      "-sS",
      "-o",
      "/dev/null",
      "-w",
      "%{http_code}",
      "-X",
      "PUT",
      "-H",
      `Content-Type: ${list.mediaType}`,
      "--data-binary",
      `@${path}`,
    ];
    expect((await lab.host.run("curl", [...put, `http://${open}/v2/team/bb/manifests/multi`])).stdout).toBe("201");
    expect(await lab.out("pull", "--platform", "linux/arm64", `${open}/team/bb:multi`)).toContain("Downloaded newer image");
    expect((await lab.docker("pull", "--platform", "linux/s390x", `${open}/team/bb:multi`)).stderr).toMatch(
      /no (matching manifest|image found).*(s390x|manifest)/,
    );
  });
});

describe("a registry with a password", () => {
  const login = (password: string) => lab.dockerWith({ stdin: password }, "login", "-u", "user", "--password-stdin", closed);
  beforeAll(() => lab.out("tag", `${open}/team/bb:v1`, `${closed}/private:1`));
  checks(
    [
      "push without login",
      async () => (await lab.docker("push", `${closed}/private:1`)).stderr,
      /no basic auth credentials|unauthorized|denied/,
    ],
    ["login with a wrong one", async () => (await login("wrong")).stderr, /unauthorized|401/],
    ["login", async () => (await login("secret")).stdout, /Login Succeeded/],
    ["push", () => lab.out("push", `${closed}/private:1`), /1: digest: sha256:/],
    [
      "pull",
      async () => {
        await lab.out("rmi", `${closed}/private:1`);
        return lab.out("pull", `${closed}/private:1`);
      },
      /Status: /,
    ],
    [
      "FROM pulls with the client's credentials",
      async () => {
        await lab.out("rmi", `${closed}/private:1`);
        return (await lab.dockerWith({ stdin: `FROM ${closed}/private:1\n` }, "build", "-q", "-")).stdout;
      },
      /^sha256:/,
    ],
    ["logout", () => lab.out("logout", closed), /Removing login credentials/],
    [
      "pull is refused again",
      async () => (await lab.docker("pull", `${closed}/private:1`)).stderr,
      /no basic auth credentials|unauthorized|denied/,
    ],
    [
      "the engine keeps no credentials",
      () => readFileSync(join(lab.engine.root, "client", "config.json"), "utf8"),
      expect.not.stringContaining("dXNlcjpzZWNyZXQ"),
    ],
  );
});

describe("save and load", () => {
  it("bring an image to another engine by a file", async () => {
    const file = join(lab.directory, "saved.tar");
    await lab.out("save", "-o", file, `${open}/team/built`);
    const [id = ""] = (await lab.out("images", "-q", "--no-trunc", `${open}/team/built`)).split("\n");
    await lab.out("rmi", "-f", id);
    expect(await lab.out("images", "-q", `${open}/team/built`)).toBe("");
    expect(await lab.out("load", "-i", file)).toBe(`Loaded image: ${open}/team/built:latest`);
    expect(await lab.out("images", "-q", "--no-trunc", `${open}/team/built`)).toBe(id);
    expect(await lab.out("run", "--rm", `${open}/team/built`, "cat", "/x")).toBe("layer");
  });
});
