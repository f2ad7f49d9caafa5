import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  applyChanges,
  checkConnect,
  checkDisconnect,
  detach,
  type Endpoint,
  endpointOf,
  endpointsOfContainer,
  endpointsOfSandbox,
  inverseOf,
  nextSequence,
  removeSandbox,
  renameEndpoints,
} from "../../src/model/index.js";
import { must, refused, World } from "./world.js";

const leave = (w: World, e: Endpoint) => applyChanges(w.state, detach(w.state, w.endpoint(e.id)).changes);

describe("joining", () => {
  it("gives Docker's addresses, names and MACs", () => {
    const w = new World();
    const bridge = w.byName("bridge");
    const a = w.run("test01", bridge);
    const b = w.run("test02", bridge);
    expect([a.ipv4, a.mac, a.ifname, a.aliases, a.defaultRoute4]).toEqual(["172.17.0.2", "02:42:ac:11:00:02", "eth0", [], true]);
    expect([b.ipv4, b.mac]).toEqual(["172.17.0.3", "02:42:ac:11:00:03"]);
    expect(a.hostIfname).toMatch(/^veth[0-9a-f]{7}$/);
    applyChanges(w.state, removeSandbox(w.state, a.sandboxId).changes);
    expect(w.run("thief", bridge).ipv4).toBe("172.17.0.2");
    expect(w.run("test01", bridge).ipv4).toBe("172.17.0.4");
  });

  it("gives the lowest addresses to those that come at once", () => {
    const w = new World();
    const got = Array.from({ length: 12 }, (_, i) => w.run(`many${i}`, w.byName("bridge")).ipv4);
    expect(got).toEqual(Array.from({ length: 12 }, (_, i) => `172.17.0.${i + 2}`));
  });

  it("keeps range, gateway and auxiliary addresses in mind", () => {
    const w = new World();
    const opt = w.network({
      Name: "opt",
      IPAM: {
        Config: [
          { Subnet: "10.99.0.0/24", Gateway: "10.99.0.254", IPRange: "10.99.0.128/25", AuxiliaryAddresses: { x: "10.99.0.129" } },
        ],
      },
    });
    expect(w.run("o1", opt).ipv4).toBe("10.99.0.128");
    expect(w.run("o2", opt).ipv4).toBe("10.99.0.130");
    expect(w.run("o3", opt, { ipv4: "10.99.0.77" }).ipv4).toBe("10.99.0.77");
    expect(refused(w.tryJoin(w.sandbox("o4").id, [{ network: opt, request: { ipv4: "10.99.0.77" } }]))).toBe(
      "403 Address already in use",
    );
    expect(refused(w.tryJoin(w.sandbox("o4").id, [{ network: opt, request: { ipv4: "10.99.0.254" } }]))).toBe(
      "403 Address already in use",
    );
    expect(refused(w.tryJoin(w.sandbox("o5").id, [{ network: opt, request: { ipv4: "10.98.0.77" } }]))).toBe(
      "500 Invalid address 10.98.0.77: It does not belong to any of this network's subnets",
    );
  });

  it("refuses addresses and aliases where Docker does", () => {
    const w = new World();
    const iso = w.network({ Name: "iso" });
    const at = (network: Parameters<World["run"]>[1], request: Parameters<World["run"]>[2]) =>
      refused(w.tryJoin(w.sandbox("c").id, [{ network, request }]));
    expect(at(w.byName("bridge"), { ipv4: "172.17.0.99" })).toBe(
      "400 user specified IP address is supported on user defined networks only",
    );
    expect(at(iso, { ipv4: "172.18.0.99" })).toBe(
      "400 user specified IP address is supported only when connecting to networks with user configured subnets",
    );
    expect(at(w.byName("bridge"), { aliases: ["z"] })).toBe(
      "400 network-scoped alias is supported only for containers in user defined networks",
    );
    expect(at(iso, { macAddress: "02:11:22:33:44" })).toBe("400 invalid MAC address: 02:11:22:33:44");
    expect(at(iso, { ipv4: "1.2.3" })).toBe("400 invalid IPv4 address: 1.2.3");
    expect(at(iso, { links: ["a:b:c"] })).toBe("500 bad format for links: a:b:c");
  });

  it("gives names on user-defined networks", () => {
    const w = new World();
    const e = w.run("test06", w.network({ Name: "my-bridge" }), {
      aliases: ["web", "w2"],
      links: ["test03:clickhouse", "redis"],
    });
    expect(e.aliases).toEqual(["web", "w2", e.containerId.slice(0, 12)]);
    expect(e.links).toEqual({ clickhouse: "test03", redis: "redis" });
  });

  it("refuses a second endpoint of one name", () => {
    const w = new World();
    const mine = w.network({ Name: "my-bridge" });
    const e = w.run("test02", mine);
    expect(refused(w.tryJoin(e.sandboxId, [{ network: mine }]))).toBe(
      "403 endpoint with name test02 already exists in network my-bridge",
    );
  });

  it("takes a MAC, and makes one where there is no IPv4", () => {
    const w = new World();
    expect(w.run("a", w.byName("bridge"), { macAddress: "02:11:22:33:44:AA" }).mac).toBe("02:11:22:33:44:aa");
    const six = w.network({ Name: "six", EnableIPv4: false, EnableIPv6: true, IPAM: { Config: [{ Subnet: "fd00:98::/64" }] } });
    const e = w.run("b", six);
    expect([e.ipv4, e.ipv6]).toEqual([undefined, "fd00:98::2"]);
    expect(e.mac).toMatch(/^02:42(:[0-9a-f]{2}){4}$/);
    expect([e.defaultRoute4, e.defaultRoute6]).toEqual([false, true]);
  });

  it("joins several networks or none", () => {
    const w = new World();
    const [a, b] = [w.network({ Name: "a" }), w.network({ Name: "b", IPAM: { Config: [{ Subnet: "10.5.0.0/24" }] } })];
    const s = w.sandbox("c");
    const before = w.state.endpoints.size;
    expect(refused(w.tryJoin(s.id, [{ network: a }, { network: b, request: { ipv4: "10.5.0.1" } }]))).toBe(
      "403 Address already in use",
    );
    expect(w.state.endpoints.size).toBe(before);
    const decision = must(w.tryJoin(s.id, [{ network: b }, { network: a }]));
    expect(decision.endpoints.map((e) => [e.ifname, e.networkId === a.id, e.defaultRoute4])).toEqual([
      ["eth0", false, false],
      ["eth1", true, true],
    ]);
    expect(endpointsOfContainer(w.state, s.containerId).map((e) => e.ifname)).toEqual(["eth0", "eth1"]);
    expect(endpointOf(w.state, s.containerId, a.id)?.ifname).toBe("eth1");
    expect(nextSequence(w.state)).toBe(Math.max(...decision.endpoints.map((e) => e.sequence)) + 1);
  });

  it("says when the addresses are used up", () => {
    const w = new World();
    const tiny = w.network({ Name: "tiny", IPAM: { Config: [{ Subnet: "10.7.0.0/30" }] } });
    expect(w.run("a", tiny).ipv4).toBe("10.7.0.2");
    expect(refused(w.tryJoin(w.sandbox("b").id, [{ network: tiny }]))).toMatch(
      /^500 no available IPv4 addresses on this network's address pools: tiny/,
    );
  });

  it("opens another bridge after a thousand ports", () => {
    const w = new World();
    const big = w.network({ Name: "big" });
    for (let i = 0; i < 1000; i++) w.run(`c${i}`, big);
    expect(w.byName("big").segments).toBeUndefined();
    const decision = must(w.tryJoin(w.sandbox("extra").id, [{ network: w.byName("big") }]));
    expect(decision.endpoints[0]!.segment).toBe(1);
    expect(decision.owners).toContain(`network:${big.id}`);
    expect(w.byName("big").segments).toBe(2);
    const first = [...w.state.endpoints.values()].find((e) => e.networkId === big.id)!;
    leave(w, first);
    expect(w.run("again", w.byName("big")).segment).toBeUndefined();
  });
});

