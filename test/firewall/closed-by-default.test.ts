import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { firewallEndpointObjects, firewallHostObjects, firewallNetworkObjects } from "../../src/drivers/firewall.js";
import { EngineSide } from "./engine-side.js";
import { type Box, bridgeNetwork, HOST4, HOST6, Lab } from "./lab.js";
import {
  CONTAINER_PORTS,
  destination,
  expected,
  mappings,
  matrixTable,
  PROTOCOLS,
  PUBLISHED,
  SOURCES,
  type Source,
  waysOf,
} from "./matrix.js";

const lab = new Lab("m");
const netA = bridgeNetwork("a", "lsta", 17);
const netB = bridgeNetwork("b", "lstb", 18);
const results = new Map<string, string | null>();
const keyOf = (...parts: readonly (string | number)[]) => parts.join("|");
let web: Box;
let forger: string;
let engine: EngineSide;

beforeAll(async () => {
  lab.addHost();
  lab.addBridge(netA);
  lab.addBridge(netB);
  web = lab.addContainer(netA, "web", 2, { ports: mappings() });
  const same = lab.addContainer(netA, "same", 3);
  const other = lab.addContainer(netB, "other", 2);
  lab.load([
    ...firewallHostObjects({}),
    ...[netA, netB].flatMap((n) => firewallNetworkObjects(n, {})),
    ...firewallEndpointObjects(netA, web.endpoint, {}),
    ...firewallEndpointObjects(netA, same.endpoint, {}),
    ...firewallEndpointObjects(netB, other.endpoint, {}),
  ]);
  // The worst host that can be: accepts loopback addresses from its LAN, and no reverse path filter.
  lab.exec(lab.host, "sysctl", "-qw", "net.ipv4.conf.eth0.route_localnet=1", "net.ipv4.conf.all.rp_filter=0");
  await lab.start(web.ns, "python3", "test/firewall/server.py", "web", ...CONTAINER_PORTS.map(String));

  engine = await EngineSide.start(lab.host);
  const { ports: published, ipv4, ipv6 } = web.endpoint;
  const reserved = await engine.ask({
    op: "reserve",
    id: "1".repeat(64),
    name: "web",
    mappings: published,
    target: { ipv4, ipv6 },
  });
  expect(reserved).toMatchObject({ value: null });

  probe("same network", same.ns);
  probe("other network", other.ns);
  probe("host", lab.host);
  probe("outside", lab.outside);
  lab.exec(lab.outside, "ip", "route", "add", "172.16.0.0/12", "via", HOST4);
  lab.exec(lab.outside, "ip", "-6", "route", "add", "fd00:17::/64", "via", HOST6);
  probe("outside, routed", lab.outside);
  forger = lab.outside;
  lab.exec(forger, "ip", "addr", "del", "127.0.0.1/8", "dev", "lo");
  lab.exec(forger, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1");
  lab.exec(forger, "ip", "route", "add", "127.0.0.0/8", "via", HOST4);
  probe("outside, forging 127.0.0.0/8", forger);
});
afterAll(async () => {
  await engine?.stop();
  lab.close();
});

function probe(source: Source, ns: string): void {
  const targets: [string, string, number, number][] = [];
  const keys: string[] = [];
  for (const way of waysOf(source))
    for (const published of PUBLISHED)
      for (const [proto, family] of PROTOCOLS) {
        const want = expected(source, published, way, family);
        if (want === undefined) continue;
        // What should be open may be slow on a busy machine; what should be closed does not become so by waiting.
        targets.push([proto, ...destination(way, published, family, web.endpoint), want ? 5 : 0.7]);
        keys.push(keyOf(source, published, way, proto, family));
      }
  const answers = JSON.parse(lab.exec(ns, "python3", "test/firewall/probe.py", JSON.stringify(targets))) as (string | null)[];
  for (const [i, answer] of answers.entries()) results.set(keys[i]!, answer);
}

describe("closed by default", () => {
  for (const source of SOURCES)
    it(`from ${source}`, () => {
      const wrong: string[] = [];
      for (const way of waysOf(source))
        for (const published of PUBLISHED)
          for (const [proto, family] of PROTOCOLS) {
            const want = expected(source, published, way, family);
            if (want === undefined) continue;
            const answer = results.get(keyOf(source, published, way, proto, family)) ?? null;
            if ((answer !== null) !== want)
              wrong.push(`${published}, ${way}, ${proto}${family}: got ${answer}, want ${want ? "open" : "closed"}`);
          }
      expect(wrong).toEqual([]);
    });

  it("keeps the client's address wherever the container's answer comes back by the host", () => {
    const seen = (source: Source, way: Parameters<typeof destination>[0], family: 4 | 6) =>
      results.get(keyOf(source, "on all", way, "tcp", family));
    expect(seen("outside", "host's address", 4)).toBe("web 192.168.205.99");
    expect(seen("outside", "host's address", 6)).toBe("web fd00:205::99");
    expect(seen("host", "host's address", 4)).toBe("web 192.168.205.10");
    expect(seen("other network", "host's address", 4)).toBe("web 172.18.0.2");
    expect(seen("other network", "host's address", 6)).toBe("web fd00:18::2");
    expect(seen("host", "localhost", 4)).toBe("web 172.17.0.1");
    expect(seen("host", "localhost", 6)).toBe("web fd00:17::1");
    expect(seen("same network", "host's address", 4)).toBe("web 172.17.0.1");
    expect(seen("same network", "host's address", 6)).toBe("web fd00:17::1");
  });

  it("is not closed for another reason: without the raw rules the forger gets in", () => {
    lab.nft("flush chain inet linkspan raw\n");
    const target = JSON.stringify([["udp", ...destination("localhost", "on 127.0.0.1", 4, web.endpoint)]]);
    expect(JSON.parse(lab.exec(forger, "python3", "test/firewall/probe.py", target))).toEqual(["web 192.168.205.99"]);
  });

  it("is what docs/firewall.md shows", () => {
    const table = matrixTable((source, published, way, proto, family) =>
      expected(source, published, way, family) === undefined
        ? undefined
        : (results.get(keyOf(source, published, way, proto, family)) ?? null) !== null,
    );
    console.log(table);
    const path = "docs/firewall.md";
    const text = readFileSync(path, "utf8");
    const [begin, end] = ["<!-- matrix: written by test/firewall, UPDATE=1 -->", "<!-- end of matrix -->"];
    const fresh = `${text.slice(0, text.indexOf(begin) + begin.length)}\n${table}\n${text.slice(text.indexOf(end))}`;
    if (process.env.UPDATE === "1") writeFileSync(path, fresh);
    else expect(text).toBe(fresh);
  });
});
