import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks, refusals } from "../lib/checks.js";
import { Lab } from "../lib/lab.js";
import { eventually, type Ran } from "../lib/run.js";

let lab: Lab;
let id1: string;
let id2: string;
const status = async (name: string) => (await lab.inspect(name)).State.Status;

beforeAll(async () => {
  lab = await Lab.open();
  id1 = await lab.start("test01", "busybox", ...Lab.idle);
  id2 = await lab.start("test02", "busybox", ...Lab.idle);
});
afterAll(() => lab?.close());

describe("docker stop of a process that ignores SIGTERM", () => {
  let stopped: Ran;
  let port: string;
  beforeAll(async () => {
    port = await lab.hostPort("test02");
    stopped = await lab.docker("stop", "test02");
  });
  checks(
    ["prints the name", () => stopped.stdout, "test02\n"],
    [
      "takes the ten seconds of grace",
      () => Math.round(stopped.tookMs / 1000),
      expect.toSatisfy((s: number) => s >= 9 && s <= 20),
    ],
    ["the code says SIGKILL", async () => (await lab.inspect("test02")).State.ExitCode, 137],
    ["ps does not show it", () => lab.out("ps", "--format", "{{.Names}}"), "test01"],
    ["ps -a does", () => lab.out("ps", "-a"), /Exited \(137\) .* test02$/m],
    ["its veth is gone", async () => (await lab.host.run("ip", ["link", "show", port])).code, 1],
    ["the network knows the other one only", () => lab.members("bridge"), ["test01"]],
    [
      "inspect shows no address any more",
      async () => (await lab.inspect("test02")).NetworkSettings,
      expect.objectContaining({ IPAddress: "", Gateway: "", IPPrefixLen: 0, MacAddress: "", Ports: {} }),
    ],
  );
  refusals([
    "exec",
    409,
    () => `Container ${id2} is not running`,
    () => lab.api("POST", "/containers/test02/exec", { Cmd: ["true"] }),
  ]);
});

describe("docker rm", () => {
  checks(
    ["prints the name", () => lab.out("rm", "test02"), "test02"],
    ["ps -a does not show it", () => lab.out("ps", "-a", "--format", "{{.Names}}"), "test01"],
  );
  refusals(["inspect", 404, "No such container: test02", () => lab.api("GET", "/containers/test02/json")]);
});

describe("refused", () => {
  const create = (name: string, body: object) => () => lab.api("POST", `/containers/create?name=${name}`, body);
  const nameRule = "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed";
  refusals(
    [
      "rm of a running container",
      409,
      () => `You cannot remove a running container ${id1}. Stop the container before attempting removal or force remove`,
      () => lab.api("DELETE", "/containers/test01"),
    ],
    ["rm of nothing", 404, "No such container: nosuch", () => lab.api("DELETE", "/containers/nosuch")],
    ["stop of nothing", 404, "No such container: nosuch", () => lab.api("POST", "/containers/nosuch/stop")],
    ["start of what runs: not modified", 304, "", () => lab.api("POST", "/containers/test01/start")],
    [
      "a name in use",
      409,
      () =>
        `Conflict. The container name "/test01" is already in use by container "${id1}". You have to remove (or rename) that container to be able to reuse that name.`,
      create("test01", { Image: "busybox", Cmd: ["true"] }),
    ],
    ["a name of one letter", 400, `Invalid container name (w), ${nameRule}`, create("w", { Image: "busybox", Cmd: ["true"] })],
    [
      "a name with a blank",
      400,
      `Invalid container name (a b), ${nameRule}`,
      create("a%20b", { Image: "busybox", Cmd: ["true"] }),
    ],
    ["an image that is not there", 404, "No such image: nosuch:latest", create("noimg", { Image: "nosuch", Cmd: ["true"] })],
    ["malformed JSON", 400, /.+/, () => lab.api("POST", "/containers/create?name=bad", "{bad")],
  );
  it("an image and a request without a command: 400", async () => {
    await lab.out("create", "--name", "tocommit", "busybox", "true");
    await lab.out("export", "-o", `${lab.directory}/plain.tar`, "tocommit");
    await lab.out("import", `${lab.directory}/plain.tar`, "plain");
    const { status: code, message } = await lab.api("POST", "/containers/create?name=nocmd", { Image: "plain" });
    expect({ code, message }).toEqual({ code: 400, message: "No command specified" });
    await lab.docker("rm", "tocommit");
  });
});

