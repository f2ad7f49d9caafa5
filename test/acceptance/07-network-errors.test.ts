import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks, refusals } from "../lib/checks.js";
import { Lab } from "../lib/lab.js";

let lab: Lab;
let id: string;
beforeAll(async () => {
  lab = await Lab.open();
  id = await lab.out("network", "create", "my-bridge");
  await lab.out("network", "create", "-o", "com.docker.network.bridge.name=lstbr0", "named");
  await lab.out("network", "create", "iso");
  await lab.sleeper("test01", "--network", "my-bridge");
});
afterAll(() => lab?.close());

const create = (body: unknown) => () => lab.api("POST", "/networks/create", body);
const filters = (value: object) => `/networks?filters=${encodeURIComponent(JSON.stringify(value))}`;

describe("networks that cannot be made", () => {
  const before: { networks: string; links: string } = { networks: "", links: "" };
  const now = async () => ({ networks: await lab.out("network", "ls", "-q"), links: await lab.host.out("ip -o link") });
  beforeAll(async () => {
    Object.assign(before, await now());
  });

  const subnet = (...config: object[]) => create({ Name: "x", IPAM: { Config: config } });
  refusals(
    [
      "a name that is there",
      409,
      "network with name my-bridge already exists",
      create({ Name: "my-bridge", CheckDuplicate: true }),
    ],
    ["an empty name", 500, "invalid name: ", create({ Name: "" })],
    [
      "the name of one of Docker's own",
      403,
      "operation is not permitted on predefined bridge network ",
      create({ Name: "bridge" }),
    ],
    ["a second host network", 403, 'only one instance of "host" network is allowed', create({ Name: "h2", Driver: "host" })],
    ["a second null network", 403, 'only one instance of "null" network is allowed', create({ Name: "n2", Driver: "null" })],
    ["an unknown driver", 404, 'plugin "nosuch" not found', create({ Name: "x", Driver: "nosuch" })],
    ["an unknown address driver", 404, 'plugin "nosuch" not found', create({ Name: "x", IPAM: { Driver: "nosuch" } })],
    [
      "an overlay without a cluster",
      500,
      'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
      create({ Name: "x", Driver: "overlay" }),
    ],
    ["a subnet that is none", 500, "Invalid subnet bogus : invalid CIDR address: bogus", subnet({ Subnet: "bogus" })],
    [
      "a subnet within another network's",
      403,
      "Pool overlaps with other one on this address space",
      subnet({ Subnet: "172.18.5.0/24" }),
    ],
    [
      "two IPv4 subnets",
      403,
      "bridge driver doesn't support multiple subnets",
      subnet({ Subnet: "10.9.0.0/24" }, { Subnet: "10.10.0.0/24" }),
    ],
    [
      "a gateway elsewhere",
      500,
      "failed to allocate gateway (10.8.0.1): Requested address is out of range",
      subnet({ Subnet: "10.9.0.0/24", Gateway: "10.8.0.1" }),
    ],
    [
      "a gateway that is no address",
      500,
      "invalid gateway address zzz in Ipam configuration",
      subnet({ Subnet: "10.9.0.0/24", Gateway: "zzz" }),
    ],
    ["a gateway and no subnet", 500, "Invalid subnet  : invalid CIDR address: ", subnet({ Gateway: "10.9.0.1" })],
    [
      "IPv6 without a subnet",
      404,
      "could not find an available, non-overlapping IPv6 address pool among the defaults to assign to the network",
      create({ Name: "x", EnableIPv6: true }),
    ],
    [
      "a device name of more than 15 bytes",
      500,
      "failed to check bridge interface existence: numerical result out of range",
      create({ Name: "x", Options: { "com.docker.network.bridge.name": "waytoolongbridgename" } }),
    ],
    [
      "a device name in use",
      403,
      /cannot create network [0-9a-f]{64} \(lstbr0\): conflicts with network [0-9a-f]{64} \(lstbr0\): networks have same bridge name/,
      create({ Name: "x", Options: { "com.docker.network.bridge.name": "lstbr0" } }),
    ],
    [
      "an MTU that is no number",
      500,
      'failed to parse com.docker.network.driver.mtu value: abc (strconv.Atoi: parsing "abc": invalid syntax)',
      create({ Name: "x", Options: { "com.docker.network.driver.mtu": "abc" } }),
    ],
    ["malformed JSON", 400, "invalid character 'b' looking for beginning of object key string", create("{bad")],
  );
  it("nothing of them is left: neither networks nor links", async () => {
    expect(await now()).toEqual(before);
  });
});

