import { resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks, refusals } from "../lib/checks.js";
import { Lab } from "../lib/lab.js";

let lab: Lab;
let id2: string;
beforeAll(async () => {
  lab = await Lab.open({ images: ["tools", "tomcat"] });
  await lab.start("test01", "busybox", ...Lab.idle);
  id2 = await lab.start("test02", "busybox", ...Lab.idle);
});
afterAll(() => lab?.close());

const lines = (text: string) => text.split("\n");
const networksOf = async (name: string) => Object.keys((await lab.inspect(name)).NetworkSettings.Networks).sort();

describe("docker network create my-bridge", () => {
  let id: string;
  let device: string;
  beforeAll(async () => {
    id = await lab.out("network", "create", "--driver", "bridge", "my-bridge");
    device = `br-${id.slice(0, 12)}`;
  });
  checks(
    ["prints the id", () => id, /^[0-9a-f]{64}$/],
    ["is listed", () => lab.out("network", "ls"), () => new RegExp(`^${id.slice(0, 12)} +my-bridge +bridge +local$`, "m")],
    [
      "makes a device named after the id",
      () => lab.host.out("brctl show"),
      () => new RegExp(`^${device}\\s+8000\\.0242[0-9a-f]{8}\\s+no`, "m"),
    ],
    ["which has no carrier yet", () => lab.host.out(`ip link show ${device}`), /NO-CARRIER/],
  );

  describe("and the first container on it", () => {
    let id3: string;
    beforeAll(async () => {
      id3 = await lab.start("test03", "--network=my-bridge", "busybox", ...Lab.idle);
    });
    checks(
      [
        "the network after docker0's: 172.18.0.0/16",
        async () => (await lab.inspectNetwork("my-bridge")).IPAM,
        {
          Driver: "default",
          Options: {},
          Config: [{ Subnet: "172.18.0.0/16", Gateway: "172.18.0.1" }],
        },
      ],
      ["no options", async () => (await lab.inspectNetwork("my-bridge")).Options, {}],
      [
        "its address and MAC",
        async () => (await lab.inspectNetwork("my-bridge")).Containers![id3],
        expect.objectContaining({
          Name: "test03",
          MacAddress: "02:42:ac:12:00:02",
          IPv4Address: "172.18.0.2/16",
          IPv6Address: "",
        }),
      ],
      [
        "the gateway is on the host",
        () => lab.host.out(`ip a show ${device}`),
        () => new RegExp(`inet 172.18.0.1/16 brd 172.18.255.255 scope global ${device}`),
      ],
      [
        "one port",
        () => lab.host.out(`brctl show ${device}`),
        async () => new RegExp(`no\\s+${await lab.hostPort("test03")}$`, "m"),
      ],
      ["the default route", () => lab.inside("test03", "ip", "route"), /^default via 172\.18\.0\.1 dev eth0/m],
      [
        "the resolver",
        async () => lines(await lab.inside("test03", "cat", "/etc/resolv.conf")),
        expect.arrayContaining(["nameserver 127.0.0.11", "options ndots:0"]),
      ],
      ["docker0's containers do not reach it", () => lab.pings("test02", "172.18.0.2", 1), false],
      ["nor it them", () => lab.pings("test03", "172.17.0.3", 1), false],
      [
        "the outside sees the host's address",
        () => lab.fetchFrom("test03", `http://${lab.outside.ip}:8080/`),
        () => new RegExp(`^peer=${lab.host.ip}:`),
      ],
    );
  });

  describe("docker network connect my-bridge test02", () => {
    let addresses: string;
    beforeAll(async () => {
      await lab.out("network", "connect", "my-bridge", "test02");
      addresses = await lab.inside("test02", "ip", "a");
    });
    checks(
      ["eth0 stays as it was", () => addresses, /inet 172\.17\.0\.3\/16 .* eth0/],
      ["eth1 is there and up", () => addresses, /^\d+: eth1@if\d+: <BROADCAST,MULTICAST,UP,LOWER_UP,M-DOWN> mtu 1500/m],
      ["eth1's address", () => addresses, /inet 172\.18\.0\.3\/16 brd 172\.18\.255\.255 scope global eth1/],
      ["eth1's MAC", () => addresses, /link\/ether 02:42:ac:12:00:03/],
      ["it finds test03 by name", () => lab.inside("test02", "ping", "-c1", "-W2", "test03"), /PING test03 \(172\.18\.0\.2\)/],
      ["and test03 finds it", () => lab.inside("test03", "ping", "-c1", "-W2", "test02"), /PING test02 \(172\.18\.0\.3\)/],
      ["the default route does not move", () => lab.inside("test02", "ip", "route"), /^default via 172\.17\.0\.1 dev eth0/m],
      [
        "the connected route is new",
        () => lab.inside("test02", "ip", "route"),
        /^172\.18\.0\.0\/16 dev eth1 scope link +src 172\.18\.0\.3/m,
      ],
      [
        "/etc/hosts has the second address",
        () => lab.inside("test02", "cat", "/etc/hosts"),
        () => new RegExp(`^172.18.0.3\t${id2.slice(0, 12)}$`, "m"),
      ],
      ["inspect shows both networks", () => networksOf("test02"), ["bridge", "my-bridge"]],
      [
        "and the short id as alias",
        async () => (await lab.inspect("test02")).NetworkSettings.Networks["my-bridge"]!.Aliases,
        () => [id2.slice(0, 12)],
      ],
    );
    it("test01 too: three ports, names between the two", async () => {
      await lab.out("network", "connect", "my-bridge", "test01");
      expect((await lab.host.out("bridge link show")).match(new RegExp(`master ${device} `, "g"))).toHaveLength(3);
      expect(await lab.pings("test01", "test02")).toBe(true);
    });
    refusals([
      "connect a second time",
      403,
      "endpoint with name test02 already exists in network my-bridge",
      () => lab.api("POST", "/networks/my-bridge/connect", { Container: "test02" }),
    ]);
  });
});

