import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { firewallEndpointObjects, firewallHostObjects, firewallNetworkObjects, linkLocal } from "../../src/drivers/firewall.js";
import { sleep } from "../lib/run.js";
import { arp, ethernet, icmp6, udp4, udp6 } from "./frames.js";
import { type Box, bridgeNetwork, Lab } from "./lab.js";

const lab = new Lab("s");
const net = bridgeNetwork("a", "lsta", 17);
let evil: Box;
let other: Box;
let victim: Box;
let seen = "";

const SEND = `
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0))
for frame in sys.argv[1:]: s.send(bytes.fromhex(frame))
`;

beforeAll(async () => {
  lab.addHost();
  lab.addBridge(net);
  [evil, other, victim] = ["evil", "other", "victim"].map((name, i) => lab.addContainer(net, name, i + 2)) as [Box, Box, Box];
  lab.load([
    ...firewallHostObjects({}),
    ...firewallNetworkObjects(net, {}),
    ...[evil, other, victim].flatMap((box) => firewallEndpointObjects(net, box.endpoint, {})),
  ]);
  const sniffer = await lab.start(victim.ns, "python3", "test/firewall/sniff.py");
  sniffer.stdout!.on("data", (data: Buffer) => {
    seen += data.toString();
  });
});
afterAll(() => lab.close());

/** The names of the frames that came through to the victim, sent from inside `evil` with a raw socket. */
async function through(frames: Record<string, string>): Promise<string[]> {
  // The last one is allowed and tells that all before it have been handled.
  const marker = udp4(evil.endpoint.mac, evil.endpoint.ipv4!, [4000 + Object.keys(frames).length, 9999]);
  lab.exec(evil.ns, "python3", "-c", SEND, ...Object.values(frames), marker);
  for (let i = 0; i < 100 && !seen.includes(marker); i++) await sleep(20);
  expect(seen).toContain(marker);
  return Object.keys(frames).filter((name) => seen.includes(frames[name]!));
}

describe("spoofing from inside a container with NET_RAW", () => {
  it("does not get through", async () => {
    const { mac, ipv4, ipv6 } = evil.endpoint;
    const own = { mac, ip: ipv4! };
    const theirs = { mac: other.endpoint.mac, ip: other.endpoint.ipv4! };
    const local = linkLocal(mac)!;
    const frames = {
      "another's MAC": udp4(theirs.mac, own.ip, [1, 2]),
      "another's MAC and IP": udp4(theirs.mac, theirs.ip, [1, 2]),
      "another's IP": udp4(mac, theirs.ip, [1, 2]),
      "the gateway's IP": udp4(mac, "172.17.0.1", [1, 2]),
      "an IP from outside": udp4(mac, "8.8.8.8", [1, 2]),
      "another's IPv6": udp6(mac, other.endpoint.ipv6!, [1, 2]),
      "another's link-local address": udp6(mac, linkLocal(theirs.mac)!, [1, 2]),
      "ARP for another's IP": arp(mac, { mac, ip: theirs.ip }, "172.17.0.4"),
      "ARP for the gateway's IP": arp(mac, { mac, ip: "172.17.0.1" }, "172.17.0.4"),
      "ARP with another's MAC inside": arp(mac, { mac: theirs.mac, ip: own.ip }, "172.17.0.4"),
      "ARP in another's frame": arp(theirs.mac, own, "172.17.0.4"),
      "ARP probe with another's MAC": arp(mac, { mac: theirs.mac, ip: "0.0.0.0" }, "172.17.0.9", 1),
      "neighbour advertisement for another": icmp6(mac, ipv6!, 136, other.endpoint.ipv6!),
      "neighbour advertisement for the gateway": icmp6(mac, local, 136, "fd00:17::1"),
      "neighbour advertisement from another": icmp6(mac, other.endpoint.ipv6!, 136, ipv6!),
      "neighbour advertisement from nowhere": icmp6(mac, "::", 136, other.endpoint.ipv6!),
      "neighbour solicitation from another": icmp6(mac, other.endpoint.ipv6!, 135, "fd00:17::4"),
      "router advertisement": icmp6(mac, local, 134),
      "router advertisement behind an option": icmp6(mac, local, 134, undefined, true),
      redirect: icmp6(mac, local, 137, "fd00:17::1"),
      "DHCP server": udp4(mac, own.ip, [67, 68]),
      "DHCP server from 0.0.0.0": udp4(mac, "0.0.0.0", [67, 68]),
      "DHCPv6 server": udp6(mac, local, [547, 546]),
      "VLAN tag": ethernet(mac, 0x8100, [0, 5, 8, 0, 0x45]),
      "spanning tree": ethernet(mac, 0x0026, [0x42, 0x42, 3, 0, 0, 0, 0, 0], "01:80:c2:00:00:0e"),
    };
    expect(await through(frames)).toEqual([]);
  });

  it("while everything of one's own does", async () => {
    const { mac, ipv4, ipv6 } = evil.endpoint;
    const local = linkLocal(mac)!;
    const frames = {
      UDP: udp4(mac, ipv4!, [3, 4]),
      "UDP over IPv6": udp6(mac, ipv6!, [3, 4]),
      "UDP from the link-local address": udp6(mac, local, [3, 4]),
      "ARP request": arp(mac, { mac, ip: ipv4! }, "172.17.0.4", 1),
      "ARP reply": arp(mac, { mac, ip: ipv4! }, "172.17.0.4"),
      "ARP probe": arp(mac, { mac, ip: "0.0.0.0" }, "172.17.0.9", 1),
      "neighbour solicitation": icmp6(mac, ipv6!, 135, "fd00:17::4"),
      "neighbour advertisement": icmp6(mac, ipv6!, 136, ipv6!),
      "neighbour advertisement for link-local": icmp6(mac, local, 136, local),
      "duplicate address detection": icmp6(mac, "::", 135, ipv6!),
      "router solicitation": icmp6(mac, local, 133),
      "echo request": icmp6(mac, ipv6!, 128, "fd00:17::4"),
      "DHCP client": udp4(mac, "0.0.0.0", [68, 67]),
    };
    expect(await through(frames)).toEqual(Object.keys(frames));
  });

  it("a bridge that is not ours is not judged", async () => {
    lab.nft(`delete element bridge linkspan ports { "${evil.endpoint.hostIfname}" }\n`);
    const frames = { foreign: udp4(other.endpoint.mac, "8.8.8.8", [5, 6]) };
    expect(await through(frames)).toEqual(["foreign"]);
  });
});
