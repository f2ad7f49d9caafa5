import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks, refusals } from "../lib/checks.js";
import { Lab } from "../lib/lab.js";
import { eventually, sleep } from "../lib/run.js";

let lab: Lab;
let host: string;
let out: string;
beforeAll(async () => {
  lab = await Lab.open({ images: ["web", "tools"] });
  host = lab.host.ip;
  out = lab.outside.ip;
});
afterAll(() => lab?.close());

const page = /^<!DOCTYPE html>/;
const httpd = ["tools", "httpd", "-f", "-p", "80", "-h", "/www"];
const ports = async (name: string) => (await lab.inspect(name)).NetworkSettings.Ports;
/** The host's port for the container's port 80. */
const published = async (name: string) => Number((await ports(name))["80/tcp"]![0]!.HostPort);
const served = (url: string, from = lab.host) => eventually(async () => (await from.fetch(url, 1)) !== "");

describe("a port that is exposed but not published", () => {
  beforeAll(async () => {
    await lab.start("web", "web");
    await served("http://172.17.0.2/");
  });
  afterAll(() => lab.docker("rm", "-f", "web"));
  checks(
    ["ps shows it without an arrow", () => lab.column("web", "Ports"), "80/tcp"],
    ["docker port shows nothing", () => lab.out("port", "web"), ""],
    ["inspect shows no binding", () => ports("web"), { "80/tcp": null }],
    ["the host reaches it at the container's address", () => lab.host.fetch("http://172.17.0.2/"), page],
    ["not at its own", () => lab.host.fetch("http://localhost/"), ""],
    ["the outside does not", () => lab.outside.fetch(`http://${host}/`), ""],
    ["nor by the container's address", () => lab.outside.fetch("http://172.17.0.2/", 1), ""],
  );
  it("nor with a route to the container's subnet: neither TCP nor ping", async () => {
    await lab.outside.out(`ip route add 172.16.0.0/12 via ${host}`);
    const got = [await lab.outside.fetch("http://172.17.0.2/", 1), await lab.outside.pings("172.17.0.2", 1)];
    await lab.outside.out("ip route del 172.16.0.0/12");
    expect(got).toEqual(["", false]);
  });
});

describe("-p 80:80", () => {
  beforeAll(async () => {
    await lab.start("web", "-p", "80:80", "web");
    await served("http://localhost/");
  });
  checks(
    [
      "ps shows both families",
      async () => (await lab.column("web", "Ports")).replace(", :::", ", [::]:"),
      "0.0.0.0:80->80/tcp, [::]:80->80/tcp",
    ],
    ["docker port", () => lab.out("port", "web"), /^80\/tcp -> 0\.0\.0\.0:80$/m],
    ["docker port web 80", () => lab.out("port", "web", "80"), /^0\.0\.0\.0:80$/m],
    ["docker port web 80/tcp", () => lab.out("port", "web", "80/tcp"), /^0\.0\.0\.0:80$/m],
    [
      "docker port of another",
      async () => (await lab.docker("port", "web", "81")).both,
      /No public port .81(\/tcp)?. published for web/,
    ],
    [
      "inspect",
      () => ports("web"),
      {
        "80/tcp": [
          { HostIp: "0.0.0.0", HostPort: "80" },
          { HostIp: "::", HostPort: "80" },
        ],
      },
    ],
    [
      "what was asked for",
      async () => (await lab.inspect("web")).HostConfig.PortBindings,
      { "80/tcp": [{ HostIp: "", HostPort: "80" }] },
    ],
    ["at localhost", () => lab.host.fetch("http://localhost/"), page],
    ["at the host's address", () => lab.host.fetch(`http://${host}/`), page],
    ["from outside", () => lab.outside.fetch(`http://${host}/`), page],
    ["at ::1", () => lab.host.fetch("http://[::1]/"), page],
    [
      "no process helps: the engine alone",
      async () => (await lab.host.run("ss", ["-Hlntp"])).stdout.includes("docker-proxy"),
      false,
    ],
  );
});

