import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks, refusals } from "../lib/checks.js";
import { Lab } from "../lib/lab.js";

let lab: Lab;
let id1: string;
beforeAll(async () => {
  lab = await Lab.open({ images: ["tomcat"] });
  id1 = await lab.start("test01", "busybox", ...Lab.idle);
});
afterAll(() => lab?.close());

const hosts = (name: string) => lab.inside(name, "cat", "/etc/hosts");
/** The environment that the container's first process was started with. */
const environOf = async (name: string) => readFileSync(`/proc/${await lab.pid(name)}/environ`, "utf8").split("\0");

describe("--link test01", () => {
  beforeAll(() => lab.start("test02", "--link", "test01", "busybox", ...Lab.idle));
  checks(
    [
      "the name is known",
      () => lab.inside("test02", "ping", "-c1", "-W2", "test01"),
      /PING test01 \(172\.17\.0\.2\): 56 data bytes/,
    ],
    ["/etc/hosts has name and id", () => hosts("test02"), () => new RegExp(`^172.17.0.2\ttest01 ${id1.slice(0, 12)}$`, "m")],
    ["it goes one way only", async () => (await lab.exec("test01", "ping", "-c1", "-W1", "test02")).both, /bad address 'test02'/],
    ["the environment names it", () => lab.inside("test02", "sh", "-c", "echo $TEST01_NAME"), "/test02/test01"],
    ["inspect shows it", async () => (await lab.inspect("test02")).HostConfig.Links, ["/test01:/test02/test01"]],
  );
});

describe("--link mydatabases:db, to a container that exposes a port", () => {
  let address: string;
  let id: string;
  beforeAll(async () => {
    id = await lab.sleeper("mydatabases", "-e", "PW=secret", "--expose", "3306");
    address = await lab.address("mydatabases");
    await lab.start("myweb", "--link", "mydatabases:db", "tomcat");
  });
  checks(
    [
      "/etc/hosts has alias, id and name",
      () => hosts("myweb"),
      () => new RegExp(`^${address}\tdb ${id.slice(0, 12)} mydatabases$`, "m"),
    ],
    ["the alias answers", () => lab.pings("myweb", "db"), true],
    ["the name answers", () => lab.pings("myweb", "mydatabases"), true],
    ["ps shows what the image exposes", () => lab.column("myweb", "Ports"), "8080/tcp"],
    [
      "the environment tells port and environment of the other",
      async () => (await lab.inside("myweb", "env")).split("\n"),
      () =>
        expect.arrayContaining([
          `DB_PORT=tcp://${address}:3306`,
          `DB_PORT_3306_TCP=tcp://${address}:3306`,
          `DB_PORT_3306_TCP_ADDR=${address}`,
          "DB_PORT_3306_TCP_PORT=3306",
          "DB_PORT_3306_TCP_PROTO=tcp",
          "DB_NAME=/myweb/db",
          "DB_ENV_PW=secret",
        ]),
    ],
  );

  describe("the target comes back with another address", () => {
    let moved: string;
    beforeAll(async () => {
      await lab.out("stop", "-t", "0", "mydatabases");
      await lab.sleeper("thief");
      await lab.out("start", "mydatabases");
      moved = await lab.address("mydatabases");
    });
    checks(
      ["someone else took the old one", () => lab.address("thief"), () => address],
      ["/etc/hosts follows", () => hosts("myweb"), () => new RegExp(`^${moved}\tdb `, "m")],
      ["the old line is gone", async () => (await hosts("myweb")).includes(`${address}\tdb`), false],
      [
        "the name leads there",
        () => lab.inside("myweb", "ping", "-c1", "-W2", "mydatabases"),
        () => new RegExp(`PING mydatabases \\(${moved}\\)`),
      ],
      [
        "a running process keeps its environment",
        async () => environOf("myweb"),
        () => expect.arrayContaining([`DB_PORT_3306_TCP_ADDR=${address}`]),
      ],
      [
        "a new exec gets the new one",
        async () => (await lab.inside("myweb", "env")).split("\n"),
        () => expect.arrayContaining([`DB_PORT_3306_TCP_ADDR=${moved}`]),
      ],
    );
    it("so does the container's own process after a restart", async () => {
      await lab.out("restart", "-t", "0", "myweb");
      expect(await environOf("myweb")).toContain(`DB_PORT_3306_TCP_ADDR=${moved}`);
      expect(await lab.pings("myweb", "db")).toBe(true);
      await lab.out("rm", "-f", "thief");
    });
  });

  it("docker rm --link takes the link away", async () => {
    expect(await lab.out("rm", "--link", "myweb/db")).toBe("myweb/db");
    await lab.out("restart", "-t", "0", "myweb");
    expect(await lab.pings("myweb", "db", 1)).toBe(false);
  });
});

describe("refused", () => {
  const create = (hostConfig: object) => () =>
    lab.api("POST", "/containers/create?name=l1", { Image: "busybox", Cmd: ["true"], HostConfig: hostConfig });
  beforeAll(async () => {
    await lab.out("stop", "-t", "0", "mydatabases");
    await lab.out("create", "--name", "l2", "--link", "mydatabases", "busybox", "true");
  });
  refusals(
    ["a link to nothing", 400, "could not get container for nosuch: No such container: nosuch", create({ Links: ["nosuch:x"] })],
    ["a link of three parts", 500, "bad format for links: a:b:c", create({ Links: ["a:b:c"] })],
    [
      "a link in host mode",
      400,
      "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
      create({ NetworkMode: "host", Links: ["test01"] }),
    ],
    [
      "start while the target is stopped",
      500,
      "Cannot link to a non running container: /mydatabases AS /l2/mydatabases",
      () => lab.api("POST", "/containers/l2/start"),
    ],
  );
});
