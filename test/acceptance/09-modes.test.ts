import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks, refusals } from "../lib/checks.js";
import { Lab } from "../lib/lab.js";
import { eventually, type Ran } from "../lib/run.js";

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open({ images: ["tools", "web"] });
});
afterAll(() => lab?.close());

const space = (name: string) => lab.inside(name, "stat", "-Lc", "%i", "/proc/self/ns/net");
const linkNames = (text: string) => [...text.matchAll(/^\d+: ([^@:]+)/gm)].map((match) => match[1]).sort();
const connect = (network: string, container: string) => () =>
  lab.api("POST", `/networks/${network}/connect`, { Container: container });
const endpoint = (Name: string) => [
  { Name, EndpointID: expect.stringMatching(/^[0-9a-f]{64}$/), MacAddress: "", IPv4Address: "", IPv6Address: "" },
];
const endpointsOf = async (network: string) => Object.values((await lab.inspectNetwork(network)).Containers!);

describe("--network none", () => {
  let id: string;
  beforeAll(async () => {
    id = await lab.start("test04", "--network", "none", "busybox", ...Lab.idle);
  });
  checks(
    ["lo is the only link", async () => linkNames(await lab.inside("test04", "ip", "a")), ["lo"]],
    ["and it is up, with its address", () => lab.inside("test04", "ip", "a"), /inet 127\.0\.0\.1\/8/],
    ["no route", () => lab.inside("test04", "ip", "route"), ""],
    ["an endpoint without addresses", () => endpointsOf("none"), endpoint("test04")],
    ["the container's only network", async () => Object.keys((await lab.inspect("test04")).NetworkSettings.Networks), ["none"]],
    [
      "/etc/hosts does not name the container",
      async () => (await lab.inside("test04", "cat", "/etc/hosts")).includes(id.slice(0, 12)),
      false,
    ],
    ["nothing can be reached", () => lab.pings("test04", "172.17.0.1", 1), false],
  );
  refusals([
    "no other network beside it",
    400,
    "container cannot be connected to multiple networks with one of the networks in private (none) mode",
    connect("bridge", "test04"),
  ]);
});

describe("--network host", () => {
  beforeAll(async () => {
    await lab.start("test05", "--network", "host", "busybox", ...Lab.idle);
    await lab.start("hw", "--network", "host", "tools", "httpd", "-f", "-p", "80", "-h", "/www");
    await eventually(async () => (await lab.outside.fetch(`http://${lab.host.ip}/`, 1)) !== "");
  });
  checks(
    ["the host's namespace", () => space("test05"), () => String(lab.host.inode)],
    [
      "the host's links",
      async () => linkNames(await lab.inside("test05", "ip", "-o", "link")),
      async () => linkNames(await lab.host.out("ip -o link")),
    ],
    ["the host's address", () => lab.inside("test05", "ip", "a"), () => new RegExp(`inet ${lab.host.ip}/`)],
    ["the host's name", () => lab.inside("test05", "hostname"), () => lab.engine.hostname],
    ["inspect", async () => (await lab.inspect("test05")).HostConfig.NetworkMode, "host"],
    [
      "an endpoint without addresses",
      async () => (await endpointsOf("host")).filter((each) => each.Name === "test05"),
      endpoint("test05"),
    ],
    [
      "a server is reached from outside without any translation",
      () => lab.outside.fetch(`http://${lab.host.ip}/cgi-bin/peer`),
      () => `peer=${lab.outside.ip}`,
    ],
    ["ps shows no port", () => lab.column("hw", "Ports"), ""],
  );
  it("two servers on one port: the second cannot have it", async () => {
    const ran = await lab.docker("run", "--network", "host", "--name", "hw2", "tools", "httpd", "-f", "-p", "80", "-h", "/www");
    expect(ran.both).toContain("Address already in use");
    expect((await lab.inspect("hw2")).State.ExitCode).not.toBe(0);
  });
  it("-p is discarded, with a warning", async () => {
    const ran = await lab.docker("run", "-d", "--network", "host", "-p", "90:80", "--name", "hw3", "busybox", "sleep", "99");
    expect(ran.both).toContain("Published ports are discarded when using host network mode");
  });
  checks(
    [
      "connect is refused",
      async () => (await lab.docker("network", "connect", "bridge", "test05")).both,
      /container sharing network namespace with another container or host cannot be connected to any other network/,
    ],
    [
      "disconnect is refused",
      async () => (await lab.docker("network", "disconnect", "host", "test05")).both,
      /container cannot be disconnected from host network or connected to host network/,
    ],
  );
});

