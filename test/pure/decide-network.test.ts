import { describe, expect, it } from "vitest";
import {
  applyChanges,
  decidePools,
  filterNetworks,
  LOCAL_ADDRESS_POOLS,
  listNetworks,
  pruneSelection,
  removeNetwork,
  resolveNetwork,
} from "../../src/model/index.js";
import { hexId, must, refused, World } from "./world.js";

describe("default networks", () => {
  it("are Docker's", () => {
    const w = new World();
    expect(listNetworks(w.state).map((n) => `${n.name} ${n.driver} ${n.scope}`)).toEqual([
      "bridge bridge local",
      "host host local",
      "none null local",
    ]);
    const bridge = w.byName("bridge");
    expect(bridge.pools).toEqual([{ family: 4, subnet: "172.17.0.0/16", gateway: "172.17.0.1", aux: {}, userSubnet: false }]);
    expect(bridge.options).toEqual({
      "com.docker.network.bridge.default_bridge": "true",
      "com.docker.network.bridge.enable_icc": "true",
      "com.docker.network.bridge.enable_ip_masquerade": "true",
      "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
      "com.docker.network.bridge.name": "docker0",
      "com.docker.network.driver.mtu": "1500",
    });
  });

  it("keep clear of the host's routes", () => {
    expect(new World(["172.17.0.0/16"]).byName("bridge").pools[0]!.subnet).toBe("172.18.0.0/16");
    expect(new World(["172.16.0.0/12"]).byName("bridge").pools[0]!.subnet).toBe("192.168.0.0/20");
    expect(new World(["172.16.0.0/12", "192.168.0.0/18", "192.168.80.5/32"]).byName("bridge").pools[0]!.subnet).toBe(
      "192.168.64.0/20",
    );
  });
});

