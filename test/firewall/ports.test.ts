import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { allocatePorts, eachPort, type PortBindings, type PortRequest, portRequests, TakenPorts } from "../../src/model/ports.js";

const requests = (bindings: PortBindings, more: Partial<Parameters<typeof portRequests>[0]> = {}) =>
  portRequests({ exposed: [], bindings, publishAll: false, ipv6: true, ...more });
const values = (bindings: PortBindings, more: Partial<Parameters<typeof portRequests>[0]> = {}): readonly PortRequest[] => {
  const result = requests(bindings, more);
  if (!result.ok) throw new Error(result.error.message);
  return result.value;
};
const allocate = (wanted: readonly PortRequest[], taken = new TakenPorts(), dynamicStart = 0) => {
  const result = allocatePorts(wanted, taken, { dynamicStart });
  if (!result.ok) return result.error.message;
  return result.value.flatMap((m) => [...eachPort(m)]).map((m) => `${m.hostIp} ${m.hostPort} ${m.containerPort}/${m.proto}`);
};

describe("port bindings", () => {
  it.each([
    ["", "80", ["0.0.0.0", "::"], 80, 80],
    ["0.0.0.0", "80", ["0.0.0.0"], 80, 80],
    ["::", "80", ["::"], 80, 80],
    ["[::]", "80", ["::"], 80, 80],
    ["[::1]", "80", ["::1"], 80, 80],
    ["::ffff:192.0.2.1", "80", ["192.0.2.1"], 80, 80],
    ["127.0.0.1", "8000-8002", ["127.0.0.1"], 8000, 8002],
    ["", "", ["0.0.0.0", "::"], 0, 0],
    ["", "0", ["0.0.0.0", "::"], 0, 0],
    ["", "80/tcp", ["0.0.0.0", "::"], 80, 80],
  ])("%j %j", (HostIp, HostPort, hostIps, first, last) => {
    expect(values({ "80/tcp": [{ HostIp, HostPort }] })).toEqual([{ proto: "tcp", containerPort: 80, hostIps, first, last }]);
  });

  it("take every protocol, in any case, and tcp where there is none", () => {
    const b = [{ HostIp: "127.0.0.1", HostPort: "1" }];
    expect(values({ "80/UDP": b, "81/sctp": b, "82": b }).map((r) => `${r.containerPort}/${r.proto}`)).toEqual([
      "80/udp",
      "81/sctp",
      "82/tcp",
    ]);
  });

  it.each([
    [{ "80/tcp": [{ HostIp: "", HostPort: "99999" }] }, 'invalid port specification: "99999"'],
    [{ "80/tcp": [{ HostIp: "", HostPort: "-1" }] }, 'invalid port specification: "-1"'],
    [{ "80/tcp": [{ HostIp: "", HostPort: "90-80" }] }, 'invalid port specification: "90-80"'],
    [{ "80/tcp": [{ HostIp: "", HostPort: "80-" }] }, 'invalid port specification: "80-"'],
    [{ "99999/tcp": [] }, 'invalid port specification: "99999"'],
    [{ "80-81/tcp": [] }, 'invalid port specification: "80-81"'],
    [{ "x/tcp": null }, 'invalid port specification: "x"'],
    [{ "80/icmp": [] }, "invalid proto: icmp"],
    [{ "80/tcp": [{ HostIp: "1.2.3", HostPort: "1" }] }, "invalid IP address: 1.2.3"],
    [{ "80/tcp": [{ HostIp: "", HostPort: "1", Allow: ["10.0.0.0/33"] }] }, "invalid source prefix: 10.0.0.0/33"],
  ] as [PortBindings, string][])("refuse %j", (bindings, message) => {
    const result = requests(bindings);
    expect(result).toMatchObject({ ok: false, error: { status: 400, message } });
  });

  it("-P publishes what is exposed and not bound; the network's default address and a host without IPv6 are heeded", () => {
    const bindings = { "80/tcp": [{ HostIp: "", HostPort: "80" }] };
    const exposed = ["80/tcp", "443/tcp", "53/udp"];
    expect(values(bindings, { exposed, publishAll: true, defaultHostIp: "10.0.0.1" })).toMatchObject([
      { containerPort: 80, hostIps: ["10.0.0.1"], first: 80 },
      { containerPort: 53, first: 0 },
      { containerPort: 443, first: 0 },
    ]);
    expect(values(bindings, { exposed, ipv6: false })).toMatchObject([{ hostIps: ["0.0.0.0"] }]);
    expect(values({ "80/tcp": null }, { exposed: ["80/tcp"] })).toEqual([]);
  });

  it("allow-lists are made canonical", () => {
    const bindings = { "80/tcp": [{ HostIp: "", HostPort: "80", Allow: ["10.1.2.3/8", "192.0.2.7", "FD00::1/16", "::1"] }] };
    expect(values(bindings)[0]!.allow).toEqual(["10.0.0.0/8", "192.0.2.7/32", "fd00::/16", "::1/128"]);
  });
});

