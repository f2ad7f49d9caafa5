import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks, refusals } from "../lib/checks.js";
import { Lab } from "../lib/lab.js";
import { eventually, type Ran } from "../lib/run.js";

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open({ images: ["tools"] });
  await lab.start("test01", "busybox", ...Lab.idle);
});
afterAll(() => lab?.close());

const once = (...args: string[]) => lab.out("run", "--rm", ...args);

describe("docker exec", () => {
  checks(
    ["prints what the command prints", () => lab.inside("test01", "echo", "hello"), "hello"],
    ["ends with the command's code", async () => (await lab.exec("test01", "sh", "-c", "exit 7")).code, 7],
    [
      "keeps the two streams apart",
      async () => {
        const { stdout, stderr } = await lab.exec("test01", "sh", "-c", "echo out; echo err >&2");
        return { stdout, stderr };
      },
      { stdout: "out\n", stderr: "err\n" },
    ],
    [
      "-i passes stdin on, to its end",
      async () => (await lab.dockerWith({ stdin: "abc" }, "exec", "-i", "test01", "cat")).stdout,
      "abc",
    ],
    ["-e sets a variable", () => lab.out("exec", "-e", "FOO=val", "test01", "sh", "-c", "echo $FOO"), "val"],
    ["-w sets the directory", () => lab.out("exec", "-w", "/tmp", "test01", "pwd"), "/tmp"],
    [
      "-it is a terminal",
      async () => (await lab.engine.dockerOnTerminal(["exec", "-it", "test01", "/bin/sh"], "ip a\nexit\n")).stdout,
      /inet 172\.17\.0\.2\/16/,
    ],
    [
      "a command that is not there: 126",
      async () => {
        const { code, both } = await lab.exec("test01", "nosuchcommand");
        return `${code} ${both}`;
      },
      /^126 [\s\S]*exec: "nosuchcommand": executable file not found in \$PATH/,
    ],
  );
  refusals([
    "of a container that is not there",
    404,
    "No such container: nosuch",
    () => lab.api("POST", "/containers/nosuch/exec", { Cmd: ["true"] }),
  ]);
});

describe("two shells that count, run with -itd", () => {
  beforeAll(async () => {
    await lab.out("run", "-itd", "--name", "cos1", "tools", "/bin/sh", "-c", "while true;do echo 1;sleep 1;done");
    await lab.out("run", "-itd", "--name", "cos2", "tools", "/bin/sh", "-c", "while true;do echo 1;sleep 100;done");
    await eventually(
      async () => (await lab.out("logs", "cos1")).startsWith("1") && (await lab.out("logs", "cos2")).startsWith("1"),
    );
  });
  afterAll(async () => {
    await lab.docker("rm", "-f", "cos1", "cos2");
  });
  checks(
    ["logs shows what the terminal showed", () => lab.out("logs", "cos1"), /^1/],
    ["logs --tail 1 is one line", async () => (await lab.out("logs", "--tail", "1", "cos2")).trim(), "1"],
    ["it runs", () => lab.out("inspect", "-f", "{{.State.Running}}", "cos1"), "true"],
    ["cos1 pings cos2", async () => lab.pings("cos1", await lab.address("cos2")), true],
  );
});

describe("docker run in the foreground", () => {
  let ran: Ran;
  beforeAll(async () => {
    ran = await lab.docker("run", "--name", "lg", "busybox", "sh", "-c", "echo to-out; echo to-err >&2");
  });
  checks(
    ["stdout", () => ran.stdout, "to-out\n"],
    ["stderr", () => ran.stderr, "to-err\n"],
    ["logs has the same stdout", async () => (await lab.docker("logs", "lg")).stdout, "to-out\n"],
    ["logs has the same stderr", async () => (await lab.docker("logs", "lg")).stderr, "to-err\n"],
    [
      "logs -t puts the time in front",
      async () => (await lab.docker("logs", "-t", "lg")).stdout,
      /^\d{4}-\d\d-\d\dT[0-9:.]+Z to-out$/m,
    ],
    [
      "ends with the command's code",
      async () => (await lab.docker("run", "--rm", "--name", "ex", "busybox", "sh", "-c", "exit 3")).code,
      3,
    ],
    ["--rm leaves nothing", async () => (await lab.docker("inspect", "ex")).code, 1],
    ["a command that is not there: 127", async () => (await lab.docker("run", "--rm", "busybox", "nosuchcmd")).code, 127],
  );
});