describe("the default route", () => {
  it("follows Docker's order, and interfaces are never renumbered", () => {
    const w = new World();
    const bridge = w.byName("bridge");
    const mine = w.network({ Name: "my-bridge" });
    const e0 = w.run("test01", bridge);
    const e1 = w.join(e0.sandboxId, mine);
    expect([w.endpoint(e0.id).defaultRoute4, e1.defaultRoute4, e1.ifname]).toEqual([true, false, "eth1"]);
    const gone = detach(w.state, w.endpoint(e0.id));
    expect(gone.owners).toEqual([`endpoint:${e0.id}`, `endpoint:${e1.id}`]);
    applyChanges(w.state, gone.changes);
    expect(w.endpoint(e1.id).defaultRoute4).toBe(true);
    const e2 = w.join(e0.sandboxId, bridge);
    expect([e2.ifname, e2.defaultRoute4, w.endpoint(e1.id).defaultRoute4]).toEqual(["eth2", true, false]);
  });

  it("prefers priority, then networks that are not internal", () => {
    const w = new World();
    const [inner, z] = [w.network({ Name: "a-inner", Internal: true }), w.network({ Name: "z" })];
    const e0 = w.run("c", inner);
    expect(e0.defaultRoute4).toBe(true);
    const e1 = w.join(e0.sandboxId, z);
    expect([e1.defaultRoute4, w.endpoint(e0.id).defaultRoute4]).toEqual([true, false]);
    const e2 = w.join(e0.sandboxId, w.network({ Name: "zz" }), { gatewayPriority: 5 });
    expect([e2.defaultRoute4, w.endpoint(e1.id).defaultRoute4]).toEqual([true, false]);
  });
});