describe("addresses are lent: the lowest free one, given back at stop", () => {
  it("a new container gets the address of the removed one, and the MAC that belongs to it", async () => {
    await lab.start("test02", "busybox", ...Lab.idle);
    expect([await lab.address("test02"), await lab.inside("test02", "cat", "/sys/class/net/eth0/address")]).toEqual([
      "172.17.0.3",
      "02:42:ac:11:00:03",
    ]);
  });
  it("another takes the address while test01 is stopped", async () => {
    await lab.out("stop", "-t", "0", "test01");
    await lab.sleeper("thief");
    expect(await lab.address("thief")).toBe("172.17.0.2");
  });
  describe("test01 started again", () => {
    checks(
      ["docker start prints the name", () => lab.out("start", "test01"), "test01"],
      ["it is still the same container", async () => (await lab.inspect(id1)).Name, "/test01"],
      ["with another address", () => lab.address("test01"), "172.17.0.4"],
      ["and another MAC", () => lab.inside("test01", "cat", "/sys/class/net/eth0/address"), "02:42:ac:11:00:04"],
      [
        "which /etc/hosts has, once",
        async () => (await lab.inside("test01", "grep", id1.slice(0, 12), "/etc/hosts")).split(/\s+/),
        () => ["172.17.0.4", id1.slice(0, 12)],
      ],
      ["and which answers", () => lab.pings("test02", "172.17.0.4"), true],
    );
  });
  it("docker restart keeps the address while the lower one is taken", async () => {
    await lab.out("restart", "-t", "0", "test01");
    expect(await lab.address("test01")).toBe("172.17.0.4");
  });
  it("and takes the lowest when that is free", async () => {
    await lab.out("rm", "-f", "thief");
    await lab.out("restart", "-t", "0", "test01");
    expect(await lab.address("test01")).toBe("172.17.0.2");
  });
});

describe("rename, kill, pause, wait, top", () => {
  it("the network shows the new name", async () => {
    await lab.out("rename", "test02", "test02b");
    expect(await lab.members("bridge")).toEqual(["test01", "test02b"]);
    await lab.out("rename", "test02b", "test02");
  });
  it("kill", async () => {
    await lab.out("kill", "test02");
    expect(await lab.column("test02", "Status")).toMatch(/^Exited \(137\)/);
    await lab.out("start", "test02");
  });
  it("top shows the processes", async () => {
    expect(await lab.out("top", "test02")).toMatch(/PID[\s\S]*while true/);
  });
  it("wait prints the code", async () => {
    await lab.start("wt", "busybox", "sh", "-c", "sleep 0.5; exit 5");
    expect(await lab.out("wait", "wt")).toBe("5");
    await lab.out("rm", "wt");
  });
  describe("pause", () => {
    beforeAll(() => lab.out("pause", "test02"));
    afterAll(() => lab.out("unpause", "test02"));
    checks(
      ["ps says so", () => lab.column("test02", "Status"), /^Up .*\(Paused\)/],
      [
        "no process runs in it",
        async () => (await lab.dockerWith({ timeoutMs: 3_000 }, "exec", "test02", "true")).code,
        expect.not.toSatisfy((code: number) => code === 0),
      ],
      ["the kernel answers for it", async () => lab.pings("test01", await lab.address("test02")), true],
    );
  });
});

describe("a process that dies by itself", () => {
  it("ends the container: code and state", async () => {
    process.kill(await lab.pid("test02"), "SIGKILL");
    expect(await eventually(async () => (await status("test02")) === "exited")).toBe(true);
    expect((await lab.inspect("test02")).State.ExitCode).toBe(137);
  });
  checks(
    ["takes its endpoint with it", () => lab.members("bridge"), ["test01"]],
    [
      "start brings it back",
      async () => {
        await lab.out("start", "test02");
        return lab.address("test02");
      },
      "172.17.0.3",
    ],
  );
  it("is started again under --restart always, with its network, and the count goes up", async () => {
    await lab.sleeper("ra", "--restart", "always");
    process.kill(await lab.pid("ra"), "SIGKILL");
    const restarted = async () => {
      const { RestartCount, State } = await lab.inspect("ra"); // Running is true while it waits to be started again, too
      return RestartCount === 1 && State.Status === "running";
    };
    expect(await eventually(restarted)).toBe(true);
    expect(await lab.pings("ra", "172.17.0.1")).toBe(true);
    await lab.out("rm", "-f", "ra");
  });
  it("is given up under --restart on-failure:2 after two more tries", async () => {
    await lab.out("run", "-d", "--name", "of", "--restart", "on-failure:2", "busybox", "false");
    expect(
      await eventually(async () => (await lab.inspect("of")).RestartCount === 2 && (await status("of")) === "exited", 10_000),
    ).toBe(true);
  });
});

describe("docker events", () => {
  it("tells the life of a container in order", async () => {
    const since = Date.now();
    await lab.out("run", "--rm", "--name", "brief", "busybox", "true");
    const events = await lab.events(since, "container=brief", "{{.Action}}");
    expect(events.filter((action) => action !== "attach")).toEqual(["create", "start", "die", "destroy"]);
  });
});
