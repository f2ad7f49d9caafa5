import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks } from "../lib/checks.js";
import { Lab } from "../lib/lab.js";
import type { Space } from "../lib/space.js";

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open();
});
afterAll(() => lab?.close());

describe("an engine on an empty machine", () => {
  checks(
    ["/_ping says OK", async () => (await lab.api("GET", "/_ping")).text, "OK"],
    ["/_ping announces the API version", async () => (await lab.api("GET", "/_ping")).headers["api-version"], /^1\.\d+$/],
    ["/version says which API it speaks", async () => (await lab.api("GET", "/version")).text, /"ApiVersion":"1\.\d+"/],
    ["any version in front of the path is served", async () => (await lab.api("GET", "/v1.24/_ping")).status, 200],
    ["/info names the network drivers", async () => (await lab.api("GET", "/info")).text, /"Network":\["bridge","host"/],
    ["an unknown path is Docker's 404", async () => (await lab.api("GET", "/nosuch")).message, "page not found"],
    ["the host reaches the outside", () => lab.host.pings(lab.outside.ip), true],
    ["the outside reaches the host", () => lab.outside.pings(lab.host.ip), true],
    ["the host reaches the internet by its default route", () => lab.host.pings(lab.internet.ip), true],
    ["busybox runs without any registry", () => lab.out("run", "--rm", "busybox", "echo", "here"), "here"],
  );
});

describe("two namespaces and a cable between them, by hand", () => {
  let left: Space;
  let right: Space;

  it("ip netns add makes them", async () => {
    left = await lab.topology.loose("hand1");
    right = await lab.topology.loose("hand2");
    expect((await lab.host.run("ip", ["netns", "list"])).stdout).toMatch(new RegExp(`^${left.name}\\b`, "m"));
  });
  it("a new one has nothing but lo, which is down and without an address", async () => {
    const links = await left.out("ip a");
    expect(links).toMatch(/lo: <LOOPBACK> mtu 65536 qdisc noop state DOWN/);
    expect(links).not.toContain("inet ");
  });
  it("lo goes up and is of state UNKNOWN", async () => {
    await left.out("ip link set lo up");
    expect(await left.out("ip link")).toMatch(/lo: <LOOPBACK,UP,LOWER_UP> .* state UNKNOWN/);
  });
  it("a veth pair is made on the engine's host, both ends seen there, both down", async () => {
    await lab.host.out("ip link add veth-test1 type veth peer name veth-test2");
    const links = await lab.host.out("ip link");
    expect(links).toMatch(/veth-test2@veth-test1: <BROADCAST,MULTICAST,M-DOWN> .*state DOWN/);
    expect(links).toMatch(/veth-test1@veth-test2: <BROADCAST,MULTICAST,M-DOWN> .*state DOWN/);
  });
  it("one end moves away, the other stays and knows its peer by number only", async () => {
    await lab.host.out(`ip link set veth-test1 netns ${left.name}`);
    expect(await left.out("ip link")).toMatch(/veth-test1@if\d+: <BROADCAST,MULTICAST>/);
    const links = await lab.host.out("ip link");
    expect(links).not.toContain("veth-test1@");
    expect(links).toMatch(/veth-test2@if\d+/);
  });
  it("with addresses and both ends up, each side pings the other", async () => {
    await lab.host.out(`ip link set veth-test2 netns ${right.name}`);
    for (const [space, n] of [
      [left, 1],
      [right, 2],
    ] as const) {
      await space.out(`ip addr add 192.168.1.${n}/24 dev veth-test${n}`);
      await space.out(`ip link set veth-test${n} up`);
    }
    expect(await left.out("ip link")).toMatch(/veth-test1@if\d+: <BROADCAST,MULTICAST,UP,LOWER_UP> .* state UP/);
    expect([await left.pings("192.168.1.2"), await right.pings("192.168.1.1")]).toEqual([true, true]);
  });
  it("the engine does not mind", async () => {
    expect(await lab.host.out("ip -4 addr show docker0")).toContain(" 172.17.0.1/16 ");
  });
});

describe("docker network ls", () => {
  let list: string;
  beforeAll(async () => {
    list = await lab.out("network", "ls");
  });
  checks(
    ["prints Docker's columns", () => list, /^NETWORK ID +NAME +DRIVER +SCOPE$/m],
    ["bridge is of driver bridge", () => list, /^[0-9a-f]{12} +bridge +bridge +local$/m],
    ["host is of driver host", () => list, /^[0-9a-f]{12} +host +host +local$/m],
    ["none is of driver null", () => list, /^[0-9a-f]{12} +none +null +local$/m],
    ["there are no others, and they are sorted", () => lab.out("network", "ls", "--format", "{{.Name}}"), "bridge\nhost\nnone"],
    ["--no-trunc prints whole ids", () => lab.out("network", "ls", "--no-trunc", "-qf", "name=^bridge$"), /^[0-9a-f]{64}$/],
  );
});

describe("docker network inspect", () => {
  const json = async (name: string) => JSON.parse(await lab.out("network", "inspect", name))[0];

  it("finds a network by name, by short id and by the first digits of its id", async () => {
    const id = await lab.out("network", "ls", "-qf", "name=^bridge$");
    for (const key of ["bridge", id, id.slice(0, 5)])
      expect((await lab.out("network", "inspect", "-f", "{{.Name}} {{.Id}}", key)).slice(0, "bridge ".length + 12)).toBe(
        `bridge ${id}`,
      );
  });
  checks(
    [
      "the keys of bridge, in Docker's order",
      async () => Object.keys(await json("bridge")).join(),
      "Name,Id,Created,Scope,Driver,EnableIPv6,IPAM,Internal,Attachable,Ingress,ConfigFrom,ConfigOnly,Containers,Options,Labels",
    ],
    [
      "bridge, what does not vary",
      async () => {
        const { Id: _id, Created: _created, IPAM, ...rest } = await json("bridge");
        return { ...rest, IPAM: { ...IPAM, Config: IPAM.Config[0].Subnet } };
      },
      {
        Name: "bridge",
        Scope: "local",
        Driver: "bridge",
        EnableIPv6: false,
        IPAM: { Driver: "default", Options: null, Config: "172.17.0.0/16" },
        Internal: false,
        Attachable: false,
        Ingress: false,
        ConfigFrom: { Network: "" },
        ConfigOnly: false,
        Containers: {},
        Options: {
          "com.docker.network.bridge.default_bridge": "true",
          "com.docker.network.bridge.enable_icc": "true",
          "com.docker.network.bridge.enable_ip_masquerade": "true",
          "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
          "com.docker.network.bridge.name": "docker0",
          "com.docker.network.driver.mtu": "1500",
        },
        Labels: {},
      },
    ],
    [
      "Created is RFC 3339 with a fraction",
      async () => (await json("bridge")).Created,
      /^\d{4}-\d\d-\d\dT[0-9:]{8}\.\d+(Z|[+-]\d\d:\d\d)$/,
    ],
    ...(["none", "host"] as const).map(
      (name) =>
        [
          `${name} has no addresses and no options`,
          async () => {
            const { Name, Scope, Driver, IPAM, Options, Containers } = await json(name);
            return { Name, Scope, Driver, IPAM, Options, Containers };
          },
          {
            Name: name,
            Scope: "local",
            Driver: name === "none" ? "null" : "host",
            IPAM: { Driver: "default", Options: null, Config: [] },
            Options: {},
            Containers: {},
          },
        ] as const,
    ),
  );
});

describe("docker0, seen with the host's own tools", () => {
  checks(
    [
      "has its address",
      () => lab.host.out("ip a show docker0"),
      /inet 172\.17\.0\.1\/16 brd 172\.17\.255\.255 scope global docker0/,
    ],
    ["has a MAC of Docker's prefix", () => lab.host.out("ip a show docker0"), /link\/ether 02:42:/],
    ["takes the uplink's MTU", () => lab.host.out("ip a show docker0"), /mtu 1500/],
    [
      "has no carrier while it is empty",
      () => lab.host.out("ip a show docker0"),
      /<NO-CARRIER,BROADCAST,MULTICAST,UP>.* state DOWN/,
    ],
    ["brctl shows it with no port", () => lab.host.out("brctl show docker0"), /^docker0\s+8000\.0242[0-9a-f]{8}\s+no\s*$/m],
    [
      "has the connected route",
      () => lab.host.out("ip route"),
      /^172\.17\.0\.0\/16 dev docker0 proto kernel scope link src 172\.17\.0\.1/m,
    ],
    ["forwarding is on", () => lab.host.out("sysctl -n net.ipv4.ip_forward"), "1"],
  );
});
