import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  firewallEndpointObjects,
  firewallHostObjects,
  firewallLinkObjects,
  firewallNetworkObjects,
} from "../../src/drivers/firewall.js";
import type { Network, PortMapping } from "../../src/model/network.js";
import { type Box, bridgeNetwork, HOST4, HOST6, Lab, OUT4, OUT6 } from "./lab.js";

const P = "com.docker.network.bridge.";
const lab = new Lab("p");
const nets = {
  nat: bridgeNetwork("nat", "lst-nat", 17),
  internal: bridgeNetwork("internal", "lst-int", 18, { internal: true }),
  noicc: bridgeNetwork("noicc", "lst-noicc", 19, { options: { [`${P}enable_icc`]: "false" } }),
  nomasq: bridgeNetwork("nomasq", "lst-nomasq", 20, { options: { [`${P}enable_ip_masquerade`]: "false" } }),
  routed: bridgeNetwork("routed", "lst-routed", 21, {
    options: { [`${P}gateway_mode_ipv4`]: "routed", [`${P}gateway_mode_ipv6`]: "routed" },
  }),
  open: bridgeNetwork("open", "lst-open", 22, { options: { [`${P}gateway_mode_ipv4`]: "nat-unprotected" } }),
  fixed: bridgeNetwork("fixed", "lst-fixed", 23, { options: { "com.docker.network.host_ipv4": "192.168.205.11" } }),
};
const boxes = new Map<string, Box>();
const box = (name: string): Box => boxes.get(name)!;

const port = (containerPort: number, hostPort: number, more: Partial<PortMapping> = {}): PortMapping[] =>
  (["0.0.0.0", "::"] as const).flatMap((hostIp) =>
    (["tcp", "udp"] as const).map((proto) => ({ proto, containerPort, hostIp, hostPort, ...more })),
  );

beforeAll(async () => {
  lab.addHost();
  lab.load(firewallHostObjects({}));
  for (const net of Object.values(nets)) {
    lab.addBridge(net);
    lab.load(firewallNetworkObjects(net, {}));
  }
  const add = (net: Network, name: string, last: number, options: Parameters<Lab["addContainer"]>[3] = {}) => {
    const made = lab.addContainer(net, name, last, { isolated: net === nets.noicc, ...options });
    boxes.set(name, made);
    lab.load(firewallEndpointObjects(net, made.endpoint, {}));
  };
  add(nets.nat, "web", 2, {
    ports: [
      ...port(80, 8080),
      ...port(80, 8083, { allow: ["192.168.205.96/29", "fd00:205::/120"] }),
      ...port(80, 8084, { allow: ["10.0.0.0/8", "192.168.205.99", "172.18.0.0/15"] }),
      ...port(80, 8085, { allow: ["10.0.0.0/9", "fd00:206::/33"] }),
      { proto: "tcp", containerPort: 80, hostIp: HOST4, hostPort: 8086, allow: ["192.168.204.0/23"] },
      { proto: "tcp", containerPort: 80, hostIp: HOST4, hostPort: 8087, allow: ["192.168.204.0/24"] },
    ],
  });
  add(nets.nat, "peer", 3);
  add(nets.internal, "int1", 2);
  add(nets.internal, "int2", 3);
  add(nets.noicc, "icc1", 2, { exposedPorts: ["80/tcp"] });
  add(nets.noicc, "icc2", 3);
  add(nets.nomasq, "nomasq1", 2);
  add(nets.routed, "routed1", 2, { ports: port(80, 0) });
  add(nets.open, "open1", 2);
  add(nets.fixed, "fixed1", 2);
  for (const name of ["web", "int2", "icc1", "routed1", "open1"])
    await lab.start(box(name).ns, "python3", "test/firewall/server.py", name, "80", "81");
  await lab.start(lab.outside, "python3", "test/firewall/server.py", "out", "80");
  await lab.start(lab.host, "python3", "test/firewall/server.py", "host", "7000");
  for (const n of [20, 21, 22]) lab.exec(lab.outside, "ip", "route", "add", `172.${n}.0.0/16`, "via", HOST4);
  for (const n of [20, 21, 22]) lab.exec(lab.outside, "ip", "-6", "route", "add", `fd00:${n}::/64`, "via", HOST6);
});
afterAll(() => lab.close());

type Target = readonly ["tcp" | "udp", string, number];

/** Answers, in order; null where there is none. */
function ask(ns: string, ...targets: readonly Target[]): (string | null)[] {
  return JSON.parse(lab.exec(ns, "python3", "test/firewall/probe.py", JSON.stringify(targets))) as (string | null)[];
}
const v4 = (name: string): string => box(name).endpoint.ipv4!;
const v6 = (name: string): string => box(name).endpoint.ipv6!;