describe("connect and disconnect rules", () => {
  const w = new World();
  const [bridge, host, none] = [w.byName("bridge"), w.byName("host"), w.byName("none")];
  const shared =
    "400 container sharing network namespace with another container or host cannot be connected to any other network";
  const hostText = "400 container cannot be disconnected from host network or connected to host network";
  const private_ = "400 container cannot be connected to multiple networks with one of the networks in private (none) mode";
  it("are Docker's", () => {
    expect(refused(checkConnect({ networkMode: "host", networks: [host] }, bridge))).toBe(shared);
    expect(refused(checkConnect({ networkMode: "container:abc", networks: [] }, none))).toBe(shared);
    expect(refused(checkConnect({ networkMode: "default", networks: [bridge] }, host))).toBe(hostText);
    expect(refused(checkConnect({ networkMode: "default", networks: [bridge] }, none))).toBe(private_);
    expect(refused(checkConnect({ networkMode: "none", networks: [none] }, bridge))).toBe(private_);
    expect(checkConnect({ networkMode: "default", networks: [bridge] }, w.network({ Name: "n" })).ok).toBe(true);
    expect(refused(checkDisconnect({ networkMode: "host", networks: [host] }, host))).toBe(hostText);
    expect(checkDisconnect({ networkMode: "bridge", networks: [bridge] }, bridge).ok).toBe(true);
  });
});

describe("renaming", () => {
  it("moves the name on all networks", () => {
    const w = new World();
    const e = w.run("old", w.byName("bridge"));
    const decision = must(renameEndpoints(w.state, e.containerId, "new"));
    applyChanges(w.state, decision.changes);
    expect(w.state.index.endpointByName.get(e.networkId)?.get("new")?.id).toBe(e.id);
    expect(w.state.index.endpointByName.get(e.networkId)?.has("old")).toBe(false);
    expect(w.state.index.endpointByAddress.get(e.networkId)?.get("172.17.0.2")?.name).toBe("new");
  });
});

describe("any course of events", () => {
  it("gives no address, MAC or name twice, one default route a sandbox, and indexes that agree with the records", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom("run", "join", "leave", "stop", "undo"), fc.nat(7), fc.nat(3)), { maxLength: 60 }),
        (steps) => {
          const w = new World();
          const networks = [
            w.byName("bridge"),
            w.network({ Name: "a" }),
            w.network({ Name: "b", Internal: true }),
            w.network({ Name: "c", IPAM: { Config: [{ Subnet: "10.3.0.0/29" }] } }),
          ];
          for (const [step, i, j] of steps) {
            const sandboxes = [...w.state.sandboxes.values()];
            const sandbox = sandboxes[i % Math.max(1, sandboxes.length)];
            if (step === "run") w.tryJoin(w.sandbox(`c${w.state.containers.size}`).id, [{ network: networks[j]! }]);
            else if (sandbox === undefined) continue;
            else if (step === "join") w.tryJoin(sandbox.id, [{ network: networks[j]! }]);
            else if (step === "stop") applyChanges(w.state, removeSandbox(w.state, sandbox.id).changes);
            else {
              const endpoint = [...endpointsOfSandbox(w.state, sandbox.id).values()][0];
              if (endpoint === undefined) continue;
              const { changes } = detach(w.state, endpoint);
              const inverse = inverseOf(w.state, changes);
              applyChanges(w.state, changes);
              if (step === "undo") applyChanges(w.state, inverse);
            }
            check(w);
          }
        },
      ),
      { numRuns: 150 },
    );
  });
});

function check(w: World): void {
  const all = [...w.state.endpoints.values()];
  const unique = (values: string[]) => expect(new Set(values).size).toBe(values.length);
  unique(all.map((e) => `${e.networkId} ${e.ipv4}`));
  unique(all.map((e) => `${e.networkId} ${e.mac}`));
  unique(all.map((e) => e.hostIfname));
  unique(all.map((e) => `${e.sandboxId} ${e.ifname}`));
  for (const sandbox of w.state.sandboxes.values()) {
    const mine = all.filter((e) => e.sandboxId === sandbox.id);
    expect(mine.filter((e) => e.defaultRoute4).length).toBe(mine.length > 0 ? 1 : 0);
    expect(endpointsOfSandbox(w.state, sandbox.id).size).toBe(mine.length);
  }
  let indexed = 0;
  for (const inner of w.state.index.endpointsByNetwork.values()) indexed += inner.size;
  expect(indexed).toBe(all.length);
  expect(w.state.index.hostIfnames.size).toBe(all.length);
  for (const e of all) expect(w.state.index.addresses.get(e.networkId)?.some((s) => s.isTaken(e.ipv4 ?? ""))).toBe(true);
}

it("joining costs the same with 1 and with 5,000 endpoints present", () => {
  const w = new World();
  const many = w.network({ Name: "many", IPAM: { Config: [{ Subnet: "10.64.0.0/16" }] } });
  const time = (count: number) => {
    const start = performance.now();
    for (let i = 0; i < count; i++) {
      const e = w.run(`t${w.state.containers.size}`, many);
      applyChanges(w.state, removeSandbox(w.state, e.sandboxId).changes);
    }
    return (performance.now() - start) / count;
  };
  time(300);
  const few = time(300);
  for (let i = 0; i < 5000; i++) w.run(`c${i}`, w.state.networks.get(many.id)!);
  const full = time(300);
  // Generous: the machine is shared. Linear cost would be a factor of hundreds.
  expect(full).toBeLessThan(Math.max(few * 8, 1));
});