describe("names", () => {
  let id3: string;
  beforeAll(async () => {
    id3 = (await lab.inspect("test03")).Id;
    await lab.sleeper(
      "test06",
      "--network",
      "my-bridge",
      "--network-alias",
      "web",
      "--network-alias",
      "w2",
      "--dns",
      lab.outside.ip,
    );
  });
  const type = async (name: string, kind: string) => (await lab.exec("test02", "nslookup", `-type=${kind}`, name)).both;
  checks(
    ["the server is 127.0.0.11", () => lab.inside("test02", "nslookup", "test03"), /^Address:\s*127\.0\.0\.11:53$/m],
    ["a container's name", () => lab.resolve("test02", "test03"), ["172.18.0.2"]],
    ["in capitals", () => lab.resolve("test02", "TEST03"), ["172.18.0.2"]],
    ["its own name", () => lab.resolve("test02", "test02"), ["172.18.0.3"]],
    ["the short id", () => lab.resolve("test02", id3.slice(0, 12)), ["172.18.0.2"]],
    ["name.network", () => lab.resolve("test02", "test03.my-bridge"), ["172.18.0.2"]],
    ["the way back", () => lab.inside("test02", "nslookup", "172.18.0.2"), /name = test03\.my-bridge/],
    ["no IPv6 address, and no error", async () => (await type("test03", "aaaa")).includes("NXDOMAIN"), false],
    ["an alias", () => lab.resolve("test02", "web"), async () => [await lab.address("test06", "my-bridge")]],
    ["another alias of the same", () => lab.resolve("test02", "w2"), async () => [await lab.address("test06", "my-bridge")]],
    ["the rest goes to --dns", () => lab.resolve("test06", "outside.lab"), () => [lab.outside.ip]],
    [
      "what does not exist does not exist",
      async () => (await lab.exec("test06", "nslookup", "nosuch.lab")).both,
      /NXDOMAIN|can't find|can't resolve/,
    ],
    [
      "resolv.conf shows our resolver all the same",
      () => lab.inside("test06", "cat", "/etc/resolv.conf"),
      /^nameserver 127\.0\.0\.11$/m,
    ],
    [
      "the question came from the container, by NAT",
      () => lab.outsideLog,
      () => expect.arrayContaining([`dns ${lab.host.ip} outside.lab 1 udp`]),
    ],
    ["containers' names are told to nobody", () => lab.outsideLog.filter((line) => /test0\d/.test(line)), []],
    [
      "a container on docker0 sees none of it",
      async () => (await lab.docker("run", "--rm", "busybox", "nslookup", "test03")).stdout.includes("172.18.0.2"),
      false,
    ],
  );

  it("two containers with one alias: both addresses", async () => {
    await lab.sleeper("test07", "--network", "my-bridge", "--network-alias", "web");
    expect(await lab.resolve("test02", "web")).toEqual(
      [await lab.address("test06", "my-bridge"), await lab.address("test07", "my-bridge")].sort(),
    );
  });
  it("a stopped one is left out, and is back after a start", async () => {
    await lab.out("stop", "-t", "0", "test07");
    expect(await lab.resolve("test02", "web")).toEqual([await lab.address("test06", "my-bridge")]);
    await lab.out("start", "test07");
    expect(await lab.resolve("test02", "web")).toHaveLength(2);
  });
  it("connect --alias", async () => {
    await lab.sleeper("test08");
    await lab.out("network", "connect", "--alias", "second", "my-bridge", "test08");
    expect(await lab.resolve("test02", "second")).toEqual([await lab.address("test08", "my-bridge")]);
  });
  it("rename: the new name is there, the old one is not", async () => {
    await lab.out("rename", "test07", "test07b");
    expect(await lab.resolve("test02", "test07b")).toEqual([await lab.address("test07b", "my-bridge")]);
    expect(await lab.resolve("test02", "test07")).toEqual([]);
  });
  it("two containers of the default bridge get names by joining a network", async () => {
    await lab.start("myweb", "tomcat");
    await lab.out("run", "-d", "-it", "--name", "mydatabases", "tools", "sh");
    expect(await lab.pings("myweb", "mydatabases", 1)).toBe(false);
    for (const name of ["myweb", "mydatabases"]) await lab.out("network", "connect", "my-bridge", name);
    expect(await lab.inside("myweb", "ping", "-c1", "-W2", "mydatabases")).toContain(
      `PING mydatabases (${await lab.address("mydatabases", "my-bridge")})`,
    );
    expect(await lab.pings("mydatabases", "myweb")).toBe(true);
  });
});

