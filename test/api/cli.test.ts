import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseDaemonOptions } from "../../src/cli/daemon-options.js";
import { parsePublish } from "../../src/cli/publish-spec.js";
import { type FakeEngine, fakeEngine } from "./fake-engine.js";
import { run, type Served, serve } from "./helpers.js";

let fake: FakeEngine;
let served: Served;
const published: unknown[] = [];
let differences: string[] = [];

beforeAll(async () => {
  fake = fakeEngine({ containers: { publish: async (_ref: string, ports: unknown) => published.push(ports) && [] } });
  (fake.engine as { verify: unknown }).verify = async () => differences;
  served = await serve(fake.engine);
});
afterAll(() => served.close());

/** The compiled program in a process of its own, its start of the daemon left out. */
const linkspan = (...args: string[]) => {
  const cli = new URL("../../dist/cli/index.js", import.meta.url).href;
  const source = `import { runCli } from ${JSON.stringify(cli)}; process.exitCode = await runCli(process.argv.slice(1), async (o) => { console.log(JSON.stringify(o)); });`;
  return run(process.execPath, ["--input-type=module", "-e", source, "--", ...args], {
    env: { DOCKER_HOST: `unix://${served.socket}` },
  });
};

describe("daemon options", () => {
  it("has defaults for everything", () => {
    expect(parseDaemonOptions([])).toMatchObject({
      hosts: ["unix:///run/linkspan/docker.sock"],
      dataRoot: "/var/lib/linkspan",
      execRoot: "/run/linkspan",
      logLevel: "info",
      icc: true,
      ipMasq: true,
      ip: "0.0.0.0",
      defaultAddressPools: [],
      clusterStoreOptions: {},
      liveRestore: false,
    });
  });
  it("takes dockerd's flags", () => {
    const flags =
      "-H unix:///a -H tcp://127.0.0.1:1 --data-root /d --exec-root=/x --pidfile /p -l debug --bip 10.1.0.1/16 --fixed-cidr 10.1.2.0/24 " +
      "--default-address-pool base=10.10.0.0/16,size=24 --default-address-pool base=fd00::/48,size=64 --icc=false --ip 127.0.0.1 --ip-masq=false " +
      "--mtu 1400 --dns 9.9.9.9 --dns-search a.b --dns-opt ndots:1 --label k=v --cluster-store=etcd://h:2379 --cluster-store-opt kv.cacertfile=/ca " +
      "--cluster-advertise eth0:2375 --insecure-registry r:5000 --host-gateway-ip 10.0.0.1 --live-restore --userland-proxy=false";
    expect(parseDaemonOptions(flags.split(" "))).toMatchObject({
      hosts: ["unix:///a", "tcp://127.0.0.1:1"],
      execRoot: "/x",
      pidfile: "/p",
      logLevel: "debug",
      bip: "10.1.0.1/16",
      defaultAddressPools: [
        { base: "10.10.0.0/16", size: 24 },
        { base: "fd00::/48", size: 64 },
      ],
      icc: false,
      ipMasq: false,
      mtu: 1400,
      dnsOptions: ["ndots:1"],
      clusterStore: "etcd://h:2379",
      clusterStoreOptions: { "kv.cacertfile": "/ca" },
      clusterAdvertise: "eth0:2375",
      liveRestore: true,
    });
  });
  it.each(["--bip bogus", "--mtu x", "--default-address-pool base=10.0.0.0/16,size=8", "--nosuch", "--icc=maybe", "extra"])(
    "refuses %s",
    (flags) => {
      expect(() => parseDaemonOptions(flags.split(" "))).toThrow();
    },
  );
});

describe("-p of linkspan port", () => {
  it.each([
    ["80", [["80/tcp", "", ""]]],
    ["8080:80", [["80/tcp", "", "8080"]]],
    ["127.0.0.1:8080:80/udp", [["80/udp", "127.0.0.1", "8080"]]],
    ["127.0.0.1::80", [["80/tcp", "127.0.0.1", ""]]],
    ["[::1]:8080:80", [["80/tcp", "::1", "8080"]]],
    [
      "8000-8001:80-81",
      [
        ["80/tcp", "", "8000"],
        ["81/tcp", "", "8001"],
      ],
    ],
    ["8000-8002:80", [["80/tcp", "", "8000-8002"]]],
  ])("%s", (spec, expected) => {
    expect(parsePublish(spec, []).map((p) => [p.port, p.binding.HostIp, p.binding.HostPort])).toEqual(expected);
  });
  it.each(["x", "80/xyz", "99999", "1-3:80-81", "1.2.3:1:80"])("refuses %s", (spec) => {
    expect(() => parsePublish(spec, [])).toThrow();
  });
});

describe("client commands", () => {
  it("explain, verify, version", async () => {
    expect(await linkspan("explain", "web")).toMatchObject({ code: 0, stdout: "ip link add web\n" });
    expect(await linkspan("verify")).toMatchObject({ code: 0, stdout: "all is as it should be\n" });
    differences = ["missing: link veth1"];
    expect(await linkspan("verify")).toMatchObject({ code: 1, stdout: "missing: link veth1\n" });
    expect((await linkspan("version")).stdout).toMatch(/^Version: +0\.1\.0\nAPI version: +1\.50/);
  });
  it("port sends what is to be published, and who may use it", async () => {
    await linkspan("port", "web", "-p", "8080:80", "--publish", "53:53/udp", "--allow", "10.0.0.0/8");
    expect(published).toEqual([
      {
        "80/tcp": [{ HostIp: "", HostPort: "8080", Allow: ["10.0.0.0/8"] }],
        "53/udp": [{ HostIp: "", HostPort: "53", Allow: ["10.0.0.0/8"] }],
      },
    ]);
    expect(await linkspan("port", "nosuch")).toMatchObject({ code: 1, stderr: "Error: No such container: nosuch\n" });
    expect(await linkspan("port", "web", "-p", "1-3:80-81")).toMatchObject({ code: 1 });
  });
  it("wrong usage ends with 2 and the help", async () => {
    const odd = await linkspan("nosuch");
    expect(odd.code).toBe(2);
    expect(odd.stderr).toMatch(/unknown command 'nosuch'[\s\S]*Usage: linkspan/);
    expect((await linkspan()).code).toBe(2);
    expect((await linkspan("--help")).code).toBe(0);
    expect(await linkspan("daemon", "--bip", "x")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("invalid CIDR address: x"),
    });
    expect(JSON.parse((await linkspan("daemon", "--icc=false")).stdout)).toMatchObject({ icc: false });
    expect((await linkspan("-H", "unix:///nonexistent.sock", "verify")).stderr).toContain(
      "Cannot connect to the engine at unix:///nonexistent.sock",
    );
  });
});