describe("flags of docker run", () => {
  const resolv = () =>
    once("--dns", "9.9.9.9", "--dns-search", "x.lab", "--dns-option", "ndots:2", "busybox", "cat", "/etc/resolv.conf");
  checks(
    ["-e, seen by the shell", () => once("-e", "REDIS_HOST=redis", "busybox", "sh", "-c", "echo $REDIS_HOST"), "redis"],
    ["-e, seen by env", () => once("-e", "REDIS_HOST=redis", "busybox", "env"), /^REDIS_HOST=redis$/m],
    ["--hostname", () => once("--hostname", "myhost", "busybox", "hostname"), "myhost"],
    ["--add-host", () => once("--add-host", "foo:1.2.3.4", "busybox", "cat", "/etc/hosts"), /^1\.2\.3\.4\tfoo$/m],
    [
      "--dns, --dns-search, --dns-option",
      async () =>
        (await resolv())
          .split("\n")
          .filter((line) => line !== "" && !line.startsWith("#"))
          .sort(),
      ["nameserver 9.9.9.9", "options ndots:2", "search x.lab"],
    ],
    [
      "--dns is asked, through NAT",
      async () => once("--dns", lab.outside.ip, "busybox", "nslookup", "outside.lab"),
      () => new RegExp(lab.outside.ip),
    ],
    ["-w and -u", () => once("-w", "/tmp", "-u", "1000:1000", "busybox", "sh", "-c", "pwd; id -u"), "/tmp\n1000"],
    ["--entrypoint", () => once("--entrypoint", "echo", "busybox", "a", "b"), "a b"],
    ["--tmpfs", () => once("--tmpfs", "/scratch", "busybox", "stat", "-fc", "%T", "/scratch"), "tmpfs"],
    [
      "--read-only",
      async () => (await lab.docker("run", "--rm", "--read-only", "busybox", "touch", "/x")).both,
      /Read-only file system/,
    ],
    ["--init puts a reaper at pid 1", () => once("--init", "busybox", "cat", "/proc/1/comm"), /init|tini/],
    [
      "a container may not change its network",
      async () => (await lab.exec("test01", "ip", "link", "set", "eth0", "down")).both,
      /Operation not permitted/,
    ],
    [
      "unless it is given --cap-add NET_ADMIN",
      async () =>
        (await lab.docker("run", "--rm", "--cap-add", "NET_ADMIN", "busybox", "ip", "link", "set", "eth0", "down")).code,
      0,
    ],
  );
  it("a MAC address asked for in the API's old place", async () => {
    const command = ["cat", "/sys/class/net/eth0/address"];
    await lab.api("POST", "/containers/create?name=mac", { Image: "busybox", MacAddress: "02:11:22:33:44:55", Cmd: command });
    expect(await lab.out("start", "-a", "mac")).toBe("02:11:22:33:44:55");
  });
  it("-v binds a directory of the host", async () => {
    expect(await once("-v", `${lab.directory}:/lab:ro`, "busybox", "ls", "/lab")).toContain("n1");
  });
});

describe("docker logs -f", () => {
  it("follows to the end of the container", async () => {
    await lab.start("slow", "busybox", "sh", "-c", "for i in 1 2 3; do echo line$i; sleep 0.3; done");
    expect((await lab.docker("logs", "-f", "slow")).stdout).toBe("line1\nline2\nline3\n");
  });
  checks(["--since in the future shows nothing", () => lab.out("logs", "--since", "2100-01-01T00:00:00Z", "slow"), ""]);
});