describe("the resolver, asked byte by byte from inside the container's network", () => {
  const ask = async (container: string, ...question: string[]) => {
    const ran = await lab.hostToolIn(
      container,
      process.execPath,
      resolve(import.meta.dirname, "../lib/dns-query.mjs"),
      "127.0.0.11",
      ...question,
    );
    return JSON.parse(ran.stdout || "{}");
  };
  const whole = { rcode: 0, truncated: false, authoritative: false, recursive: true };
  checks(
    ["UDP", () => ask("test02", "udp", "test03"), { ...whole, ttls: [5], addresses: ["172.18.0.2"] }],
    ["TCP", () => ask("test02", "tcp", "test03"), { ...whole, ttls: [5], addresses: ["172.18.0.2"] }],
    [
      "AAAA of a name without one: no error, no answer",
      () => ask("test02", "udp", "test03", "aaaa"),
      expect.objectContaining({ rcode: 0, addresses: [], ttls: [] }),
    ],
    ["forwarded by UDP, too big: truncated", () => ask("test06", "udp", "big.lab"), expect.objectContaining({ truncated: true })],
    [
      "forwarded by TCP: whole",
      async () => (await ask("test06", "tcp", "big.lab")).addresses,
      expect.objectContaining({ length: 60 }),
    ],
    ["NXDOMAIN is passed on", () => ask("test06", "udp", "nosuch.lab"), expect.objectContaining({ rcode: 3 })],
  );
});

