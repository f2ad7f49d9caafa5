import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { firewallEndpointObjects, firewallHostObjects, firewallNetworkObjects } from "../../src/drivers/firewall.js";
import type { Network } from "../../src/model/network.js";
import { icmp6, udp4, udp6 } from "./frames.js";
import { type Box, bridgeNetwork, HOST4, HOST6, Lab, OUT4, OUT6 } from "./lab.js";

const lab = new Lab("u");
const bridge = bridgeNetwork("b", "lstb", 17);
const routed: Network = { ...bridgeNetwork("r", "none", 30), driver: "routed" };
const closed: Network = { ...bridgeNetwork("i", "none", 31, { internal: true }), driver: "routed" };
let [web, peer, inner, inner2, other]: Box[] = [];

type Target = readonly ["tcp" | "udp", string, number];
const ask = (ns: string, ...targets: readonly Target[]): (string | null)[] =>
  JSON.parse(lab.exec(ns, "python3", "test/firewall/probe.py", JSON.stringify(targets))) as (string | null)[];

beforeAll(async () => {
  lab.addHost();
  lab.addBridge(bridge);
  const ports = (["0.0.0.0", "::"] as const).map((hostIp) => ({
    proto: "tcp" as const,
    hostIp,
    hostPort: 8080,
    containerPort: 80,
  }));
  web = lab.addRouted(routed, "web", 2, ports);
  peer = lab.addRouted(routed, "peer", 3);
  inner = lab.addRouted(closed, "inner", 4);
  inner2 = lab.addRouted(closed, "inner2", 5);
  other = lab.addContainer(bridge, "other", 2);
  lab.load([
    ...firewallHostObjects({}),
    ...[bridge, routed, closed].flatMap((n) => firewallNetworkObjects(n, {})),
    ...[web, peer].flatMap((b) => firewallEndpointObjects(routed, b.endpoint, {})),
    ...[inner, inner2].flatMap((b) => firewallEndpointObjects(closed, b.endpoint, {})),
    ...firewallEndpointObjects(bridge, other.endpoint, {}),
  ]);
  for (const box of [web, inner]) await lab.start(box.ns, "python3", "test/firewall/server.py", box.name, "80");
  await lab.start(lab.outside, "python3", "test/firewall/server.py", "out", "80");
  lab.exec(lab.outside, "ip", "route", "add", "172.16.0.0/12", "via", HOST4);
  lab.exec(lab.outside, "ip", "-6", "route", "add", "fd00:30::/64", "via", HOST6);
});
afterAll(() => lab.close());

describe("a routed network", () => {
  it("is open inside, in both families, with addresses kept", () => {
    const { ipv4, ipv6 } = web!.endpoint;
    expect(ask(peer!.ns, ["tcp", ipv4!, 80], ["udp", ipv4!, 80], ["tcp", ipv6!, 80])).toEqual([
      `web ${peer!.endpoint.ipv4}`,
      `web ${peer!.endpoint.ipv4}`,
      `web ${peer!.endpoint.ipv6}`,
    ]);
  });

  it("is closed to other networks and to the outside, and open to the host", () => {
    const targets: Target[] = [
      ["tcp", web!.endpoint.ipv4!, 80],
      ["udp", web!.endpoint.ipv6!, 80],
    ];
    expect(ask(other!.ns, ...targets)).toEqual([null, null]);
    expect(ask(lab.outside, ...targets)).toEqual([null, null]);
    expect(ask(lab.host, ...targets)).not.toContain(null);
  });

  it("publishes ports: outside, host, localhost, another network, itself", () => {
    expect(ask(lab.outside, ["tcp", HOST4, 8080], ["tcp", HOST6, 8080])).toEqual([`web ${OUT4}`, `web ${OUT6}`]);
    expect(ask(lab.host, ["tcp", HOST4, 8080], ["tcp", "127.0.0.1", 8080])).toEqual([
      `web ${HOST4}`,
      expect.stringMatching(/^web /),
    ]);
    expect(ask(other!.ns, ["tcp", HOST4, 8080])).toEqual([`web ${other!.endpoint.ipv4}`]);
    expect(ask(web!.ns, ["tcp", HOST4, 8080])).toEqual([expect.stringMatching(/^web /)]);
    expect(ask(peer!.ns, ["tcp", HOST4, 8080])).toEqual([`web ${peer!.endpoint.ipv4}`]);
  });

  it("masquerades to the outside only", () => {
    expect(ask(peer!.ns, ["tcp", OUT4, 80], ["tcp", OUT6, 80])).toEqual([
      "out 192.168.205.10",
      expect.stringMatching(/^out fd00:205::1[01]$/),
    ]);
  });

  it("--internal: its own and the host, nothing else", () => {
    const { ipv4 } = inner!.endpoint;
    expect(
      ask(inner2!.ns, ["tcp", ipv4!, 80], ["tcp", OUT4, 80], ["tcp", web!.endpoint.ipv4!, 80], ["tcp", HOST4, 8080]),
    ).toEqual([`inner ${inner2!.endpoint.ipv4}`, null, null, null]);
    expect(ask(lab.host, ["tcp", ipv4!, 80])).not.toContain(null);
  });

  it("takes nothing from a container but its own addresses, and no router advertisement", () => {
    const { mac, ipv4, ipv6 } = peer!.endpoint;
    const send = (...frames: string[]) =>
      lab.exec(
        peer!.ns,
        "python3",
        "-c",
        'import socket, sys\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0))\nfor f in sys.argv[1:]: s.send(bytes.fromhex(f))',
        ...frames,
      );
    const dropped = () => {
      const text = lab.exec(lab.host, "nft", "list", "chain", "inet", "linkspan", "veth_source");
      return [...text.matchAll(/counter packets (\d+)/g)].reduce((sum, m) => sum + Number(m[1]), 0);
    };
    const before = dropped();
    send(
      udp4(mac, web!.endpoint.ipv4!, [1, 2], HOST4),
      udp4(mac, "8.8.8.8", [1, 2], HOST4),
      udp6(mac, web!.endpoint.ipv6!, [1, 2]),
      icmp6(mac, "fe80::42:ff:fe01:3", 134),
    );
    expect(dropped() - before).toBe(4);
    send(udp4(mac, ipv4!, [1, 2], HOST4), udp6(mac, ipv6!, [1, 2]));
    expect(dropped() - before).toBe(4);
  });
});