describe("creating a network", () => {
  it("takes the next pool and names the device after the id", () => {
    const w = new World();
    const n = w.network({ Name: "my-bridge" });
    expect(n.pools[0]).toMatchObject({ subnet: "172.18.0.0/16", gateway: "172.18.0.1" });
    expect(n.bridgeName).toBe(`br-${n.id.slice(0, 12)}`);
    expect(w.network({ Name: "b" }).pools[0]!.subnet).toBe("172.19.0.0/16");
    applyChanges(w.state, must(removeNetwork(w.state, n)).changes);
    expect(w.network({ Name: "c" }).pools[0]!.subnet).toBe("172.18.0.0/16");
  });

  it("does not end after 31 networks", () => {
    const w = new World();
    const subnets = Array.from({ length: 300 }, (_, i) => w.network({ Name: `n${i}` }).pools[0]!.subnet);
    expect(new Set(subnets).size).toBe(300);
    expect(subnets[13]).toBe("172.31.0.0/16");
    expect(subnets[14]).toBe("192.168.0.0/20");
    // 192.168.192.0/20 holds the host's own network.
    expect(subnets).not.toContain("192.168.192.0/20");
    expect(subnets[29]).toBe("10.192.0.0/24");
  });

  it("takes the daemon's address pools", () => {
    const pools = must(
      decidePools({
        config: [],
        enableIPv4: true,
        enableIPv6: true,
        multipleSubnets: false,
        addressPools: [
          { base: "10.5.0.0/16", size: 26 },
          { base: "fd00:5::/48", size: 64 },
        ],
        usedSubnets: ["10.5.0.0/26"],
        avoid: [],
      }),
    );
    expect(pools.map((p) => `${p.subnet} ${p.gateway}`)).toEqual(["10.5.0.64/26 10.5.0.65", "fd00:5::/64 fd00:5::1"]);
  });

  it("takes what the user says", () => {
    const w = new World();
    const n = w.network({
      Name: "opt",
      IPAM: {
        Config: [
          { Subnet: "10.99.0.0/24", Gateway: "10.99.0.254", IPRange: "10.99.0.128/25", AuxiliaryAddresses: { x: "10.99.0.129" } },
        ],
      },
      Options: { "com.docker.network.bridge.name": "slbr0", "com.docker.network.driver.mtu": "1400" },
      Labels: { a: "b" },
    });
    expect(n.pools).toEqual([
      {
        family: 4,
        subnet: "10.99.0.0/24",
        gateway: "10.99.0.254",
        ipRange: "10.99.0.128/25",
        aux: { x: "10.99.0.129" },
        userSubnet: true,
      },
    ]);
    expect(n.bridgeName).toBe("slbr0");
    const six = w.network({ Name: "six", EnableIPv6: true, IPAM: { Config: [{ Subnet: "fd00:99::/64" }] } });
    expect(six.pools.map((p) => `${p.subnet} ${p.gateway}`)).toEqual(["172.18.0.0/16 172.18.0.1", "fd00:99::/64 fd00:99::1"]);
    const only6 = w.network({
      Name: "only6",
      EnableIPv4: false,
      EnableIPv6: true,
      IPAM: { Config: [{ Subnet: "fd00:98::/64" }] },
    });
    expect(only6.pools.map((p) => p.family)).toEqual([6]);
  });

  const errors: readonly (readonly [string, Parameters<World["tryNetwork"]>[0], string | RegExp])[] = [
    ["duplicate", { Name: "my-bridge", CheckDuplicate: true }, "409 network with name my-bridge already exists"],
    [
      "bad subnet",
      { Name: "x", IPAM: { Config: [{ Subnet: "bogus" }] } },
      "500 Invalid subnet bogus : invalid CIDR address: bogus",
    ],
    [
      "overlap",
      { Name: "x", IPAM: { Config: [{ Subnet: "172.18.5.0/24" }] } },
      "403 Pool overlaps with other one on this address space",
    ],
    [
      "gateway outside",
      { Name: "x", IPAM: { Config: [{ Subnet: "10.9.0.0/24", Gateway: "10.8.0.1" }] } },
      "500 failed to allocate gateway (10.8.0.1): Requested address is out of range",
    ],
    [
      "bad gateway",
      { Name: "x", IPAM: { Config: [{ Subnet: "10.9.0.0/24", Gateway: "zzz" }] } },
      "500 invalid gateway address zzz in Ipam configuration",
    ],
    [
      "gateway without subnet",
      { Name: "x", IPAM: { Config: [{ Gateway: "10.9.0.1" }] } },
      "500 Invalid subnet  : invalid CIDR address: ",
    ],
    [
      "two subnets",
      { Name: "x", IPAM: { Config: [{ Subnet: "10.9.0.0/24" }, { Subnet: "10.10.0.0/24" }] } },
      "403 bridge driver doesn't support multiple subnets",
    ],
    ["unknown driver", { Name: "x", Driver: "nosuch" }, '404 plugin "nosuch" not found'],
    ["unknown ipam", { Name: "x", IPAM: { Driver: "nosuch" } }, '404 plugin "nosuch" not found'],
    [
      "overlay without store",
      { Name: "x", Driver: "overlay" },
      '500 This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
    ],
    ["predefined", { Name: "bridge" }, "403 operation is not permitted on predefined bridge network "],
    ["second host", { Name: "h2", Driver: "host" }, '403 only one instance of "host" network is allowed'],
    ["second null", { Name: "n2", Driver: "null" }, '403 only one instance of "null" network is allowed'],
    ["empty name", { Name: "" }, "500 invalid name: "],
    [
      "long bridge name",
      { Name: "x", Options: { "com.docker.network.bridge.name": "waytoolongbridgename" } },
      "500 failed to check bridge interface existence: numerical result out of range",
    ],
    [
      "bad mtu",
      { Name: "x", Options: { "com.docker.network.driver.mtu": "abc" } },
      '500 failed to parse com.docker.network.driver.mtu value: abc (strconv.Atoi: parsing "abc": invalid syntax)',
    ],
    [
      "IPv6 without a pool",
      { Name: "x", EnableIPv6: true },
      "404 could not find an available, non-overlapping IPv6 address pool among the defaults to assign to the network",
    ],
    [
      "bridge name taken",
      { Name: "x", Options: { "com.docker.network.bridge.name": "slbr0" } },
      /^403 cannot create network [0-9a-f]{64} \(slbr0\): conflicts with network [0-9a-f]{64} \(slbr0\): networks have same bridge name$/,
    ],
    [
      "bridge name of a foreign link",
      { Name: "x", Options: { "com.docker.network.bridge.name": "eth0" } },
      /^403 .*not managed by this engine$/,
    ],
    [
      "bridge name with a space",
      { Name: "x", Options: { "com.docker.network.bridge.name": "a b" } },
      "400 invalid bridge name: a b",
    ],
    [
      "isolated mode without internal",
      { Name: "x", Options: { "com.docker.network.bridge.gateway_mode_ipv4": "isolated" } },
      /^400 gateway mode 'isolated'/,
    ],
  ];
  for (const [name, request, text] of errors)
    it(`refuses: ${name}`, () => {
      const w = new World();
      w.network({ Name: "my-bridge" });
      w.network({ Name: "opt", Options: { "com.docker.network.bridge.name": "slbr0" } });
      const before = w.state.networks.size;
      if (typeof text === "string") expect(refused(w.tryNetwork(request))).toBe(text);
      else expect(refused(w.tryNetwork(request))).toMatch(text);
      expect(w.state.networks.size).toBe(before);
    });

  it("allows what Docker allows: a subnet of the host's, a second network of one name", () => {
    const w = new World();
    expect(w.network({ Name: "xh", IPAM: { Config: [{ Subnet: "192.168.205.0/24" }] } }).pools[0]!.gateway).toBe("192.168.205.1");
    w.network({ Name: "dup" });
    w.network({ Name: "dup" });
    expect(refused(resolveNetwork(w.state, "dup"))).toBe("400 network dup is ambiguous (2 matches found based on name)");
  });
});