describe("host ports", () => {
  it("fixed ones conflict only where the address and protocol are the same", () => {
    const taken = new TakenPorts();
    const web = values({ "80/tcp": [{ HostIp: "", HostPort: "80" }] });
    expect(allocate(web, taken)).toEqual(["0.0.0.0 80 80/tcp", ":: 80 80/tcp"]);
    expect(allocate(web, taken)).toBe("Bind for 0.0.0.0:80 failed: port is already allocated");
    expect(allocate(values({ "80/udp": [{ HostIp: "", HostPort: "80" }] }), taken)).toHaveLength(2);
    expect(allocate(values({ "80/tcp": [{ HostIp: "::", HostPort: "80" }] }), taken)).toBe(
      "Bind for :::80 failed: port is already allocated",
    );
    expect(allocate(values({ "80/tcp": [{ HostIp: "10.0.0.1", HostPort: "80" }] }), taken)).toEqual(["10.0.0.1 80 80/tcp"]);
  });

  it("a range gives the first free one, then Docker's error", () => {
    const taken = new TakenPorts();
    const range = values({ "80/tcp": [{ HostIp: "", HostPort: "8000-8002" }] });
    for (const port of [8000, 8001, 8002]) expect(allocate(range, taken)).toContain(`0.0.0.0 ${port} 80/tcp`);
    expect(allocate(range, taken)).toBe("Bind for 0.0.0.0:8002 failed: port is already allocated");
    taken.delete("tcp", "0.0.0.0", 8001);
    taken.delete("tcp", "::", 8001);
    expect(allocate(range, taken)).toContain("0.0.0.0 8001 80/tcp");
  });

  it("random ones are in 32768–60999, the same in both families, upwards and around", () => {
    const any = values({ "80/tcp": [{ HostIp: "", HostPort: "" }], "81/tcp": [{ HostIp: "", HostPort: "" }] });
    expect(allocate(any, new TakenPorts(), 28231)).toEqual([
      "0.0.0.0 60999 80/tcp",
      ":: 60999 80/tcp",
      "0.0.0.0 32768 81/tcp",
      ":: 32768 81/tcp",
    ]);
    fc.assert(
      fc.property(fc.integer(), fc.array(fc.nat(28231)), (start, used) => {
        const taken = new TakenPorts();
        for (const port of used) taken.add("tcp", "::", 32768 + port);
        const result = allocatePorts(any, taken, { dynamicStart: start });
        const ports = result.ok ? result.value.flatMap((m) => [...eachPort(m)]) : [];
        expect(new Set(ports.map((m) => m.hostPort)).size).toBe(2);
        for (const m of ports) {
          expect(m.hostPort).toBeGreaterThanOrEqual(32768);
          expect(m.hostPort).toBeLessThanOrEqual(60999);
          expect(used).not.toContain(m.hostPort - 32768);
        }
      }),
      { numRuns: 200 },
    );
  });

  it("a refusal leaves nothing taken, and a fixed port goes before a random one", () => {
    const taken = new TakenPorts();
    taken.add("tcp", "::", 81);
    const both = values({
      "80/tcp": [
        { HostIp: "", HostPort: "" },
        { HostIp: "", HostPort: "32768" },
      ],
      "81/tcp": [{ HostIp: "", HostPort: "81" }],
    });
    expect(allocate(both, taken)).toBe("Bind for :::81 failed: port is already allocated");
    taken.delete("tcp", "::", 81);
    expect(allocate(both, taken)).toEqual([
      "0.0.0.0 32768 80/tcp",
      ":: 32768 80/tcp",
      "0.0.0.0 81 81/tcp",
      ":: 81 81/tcp",
      "0.0.0.0 32769 80/tcp",
      ":: 32769 80/tcp",
    ]);
  });

  it("one more costs the same whether none or ten thousand are there", () => {
    const many: PortBindings = Object.fromEntries(
      Array.from({ length: 10_000 }, (_, i) => [`${i + 1}/tcp`, [{ HostIp: "", HostPort: String(i + 20_000) }]]),
    );
    const full = new TakenPorts();
    expect(allocate(values(many), full)).toHaveLength(20_000);
    expect(allocatePorts(values(many), new TakenPorts(), { dynamicStart: 0 })).toEqual({
      ok: true,
      value: ["0.0.0.0", "::"].map((hostIp) => ({ proto: "tcp", containerPort: 1, hostIp, hostPort: 20_000, count: 10_000 })),
    });
    const wanted = values({ "80/tcp": [{ HostIp: "", HostPort: "80" }] });
    const cost = (taken: TakenPorts): number => {
      const before = performance.now();
      for (let i = 0; i < 500; i++) {
        expect(allocatePorts(wanted, taken, { dynamicStart: 0 }).ok).toBe(true);
        for (const ip of ["0.0.0.0", "::"]) taken.delete("tcp", ip, 80);
      }
      return performance.now() - before;
    };
    const best = (taken: TakenPorts) => Math.min(...Array.from({ length: 5 }, () => cost(taken)));
    best(new TakenPorts());
    expect(best(full)).toBeLessThan(4 * best(new TakenPorts()) + 1);
  });
});