describe("--link on a user-defined network: a private alias", () => {
  beforeAll(() => lab.sleeper("lk", "--network", "my-bridge", "--link", "test03:clickhouse-server"));
  checks(
    ["known to the container that has it", () => lab.resolve("lk", "clickhouse-server"), ["172.18.0.2"]],
    ["unknown to others", () => lab.resolve("test02", "clickhouse-server"), []],
    ["not in /etc/hosts", async () => (await lab.inside("lk", "cat", "/etc/hosts")).includes("clickhouse"), false],
    ["not in the environment", async () => (await lab.inside("lk", "env")).includes("CLICKHOUSE"), false],
    [
      "in inspect, on the network",
      async () => (await lab.inspect("lk")).NetworkSettings.Networks["my-bridge"]!.Links,
      ["test03:clickhouse-server"],
    ],
  );
});

describe("docker network disconnect", () => {
  it("takes interface, address and name away", async () => {
    await lab.out("network", "disconnect", "my-bridge", "test02");
    expect(await lab.inside("test02", "ip", "a")).not.toContain("eth1");
    expect(await lab.pings("test02", "172.18.0.2", 1)).toBe(false);
    expect(await networksOf("test02")).toEqual(["bridge"]);
    expect(await lab.resolve("test03", "test02")).toEqual([]);
  });
  refusals([
    "a second time",
    500,
    () => `container ${id2} is not connected to network my-bridge`,
    () => lab.api("POST", "/networks/my-bridge/disconnect", { Container: "test02" }),
  ]);
  it("of the default bridge moves the default route to what is left", async () => {
    await lab.out("network", "disconnect", "bridge", "test01");
    expect(await lab.inside("test01", "ip", "a")).not.toContain("172.17");
    expect(await lab.inside("test01", "ip", "route")).toMatch(/^default via 172\.18\.0\.1 dev eth1/m);
  });
  it("and a connect moves it back", async () => {
    await lab.out("network", "connect", "bridge", "test01");
    expect(await lab.inside("test01", "ip", "route")).toMatch(/^default via 172\.17\.0\.1/m);
  });
  it("connect of a stopped container takes effect at its start", async () => {
    await lab.out("stop", "-t", "0", "test02");
    await lab.out("network", "connect", "my-bridge", "test02");
    expect(await lab.address("test02", "my-bridge")).toBe("");
    await lab.out("start", "test02");
    expect(await lab.inside("test02", "ip", "a")).toMatch(/inet 172\.18\.\d+\.\d+\/16 .* eth1/);
  });
});

describe("two networks are apart", () => {
  let other: string;
  beforeAll(async () => {
    await lab.out("network", "create", "iso");
    await lab.start("i1", "--network", "iso", "tools", "httpd", "-f", "-p", "80", "-h", "/www");
    other = await lab.address("i1", "iso");
  });
  checks(
    ["by subnet", () => other, "172.19.0.2"],
    ["by ping", () => lab.pings("test03", other, 1), false],
    ["by TCP", () => lab.fetchFrom("test03", `http://${other}/`, 1), ""],
    ["by name", () => lab.pings("test03", "i1", 1), false],
    ["but the host reaches both", () => lab.host.fetch(`http://${other}/`), /welcome/],
    ["and both reach the outside", () => lab.pings("i1", lab.outside.ip), true],
    [
      "until a container is on both",
      async () => {
        await lab.out("network", "connect", "iso", "test03");
        return lab.pings("test03", "i1");
      },
      true,
    ],
  );
});