describe("--network container:base", () => {
  let id: string;
  beforeAll(async () => {
    id = await lab.sleeper("base");
    await lab.start("share", "--network", "container:base", "tools", "httpd", "-f", "-p", "127.0.0.1:81", "-h", "/www");
    await eventually(async () => (await lab.fetchFrom("base", "http://127.0.0.1:81/", 1)) !== "");
  });
  const same = (...command: string[]) => [() => lab.inside("share", ...command), () => lab.inside("base", ...command)] as const;
  checks(
    ["one network namespace", ...same("stat", "-Lc", "%i", "/proc/self/ns/net")],
    ["one eth0", ...same("cat", "/sys/class/net/eth0/address")],
    ["one host name", ...same("hostname")],
    ["one /etc/hosts", ...same("cat", "/etc/hosts")],
    ["one lo: the server of one answers the other", () => lab.fetchFrom("base", "http://127.0.0.1:81/"), /welcome/],
    [
      "processes of their own",
      async () =>
        (await lab.inside("share", "stat", "-Lc", "%i", "/proc/1/ns/pid")) !==
        (await lab.inside("base", "stat", "-Lc", "%i", "/proc/1/ns/pid")),
      true,
    ],
    [
      "files of their own",
      async () => {
        await lab.inside("base", "touch", "/tmp/f");
        return (await lab.exec("share", "ls", "/tmp/f")).code;
      },
      1,
    ],
    [
      "the mode names the other by its id",
      async () => (await lab.inspect("share")).HostConfig.NetworkMode,
      () => `container:${id}`,
    ],
    ["no network of its own", async () => (await lab.inspect("share")).NetworkSettings.Networks, {}],
    ["nor an endpoint", async () => (await lab.members("bridge")).includes("share"), false],
    [
      "one set of ports",
      async () =>
        (
          await lab.docker(
            "run",
            "--rm",
            "--network",
            "container:base",
            "tools",
            "httpd",
            "-f",
            "-p",
            "127.0.0.1:81",
            "-h",
            "/www",
          )
        ).both,
      /Address already in use/,
    ],
    [
      "connect is refused",
      async () => (await lab.docker("network", "connect", "none", "share")).both,
      /container sharing network namespace with another container or host cannot be connected to any other network/,
    ],
    [
      "a container that is not there",
      async () => {
        const created: Ran = await lab.docker("create", "--name", "cu", "--network", "container:nosuch", "busybox", "true");
        return created.both + (await lab.docker("start", "cu")).both;
      },
      /No such container: nosuch/,
    ],
  );
  const create = (more: object, hostConfig: object) => () =>
    lab.api("POST", "/containers/create?name=cx", {
      Image: "busybox",
      Cmd: ["true"],
      ...more,
      HostConfig: { NetworkMode: "container:base", ...hostConfig },
    });
  refusals(
    [
      "ports of its own",
      400,
      "conflicting options: port publishing and the container type network mode",
      create({}, { PortBindings: { "80/tcp": [{ HostPort: "80" }] } }),
    ],
    ["a host name of its own", 400, "conflicting options: hostname and the network mode", create({ Hostname: "zz" }, {})],
  );

  it("when base stops, its eth0 is gone for the other, and nobody can join", async () => {
    await lab.out("stop", "-t", "0", "base");
    expect(linkNames(await lab.inside("share", "ip", "a"))).not.toContain("eth0");
    await lab.out("create", "--name", "late", "--network", "container:base", "busybox", "true");
    expect((await lab.docker("start", "late")).both).toMatch(/cannot join network of a non running container: [0-9a-f]{64}/);
  });
  it("base starts again", async () => {
    await lab.out("start", "base");
    expect(await lab.inside("base", "ip", "a")).toContain("eth0");
  });
});