describe("networks that cannot be found, removed or joined", () => {
  const connect = (network: string, container: string) => () =>
    lab.api("POST", `/networks/${network}/connect`, { Container: container });
  refusals(
    ["inspect of nothing", 404, "network nosuch not found", () => lab.api("GET", "/networks/nosuch")],
    ["rm of nothing", 404, "network nosuch not found", () => lab.api("DELETE", "/networks/nosuch")],
    [
      "rm of one of Docker's own",
      403,
      "bridge is a pre-defined network and cannot be removed",
      () => lab.api("DELETE", "/networks/bridge"),
    ],
    [
      "rm of one in use",
      403,
      () => `error while removing network: network my-bridge id ${id} has active endpoints`,
      () => lab.api("DELETE", "/networks/my-bridge"),
    ],
    ["connect to nothing", 404, "network nosuch not found", connect("nosuch", "test01")],
    ["connect of nothing", 404, "No such container: nosuch", connect("my-bridge", "nosuch")],
    [
      "connect to host",
      400,
      "container cannot be disconnected from host network or connected to host network",
      connect("host", "test01"),
    ],
    [
      "connect to none",
      400,
      "container cannot be connected to multiple networks with one of the networks in private (none) mode",
      connect("none", "test01"),
    ],
    ["a filter that is none", 400, /[Ii]nvalid filter 'nosuch'/, () => lab.api("GET", filters({ nosuch: ["x"] }))],
  );
  it("the docker CLI says it like this", async () => {
    expect((await lab.docker("network", "rm", "my-bridge")).both).toContain(
      `Error response from daemon: error while removing network: network my-bridge id ${id} has active endpoints`,
    );
  });
});

describe("run on a network that is not there", () => {
  it("is refused, and leaves the container created", async () => {
    const ran = await lab.docker("run", "--name", "nn", "--network", "nosuch", "busybox", "true");
    expect(ran.code).not.toBe(0);
    expect(ran.both).toContain("Error response from daemon: network nosuch not found");
    expect(await lab.column("nn", "Status")).toBe("Created");
  });
  refusals(["as is its start", 404, "network nosuch not found", () => lab.api("POST", "/containers/nn/start")]);
});

describe("two networks of one name, without CheckDuplicate", () => {
  const both: string[] = [];
  it("are both made", async () => {
    for (let n = 0; n < 2; n++) {
      const answer = await lab.api("POST", "/networks/create", { Name: "dup" });
      expect(answer.status).toBe(201);
      both.push((answer.json as { Id: string }).Id);
    }
  });
  refusals([
    "then the name says too little",
    400,
    "network dup is ambiguous (2 matches found based on name)",
    () => lab.api("DELETE", "/networks/dup"),
  ]);
  it("the ids do", async () => {
    for (const each of both) expect((await lab.api("DELETE", `/networks/${each}`)).status).toBe(204);
  });
});

describe("filters of network ls", () => {
  const names = async (value: object) =>
    ((await lab.api("GET", filters(value))).json as { Name: string }[]).map((each) => each.Name).sort();
  checks(
    ["driver", () => names({ driver: ["bridge"] }), ["bridge", "iso", "my-bridge", "named"]],
    ["type and name", () => names({ type: ["custom"], name: ["iso"] }), ["iso"]],
    ["in the form of newer clients", () => names({ driver: { host: true } }), ["host"]],
    ["by the CLI", () => lab.out("network", "ls", "-f", "type=custom", "-f", "name=iso", "--format", "{{.Name}}"), "iso"],
  );
});

describe("removal", () => {
  it("is allowed under a container that never started, which then cannot", async () => {
    await lab.out("network", "create", "gone");
    await lab.out("create", "--name", "g1", "--network", "gone", "busybox", "sleep", "9");
    expect(await lab.out("network", "rm", "gone")).toBe("gone");
    expect((await lab.docker("start", "g1")).both).toMatch(/network .* not found/);
  });
  it("takes the device away", async () => {
    const device = `br-${(await lab.out("network", "create", "short")).slice(0, 12)}`;
    expect((await lab.host.run("ip", ["link", "show", device])).code).toBe(0);
    expect(await lab.out("network", "rm", "short")).toBe("short");
    expect((await lab.host.run("ip", ["link", "show", device])).code).toBe(1);
  });
});
