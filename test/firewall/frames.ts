import { ipToBytes, macToBytes } from "../../src/base/ip.js";

/** Ethernet frames by hand, for what no well-behaved program sends. Most checksums are left 0: a bridge forwards without looking. */
export const BROADCAST = "ff:ff:ff:ff:ff:ff";

export interface Ends {
  readonly mac: string;
  readonly ip: string;
}

const u16 = (n: number): number[] => [n >> 8, n & 255];
const bytes = (text: string): number[] => [...(text.includes(":") && text.length === 17 ? macToBytes(text)! : ipToBytes(text)!)];

export function ethernet(source: string, type: number, payload: readonly number[], to = BROADCAST): string {
  return Buffer.from([...bytes(to), ...bytes(source), ...u16(type), ...payload])
    .toString("hex")
    .padEnd(120, "0");
}

export function arp(source: string, sender: Ends, targetIp: string, operation: 1 | 2 = 2): string {
  return ethernet(source, 0x0806, [
    ...[0, 1, 8, 0, 6, 4, 0, operation],
    ...bytes(sender.mac),
    ...bytes(sender.ip),
    ...[0, 0, 0, 0, 0, 0],
    ...bytes(targetIp),
  ]);
}

export function udp4(source: string, sourceIp: string, ports: readonly [number, number], to = "255.255.255.255"): string {
  const udp = [...u16(ports[0]), ...u16(ports[1]), ...u16(8), 0, 0];
  const header = [0x45, 0, ...u16(20 + udp.length), 0, 0, 0, 0, 64, 17, 0, 0, ...bytes(sourceIp), ...bytes(to)];
  // The one checksum that an IP stack looks at before its firewall does.
  let sum = 0;
  for (let i = 0; i < 20; i += 2) sum += (header[i]! << 8) | header[i + 1]!;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  header.splice(10, 2, ...u16(~sum & 0xffff));
  return ethernet(source, 0x0800, [...header, ...udp]);
}

function ip6(source: string, sourceIp: string, next: number, payload: readonly number[]): string {
  return ethernet(source, 0x86dd, [
    0x60,
    0,
    0,
    0,
    ...u16(payload.length),
    next,
    255,
    ...bytes(sourceIp),
    ...bytes("ff02::1"),
    ...payload,
  ]);
}

export function udp6(source: string, sourceIp: string, ports: readonly [number, number]): string {
  return ip6(source, sourceIp, 17, [...u16(ports[0]), ...u16(ports[1]), ...u16(8), 0, 0]);
}

/** `target`: of a neighbour solicitation (135), advertisement (136) or redirect (137); none for 133 and 134. */
export function icmp6(source: string, sourceIp: string, type: number, target?: string, hopByHop = false): string {
  const body = [type, 0, 0, 0, 0, 0, 0, 0, ...(target === undefined ? new Array<number>(8).fill(0) : bytes(target))];
  return hopByHop ? ip6(source, sourceIp, 0, [58, 0, 1, 4, 0, 0, 0, 0, ...body]) : ip6(source, sourceIp, 58, body);
}