describe("subnet, gateway, range, reserved address, MTU, device name, label", () => {
  beforeAll(async () => {
    await lab.out(
      ...["network", "create", "--subnet", "10.99.0.0/24", "--gateway", "10.99.0.254", "--ip-range", "10.99.0.128/25"],
      ...[
        "--aux-address",
        "x=10.99.0.129",
        "-o",
        "com.docker.network.bridge.name=lstbr0",
        "-o",
        "com.docker.network.driver.mtu=1400",
      ],
      ...["--label", "a=b", "opt"],
    );
    for (const name of ["o1", "o2"]) await lab.sleeper(name, "--network", "opt");
    await lab.sleeper("o3", "--network", "opt", "--ip", "10.99.0.77");
  });
  checks(
    ["the first address of the range", () => lab.address("o1", "opt"), "10.99.0.128"],
    ["the reserved one is left out", () => lab.address("o2", "opt"), "10.99.0.130"],
    ["the gateway", () => lab.inside("o1", "ip", "route"), /^default via 10\.99\.0\.254/m],
    ["the MTU", () => lab.inside("o1", "ip", "link", "show", "eth0"), /mtu 1400/],
    ["the device", () => lab.host.out("ip a show lstbr0"), /10\.99\.0\.254\/24/],
    [
      "inspect",
      async () => (await lab.inspectNetwork("opt")).IPAM!.Config,
      [{ Subnet: "10.99.0.0/24", IPRange: "10.99.0.128/25", Gateway: "10.99.0.254", AuxiliaryAddresses: { x: "10.99.0.129" } }],
    ],
    ["the label", async () => (await lab.inspectNetwork("opt")).Labels, { a: "b" }],
    ["--ip", () => lab.address("o3", "opt"), "10.99.0.77"],
    [
      "--ip after a restart",
      async () => {
        await lab.out("restart", "-t", "0", "o3");
        return lab.address("o3", "opt");
      },
      "10.99.0.77",
    ],
    [
      "connect --ip",
      async () => {
        await lab.out("network", "connect", "--ip", "10.99.0.78", "--alias", "st", "opt", "test08");
        return lab.address("test08", "opt");
      },
      "10.99.0.78",
    ],
  );

  describe("addresses that cannot be had", () => {
    beforeAll(async () => {
      await lab.out("create", "--name", "o4", "--network", "opt", "--ip", "10.99.0.77", "busybox", "true");
      await lab.docker("create", "--name", "o5", "--network", "opt", "--ip", "10.98.0.77", "busybox", "true");
      await lab.api("POST", "/containers/create?name=o8", {
        Image: "busybox",
        Cmd: ["true"],
        NetworkingConfig: { EndpointsConfig: { bridge: { Aliases: ["z"] } } },
      });
    });
    const needsSubnet = "user specified IP address is supported only when connecting to networks with user configured subnets";
    refusals(
      ["taken", 403, "Address already in use", () => lab.api("POST", "/containers/o4/start")],
      [
        "outside",
        500,
        "Invalid address 10.98.0.77: It does not belong to any of this network's subnets",
        () => lab.api("POST", "/containers/o5/start"),
      ],
      [
        "an alias on the default bridge",
        400,
        "network-scoped alias is supported only for containers in user defined networks",
        () => lab.api("POST", "/containers/o8/start"),
      ],
      [
        "two networks at creation",
        400,
        /Container cannot be connected to network endpoints: .*/,
        () =>
          lab.api("POST", "/containers/create?name=xx", {
            Image: "busybox",
            Cmd: ["true"],
            NetworkingConfig: { EndpointsConfig: { "my-bridge": {}, bridge: {} } },
          }),
      ],
      [
        "--ip without a subnet of one's own",
        400,
        needsSubnet,
        () =>
          lab.api("POST", "/networks/my-bridge/connect", {
            Container: "o1",
            EndpointConfig: { IPAMConfig: { IPv4Address: "172.18.0.200" } },
          }),
      ],
    );
    checks(
      [
        "--ip on the default bridge",
        async () => (await lab.docker("run", "--name", "o6", "--ip", "172.17.0.99", "busybox", "true")).both,
        /user specified IP address is supported on user defined networks only/,
      ],
      [
        "--ip on a network without --subnet",
        async () => (await lab.docker("run", "--name", "o7", "--network", "iso", "--ip", "172.19.0.99", "busybox", "true")).both,
        new RegExp(needsSubnet),
      ],
    );
  });
});