describe("whom the container sees", () => {
  beforeAll(async () => {
    await lab.start("peer", "-p", "8081:80", ...httpd);
    await lab.sleeper("cli");
    await lab.out("network", "create", "other");
    await lab.sleeper("far", "--network", "other");
    await served("http://localhost:8081/");
  });
  const at = (address: string) => `http://${address}:8081/cgi-bin/peer`;
  const container = /^peer=172\.17\.0\.\d+$/;
  checks(
    ["from outside: the outside's address", () => lab.outside.fetch(at(host)), () => `peer=${out}`],
    ["from the host by its address: that", () => lab.host.fetch(at(host)), () => `peer=${host}`],
    ["from the host by localhost: the gateway", () => lab.host.fetch(at("localhost")), "peer=172.17.0.1"],
    ["itself, by the host's address", () => lab.fetchFrom("peer", at(host)), container],
    ["another container, by the host's address", () => lab.fetchFrom("cli", at(host)), container],
    ["another container, by the gateway", () => lab.fetchFrom("cli", at("172.17.0.1")), container],
    ["a container of another network, by the host's address", () => lab.fetchFrom("far", at(host)), /^peer=/],
    ["but that one not directly", async () => lab.fetchFrom("far", `http://${await lab.address("peer")}/`, 1), ""],
  );
});

describe("ports that cannot be had", () => {
  const endpoint = (name: string) => `driver failed programming external connectivity on endpoint ${name} \\([0-9a-f]{64}\\): `;
  const start = (name: string) => () => lab.api("POST", `/containers/${name}/start`);
  let listener: ReturnType<typeof lab.host.spawn>;
  beforeAll(async () => {
    listener = lab.host.spawn("busybox", ["nc", "-l", "-p", "9999"]);
    await lab.out("create", "-p", "80:80", "--name", "web2", "web");
    await lab.out("create", "-p", "9999:80", "--name", "hp", "web");
    await lab.out("create", "-p", "1.2.3.4:99:80", "--name", "elsewhere", "web");
    await eventually(async () => (await lab.host.out("ss -Hlnt")).includes(":9999"));
  });
  afterAll(() => void listener?.kill());
  refusals(
    [
      "another container has it",
      500,
      new RegExp(`${endpoint("web2")}Bind for 0.0.0.0:80 failed: port is already allocated`),
      start("web2"),
    ],
    [
      "a process of the host has it",
      500,
      new RegExp(`${endpoint("hp")}Error starting userland proxy: listen tcp4 0.0.0.0:9999: bind: address already in use`),
      start("hp"),
    ],
    [
      "the host has no such address",
      500,
      new RegExp(
        `${endpoint("elsewhere")}Error starting userland proxy: listen tcp4 1.2.3.4:99: bind: cannot assign requested address`,
      ),
      start("elsewhere"),
    ],
    [
      "a number beyond 65535",
      400,
      'invalid port specification: "99999"',
      () =>
        lab.api("POST", "/containers/create?name=b2", {
          Image: "web",
          HostConfig: { PortBindings: { "80/tcp": [{ HostPort: "99999" }] } },
        }),
    ],
  );
  checks(
    ["the container stays created", () => lab.column("web2", "Status"), "Created"],
    ["and has no endpoint", async () => (await lab.members("bridge")).includes("web2"), false],
    [
      "the CLI knows a bad number",
      async () => (await lab.docker("run", "-d", "-p", "99999:80", "web")).both,
      /invalid hostPort: 99999/i,
    ],
    [
      "and ranges that do not match",
      async () => (await lab.docker("run", "-d", "-p", "1-3:80-81", "web")).both,
      /invalid ranges specified for container and host Ports: 80-81 and 1-3/i,
    ],
  );
  it("when the holder goes, the other can start, and serves", async () => {
    await lab.out("rm", "-f", "web");
    await lab.out("start", "web2");
    expect(await served("http://localhost/")).toBe(true);
  });
  it("when that goes too, the port is closed", async () => {
    await lab.out("rm", "-f", "web2");
    expect(await lab.host.fetch("http://localhost/", 1)).toBe("");
  });
});