describe("a network's options", () => {
  it("nat: leaves with the host's address, in both families", () => {
    expect(ask(box("web").ns, ["tcp", OUT4, 80], ["udp", OUT4, 80], ["tcp", OUT6, 80])).toEqual([
      "out 192.168.205.10",
      "out 192.168.205.10",
      expect.stringMatching(/^out fd00:205::1[01]$/),
    ]);
  });

  it("host_ipv4: leaves with the address that was named", () => {
    expect(ask(box("fixed1").ns, ["tcp", OUT4, 80])).toEqual(["out 192.168.205.11"]);
  });

  it("enable_ip_masquerade=false: leaves with its own", () => {
    expect(ask(box("nomasq1").ns, ["tcp", OUT4, 80], ["tcp", OUT6, 80])).toEqual([
      `out ${v4("nomasq1")}`,
      `out ${v6("nomasq1")}`,
    ]);
  });

  it("internal: no outside, no other network, no published port of another; its own and the host", () => {
    const answers = ask(
      box("int1").ns,
      ["tcp", OUT4, 80],
      ["tcp", OUT6, 80],
      ["tcp", v4("web"), 80],
      ["tcp", HOST4, 8080],
      ["udp", v4("int2"), 80],
      ["tcp", "172.18.0.1", 7000],
    );
    expect(answers).toEqual([null, null, null, null, `int2 ${v4("int1")}`, `host ${v4("int1")}`]);
    expect(ask(lab.host, ["tcp", v4("int2"), 80], ["tcp", v6("int2"), 80])).toEqual(["int2 172.18.0.1", "int2 fd00:18::1"]);
    expect(ask(box("web").ns, ["tcp", v4("int2"), 80])).toEqual([null]);
  });

  it("enable_icc=false: nothing between the endpoints but what a link opens; the outside as ever", () => {
    const [one, two] = [box("icc1"), box("icc2")];
    expect(ask(two.ns, ["tcp", v4("icc1"), 80], ["tcp", v6("icc1"), 80], ["tcp", OUT4, 80])).toEqual([
      null,
      null,
      "out 192.168.205.10",
    ]);
    expect(lab.try(two.ns, "ping", "-c1", "-W1", v4("icc1"))).toBe(false);
    lab.load(firewallLinkObjects(two.endpoint, one.endpoint));
    expect(ask(two.ns, ["tcp", v4("icc1"), 80], ["tcp", v4("icc1"), 81], ["udp", v4("icc1"), 80])).toEqual([
      `icc1 ${v4("icc2")}`,
      null,
      null,
    ]);
  });

  it("routed: published ports by the container's own address, from outside and from other networks; nothing else", () => {
    const targets: Target[] = [
      ["tcp", v4("routed1"), 80],
      ["tcp", v4("routed1"), 81],
      ["tcp", v6("routed1"), 80],
      ["udp", v6("routed1"), 81],
    ];
    expect(ask(lab.outside, ...targets)).toEqual([`routed1 ${OUT4}`, null, `routed1 ${OUT6}`, null]);
    expect(ask(box("web").ns, ...targets)).toEqual([`routed1 ${v4("web")}`, null, `routed1 ${v6("web")}`, null]);
    expect(ask(box("routed1").ns, ["tcp", OUT4, 80])).toEqual([`out ${v4("routed1")}`]);
  });

  it("nat-unprotected: every port from outside, in that family only; not from other networks", () => {
    expect(ask(lab.outside, ["tcp", v4("open1"), 81], ["tcp", v6("open1"), 81])).toEqual([`open1 ${OUT4}`, null]);
    expect(ask(box("web").ns, ["tcp", v4("open1"), 80])).toEqual([null]);
  });
});

describe("a published port's list of sources", () => {
  it("lets in whom it names", () => {
    expect(ask(lab.outside, ["tcp", HOST4, 8083], ["udp", HOST4, 8083], ["tcp", HOST6, 8083], ["tcp", HOST4, 8084])).toEqual([
      `web ${OUT4}`,
      `web ${OUT4}`,
      `web ${OUT6}`,
      `web ${OUT4}`,
    ]);
    expect(ask(lab.outside, ["tcp", HOST4, 8086])).toEqual([`web ${OUT4}`]);
  });

  it("and nobody else, in either family, but the host itself", () => {
    const closed: Target[] = [
      ["tcp", HOST6, 8084],
      ["tcp", HOST4, 8085],
      ["udp", HOST4, 8085],
      ["tcp", HOST6, 8085],
      ["tcp", HOST4, 8087],
    ];
    expect(ask(lab.outside, ...closed)).toEqual(closed.map(() => null));
    expect(ask(box("nomasq1").ns, ["tcp", HOST4, 8083], ["tcp", HOST4, 8080])).toEqual([null, `web ${v4("nomasq1")}`]);
    expect(ask(lab.host, ["tcp", HOST4, 8085], ["tcp", "127.0.0.1", 8085])).toEqual([`web ${HOST4}`, "web 172.17.0.1"]);
  });
});

describe("forwarding of others", () => {
  it("is not ours to judge, unless it was the engine that switched forwarding on", () => {
    const elsewhere = lab.addNamespace(`${lab.tag}e`);
    lab.exec(lab.host, "ip", "link", "add", "eth1", "type", "veth", "peer", "name", "eth0", "netns", elsewhere);
    lab.exec(lab.host, "ip", "addr", "add", "10.7.0.1/24", "dev", "eth1");
    lab.exec(lab.host, "ip", "link", "set", "eth1", "up");
    lab.exec(elsewhere, "ip", "addr", "add", "10.7.0.2/24", "dev", "eth0");
    lab.exec(elsewhere, "ip", "link", "set", "eth0", "up");
    lab.exec(elsewhere, "ip", "route", "add", "default", "via", "10.7.0.1");
    lab.exec(lab.outside, "ip", "route", "add", "10.7.0.0/24", "via", HOST4);
    expect(ask(elsewhere, ["tcp", OUT4, 80], ["tcp", HOST4, 8080])).toEqual(["out 10.7.0.2", "web 10.7.0.2"]);
    lab.nft("flush chain inet linkspan forward\n");
    lab.load(firewallHostObjects({ closeForeignForwarding: true }).filter((o) => o.kind === "nftTable" && o.family === "inet"));
    expect(ask(elsewhere, ["tcp", OUT4, 80], ["tcp", HOST4, 8080])).toEqual([null, "web 10.7.0.2"]);
    expect(ask(box("web").ns, ["tcp", OUT4, 80])).toEqual(["out 192.168.205.10"]);
  });
});