describe("--internal", () => {
  beforeAll(async () => {
    await lab.out("network", "create", "--internal", "int");
    await lab.sleeper("n1", "--network", "int");
    await lab.sleeper("n2", "--network", "int");
    await lab.start("n3", "--network", "int", "-p", "8097:80", "tools", "httpd", "-f", "-p", "80", "-h", "/www");
  });
  checks(
    ["inspect says so", async () => (await lab.inspectNetwork("int")).Internal, true],
    ["names and traffic inside", () => lab.pings("n1", "n2"), true],
    ["nothing to the outside", () => lab.pings("n1", lab.outside.ip, 1), false],
    ["nothing to another network", () => lab.pings("n1", "172.18.0.2", 1), false],
    ["the host reaches it", async () => lab.host.fetch(`http://${await lab.address("n3", "int")}/`), /welcome/],
    ["no port is published", async () => (await lab.inspect("n3")).NetworkSettings.Ports, {}],
    ["nor open to the outside", () => lab.outside.fetch(`http://${lab.host.ip}:8097/`, 1), ""],
  );
});

describe("options of the bridge driver", () => {
  it("enable_icc=false: not each other, but the outside", async () => {
    await lab.out("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", "noicc");
    await lab.sleeper("c1", "--network", "noicc");
    await lab.sleeper("c2", "--network", "noicc");
    expect(await lab.pings("c1", "c2", 1)).toBe(false);
    expect(await lab.pings("c1", lab.outside.ip)).toBe(true);
  });
  it("enable_ip_masquerade=false: the outside sees the container's own address", async () => {
    await lab.out("network", "create", "-o", "com.docker.network.bridge.enable_ip_masquerade=false", "nomasq");
    const subnet = await lab.out("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "nomasq");
    await lab.outside.out(`ip route add ${subnet} via ${lab.host.ip}`);
    await lab.sleeper("m1", "--network", "nomasq");
    const seen = await lab.fetchFrom("m1", `http://${lab.outside.ip}:8080/`);
    await lab.outside.out(`ip route del ${subnet}`);
    expect(seen).toMatch(new RegExp(`^peer=${await lab.address("m1", "nomasq")}:\\d+$`));
  });
});

describe("IPv6 on request", () => {
  beforeAll(async () => {
    await lab.out("network", "create", "--ipv6", "--subnet", "fd00:99::/64", "six");
    await lab.sleeper("s6", "--network", "six");
    await lab.sleeper("s7", "--network", "six");
  });
  checks(
    [
      "inspect",
      async () =>
        Object.values((await lab.inspectNetwork("six")).Containers!)
          .map((each) => each.IPv6Address)
          .sort(),
      ["fd00:99::2/64", "fd00:99::3/64"],
    ],
    ["the address inside", () => lab.inside("s6", "ip", "a"), /inet6 fd00:99::2\/64 scope global/],
    ["the other answers", () => lab.pings("s6", "fd00:99::3"), true],
    [
      "both families under one name",
      () => lab.resolve("s6", "s7"),
      async () => [await lab.address("s7", "six"), "fd00:99::3"].sort(),
    ],
  );
});

describe("events of a network", () => {
  it("create, connect, disconnect, destroy", async () => {
    const since = Date.now();
    await lab.out("network", "create", "ev");
    await lab.out("network", "connect", "ev", "s6");
    await lab.out("network", "disconnect", "ev", "s6");
    await lab.out("network", "rm", "ev");
    const all = await lab.events(since, "type=network", "{{.Action}} {{.Actor.Attributes.name}}");
    const actions = all.filter((line) => line.endsWith(" ev")).map((line) => line.split(" ")[0]);
    expect(actions.filter((action, i) => action !== actions[i - 1])).toEqual(["create", "connect", "disconnect", "destroy"]);
  });
});