describe("-P, -p 80, ranges", () => {
  beforeAll(async () => {
    await lab.start("rnd", "-P", "web");
    await lab.start("rnd2", "-p", "80", "web");
    for (const n of [1, 2, 3]) await lab.start(`rg${n}`, "-p", "8000-8002:80", "web");
    await lab.out("create", "-p", "8000-8002:80", "--name", "rg4", "web");
    await lab.start("rgs", "-p", "7000-7002:7000-7002", "web");
  });
  checks(
    [
      "a random one is of the kernel's range",
      () => published("rnd"),
      expect.toSatisfy((port: number) => port >= 32768 && port <= 60999),
    ],
    ["and works from outside", async () => served(`http://${host}:${await published("rnd")}/`, lab.outside), true],
    ["two are different", async () => (await published("rnd")) !== (await published("rnd2")), true],
    ["the first free one of a range", async () => Promise.all(["rg1", "rg2", "rg3"].map(published)), [8000, 8001, 8002]],
    ["ps joins neighbours", () => lab.column("rgs", "Ports"), /0\.0\.0\.0:7000-7002->7000-7002\/tcp/],
    ["docker port does not", () => lab.out("port", "rgs"), /^7001\/tcp -> 0\.0\.0\.0:7001$/m],
  );
  refusals([
    "none is left of the range",
    500,
    /driver failed programming external connectivity on endpoint rg4 \([0-9a-f]{64}\): Bind for 0\.0\.0\.0:800[0-2] failed: port is already allocated|.*all ports are allocated.*/,
    () => lab.api("POST", "/containers/rg4/start"),
  ]);
});

describe("published on one address", () => {
  beforeAll(async () => {
    await lab.start("lo", "-p", "127.0.0.1:82:80", "web");
    await lab.start("one", "-p", `${host}:83:80`, "web");
    await served("http://127.0.0.1:82/");
    await served(`http://${host}:83/`);
  });
  checks(
    ["127.0.0.1 is for the host", () => lab.host.fetch("http://127.0.0.1:82/"), page],
    ["not for the outside", () => lab.outside.fetch(`http://${host}:82/`, 1), ""],
    ["ps shows the address", async () => (await lab.column("lo", "Ports")).replace(/, *$/, ""), "127.0.0.1:82->80/tcp"],
    ["the host's address is for the outside", () => lab.outside.fetch(`http://${host}:83/`), page],
    ["not for 127.0.0.1", () => lab.host.fetch("http://127.0.0.1:83/", 1), ""],
  );
});

describe("UDP", () => {
  beforeAll(async () => {
    await lab.start("ud", "-p", "5353:5300/udp", "tools", "udpecho", "5300");
    await eventually(async () => (await lab.host.udp(await lab.address("ud"), 5300, "x")) !== "");
  });
  checks(
    ["from outside, the source kept", () => lab.outside.udp(host, 5353, "hi"), () => new RegExp(`^peer=${out}:\\d+ hi$`)],
    ["from the host", () => lab.host.udp(host, 5353, "hi"), /^peer=[\d.]+:\d+ hi$/],
    ["from localhost", () => lab.host.udp("127.0.0.1", 5353, "hi"), /^peer=172\.17\.0\.1:\d+ hi$/],
    ["ps", () => lab.column("ud", "Ports"), /0\.0\.0\.0:5353->5300\/udp/],
  );
  it("a flow with the same source port reaches the container at its new address", async () => {
    const flow = () => lab.outside.run("socat", ["-T1", "-", `UDP4:${host}:5353,bind=:40000`], { stdin: "hi\n" });
    expect((await flow()).stdout).toMatch(/hi/);
    await lab.out("stop", "-t", "0", "ud");
    await lab.sleeper("thief");
    await lab.out("start", "ud");
    await sleep(300);
    expect((await flow()).stdout).toMatch(new RegExp(`peer=${out}:40000 hi`));
    await lab.out("rm", "-f", "thief");
  });
});

describe("on a user-defined network, through stop, move, disconnect and connect", () => {
  const url = () => `http://${host}:8090/`;
  beforeAll(() => lab.start("unet", "--network", "other", "-p", "8090:80", "web"));
  it("open", async () => {
    expect(await served(url(), lab.outside)).toBe(true);
  });
  it("stopped: closed, and inspect shows no port", async () => {
    await lab.out("stop", "-t", "0", "unet");
    expect(await lab.outside.fetch(url(), 1)).toBe("");
    expect(await ports("unet")).toEqual({});
  });
  it("started with another address: open", async () => {
    const before = await lab.sleeper("thief2", "--network", "other").then(() => lab.address("thief2", "other"));
    await lab.out("start", "unet");
    expect(await lab.address("unet", "other")).not.toBe(before);
    expect(await served(url(), lab.outside)).toBe(true);
  });
  it("disconnected: closed", async () => {
    await lab.out("network", "disconnect", "other", "unet");
    expect(await lab.outside.fetch(url(), 1)).toBe("");
  });
  it("connected again: open", async () => {
    await lab.out("network", "connect", "other", "unet");
    expect(await served(url(), lab.outside)).toBe(true);
  });
});
