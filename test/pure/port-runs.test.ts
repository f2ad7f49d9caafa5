import fc from "fast-check";
import { expect, test } from "vitest";
import type { Container } from "../../src/model/index.js";
import { allocatePorts, eachPort, portRequests, TakenPorts } from "../../src/model/ports.js";
import { elementsOf, mergeRuns, type NftElement, objectKey } from "../../src/plan/objects.js";
import { packPorts, unpackPorts } from "../../src/store/port-runs.js";

const element = (proto: "tcp" | "udp", host: number, to: number): NftElement => ({
  kind: "nftElement",
  ns: "",
  family: "inet",
  table: "linkspan",
  set: "ports4",
  key: [
    { type: "inet_proto", value: proto },
    { type: "inet_service", value: host },
  ],
  data: [
    { type: "ipv4_addr", value: "172.17.0.2" },
    { type: "inet_service", value: to },
  ],
});
const someElements = fc
  .uniqueArray(fc.tuple(fc.constantFrom("tcp" as const, "udp" as const), fc.nat(40)), { selector: (x) => x.join() })
  .chain((keys) => fc.tuple(fc.constant(keys), fc.array(fc.nat(3), { minLength: keys.length, maxLength: keys.length })))
  .map(([keys, jumps]) => keys.map(([proto, host], i) => element(proto, 8000 + host, 80 + host + (jumps[i] === 0 ? 5 : 0))));
const texts = (elements: readonly NftElement[]) => elements.map((e) => JSON.stringify(e)).sort();

test("runs hold the same elements, as few as can be, whatever the order in which they come", () => {
  fc.assert(
    fc.property(someElements, fc.infiniteStream(fc.nat()), (elements, random) => {
      const runs = mergeRuns(elements);
      expect(texts(runs.flatMap(elementsOf))).toEqual(texts(elements));
      const shuffled = elements.map((e) => [random.next().value, e] as const).sort((a, b) => a[0] - b[0]);
      expect(texts(mergeRuns(shuffled.map(([, e]) => e)))).toEqual(texts(runs));
      expect(texts(mergeRuns(runs))).toEqual(texts(runs));
      expect(new Set(runs.map(objectKey)).size).toBe(runs.length);
    }),
  );
});

test("ports are allocated as runs that say what was asked for", () => {
  const ask = fc.uniqueArray(fc.record({ port: fc.nat(60), host: fc.nat(2), fixed: fc.boolean() }), { selector: (x) => x.port });
  fc.assert(
    fc.property(ask, (list) => {
      const bindings = Object.fromEntries(
        list.map((x) => [`${x.port}/tcp`, [{ HostIp: "", HostPort: x.fixed ? String(5000 + x.port * 3 + x.host) : "" }]]),
      );
      const requests = portRequests({ exposed: [], bindings, publishAll: false, ipv6: true });
      const taken = new TakenPorts();
      const result = requests.ok ? allocatePorts(requests.value, taken, { dynamicStart: 0 }) : requests;
      if (!result.ok) throw new Error(result.error.message);
      const ports = result.value.flatMap((m) => [...eachPort(m)]);
      expect(ports).toHaveLength(list.length * 2);
      expect(new Set(ports.map((p) => p.containerPort))).toEqual(new Set(list.map((x) => x.port)));
      for (const p of ports) expect(taken.has("tcp", p.hostIp, p.hostPort)).toBe(true);
      taken.forget(result.value);
      for (const p of ports) expect(taken.has("tcp", p.hostIp, p.hostPort)).toBe(false);
    }),
  );
});

test("the store keeps ten thousand ports in a line, and gives back what it got, in order", () => {
  const ExposedPorts = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`${i + 1000}/tcp`, {}]));
  const PortBindings = Object.fromEntries(
    Array.from({ length: 10_000 }, (_, i) => [
      `${i + 1000}/tcp`,
      [{ HostIp: i < 5000 ? "" : "127.0.0.1", HostPort: String(i + 20_000) }],
    ]),
  );
  const container = { config: { ExposedPorts }, hostConfig: { PortBindings } } as unknown as Container;
  const text = JSON.stringify(packPorts(container));
  expect(text.length).toBeLessThan(300);
  expect(JSON.stringify(unpackPorts(JSON.parse(text)))).toBe(JSON.stringify(container));
  // What a run cannot say stays as it is.
  const odd = { ...PortBindings, "9/tcp": [{ HostIp: "", HostPort: "" }] };
  for (const bindings of [odd, { ...PortBindings, "9/tcp": null }, { "80/tcp": [{ HostIp: "", HostPort: "80" }] }, {}, null]) {
    const other = { config: {}, hostConfig: { PortBindings: bindings } } as unknown as Container;
    expect(unpackPorts(JSON.parse(JSON.stringify(packPorts(other))))).toEqual(other);
  }
});