describe("removing a network", () => {
  it("refuses predefined ones and those in use", () => {
    const w = new World();
    const n = w.network({ Name: "my-bridge" });
    expect(refused(removeNetwork(w.state, w.byName("bridge")))).toBe("403 bridge is a pre-defined network and cannot be removed");
    w.run("c1", n);
    expect(refused(removeNetwork(w.state, n))).toBe(
      `403 error while removing network: network my-bridge id ${n.id} has active endpoints`,
    );
  });
});

describe("finding networks", () => {
  it("by id, name and prefix", () => {
    const w = new World();
    const bridge = w.byName("bridge");
    for (const ref of [bridge.id, "bridge", bridge.id.slice(0, 12), bridge.id.slice(0, 5)])
      expect(must(resolveNetwork(w.state, ref)).id).toBe(bridge.id);
    expect(refused(resolveNetwork(w.state, "nosuch"))).toBe("404 network nosuch not found");
    expect(refused(resolveNetwork(w.state, ""))).toBe("404 network  not found");
  });

  it("by filters", () => {
    const w = new World();
    const iso = w.network({ Name: "iso", Labels: { a: "b", c: "" } });
    w.network({ Name: "other" });
    w.run("c", iso);
    const names = (filters: Record<string, string[]>) => must(filterNetworks(w.state, filters)).map((n) => n.name);
    expect(names({})).toEqual(["bridge", "host", "iso", "none", "other"]);
    expect(names({ driver: ["bridge"] })).toEqual(["bridge", "iso", "other"]);
    expect(names({ type: ["custom"], name: ["iso"] })).toEqual(["iso"]);
    expect(names({ name: ["^bridge$"] })).toEqual(["bridge"]);
    expect(names({ name: ["o"] })).toEqual(["host", "iso", "none", "other"]);
    expect(names({ label: ["a=b"] })).toEqual(["iso"]);
    expect(names({ label: ["a=b", "d"] })).toEqual([]);
    expect(names({ dangling: ["true"] })).toEqual(["other"]);
    expect(names({ scope: ["global"] })).toEqual([]);
    expect(names({ id: [iso.id.slice(0, 6)] })).toEqual(["iso"]);
    expect(refused(filterNetworks(w.state, { nosuch: ["x"] }))).toBe("400 Invalid filter 'nosuch'");
    expect(refused(filterNetworks(w.state, { dangling: ["maybe"] }))).toMatch(/^400 /);
  });

  it("for pruning", () => {
    const w = new World();
    const used = w.network({ Name: "used" });
    w.network({ Name: "p1", Labels: { keep: "" } });
    w.network({ Name: "p2" });
    w.run("c", used);
    const now = Date.parse("2026-11-22T00:00:00Z");
    const names = (filters: Record<string, string[]>) => must(pruneSelection(w.state, filters, now)).map((n) => n.name);
    expect(names({})).toEqual(["p1", "p2"]);
    expect(names({ "label!": ["keep"] })).toEqual(["p2"]);
    expect(names({ until: ["1h"] })).toEqual(["p1", "p2"]);
    expect(names({ until: ["48h"] })).toEqual([]);
    expect(names({ until: ["2026-11-21T00:00:00Z"] })).toEqual([]);
    expect(refused(pruneSelection(w.state, { until: ["soon"] }, now))).toMatch(/^400 /);
    expect(refused(pruneSelection(w.state, { x: [] }, now))).toBe("400 Invalid filter 'x'");
  });
});

it("ids of the tests are unique", () => {
  expect(new Set(Array.from({ length: 5000 }, (_, i) => hexId(i).slice(0, 12))).size).toBe(5000);
  expect(LOCAL_ADDRESS_POOLS.length).toBe(17);
});
