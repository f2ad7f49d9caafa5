import { bytesToIp, ipToBytes } from "../base/ip.js";
import { assert } from "../base/result.js";
import { AF_INET, AF_INET6, memory } from "./ffi.js";

/** A struct sockaddr_in (16 bytes) or sockaddr_in6 (28 bytes) for an address and a port. Link-local scope is not set. */
export function sockaddrOf(address: string, port: number): Buffer {
  const ip = ipToBytes(address);
  assert(ip !== undefined, `not an address: ${address}`);
  const out = memory(ip.length === 4 ? 16 : 28);
  out.writeUInt16LE(ip.length === 4 ? AF_INET : AF_INET6, 0);
  out.writeUInt16BE(port, 2);
  out.set(ip, ip.length === 4 ? 4 : 8);
  return out;
}

/** The address and port in a sockaddr_in or sockaddr_in6. */
export function readSockaddr(bytes: Uint8Array): { readonly address: string; readonly port: number } {
  const v6 = (bytes[0]! | (bytes[1]! << 8)) === AF_INET6;
  return { address: bytesToIp(v6 ? bytes.subarray(8, 24) : bytes.subarray(4, 8)), port: (bytes[2]! << 8) | bytes[3]! };
}
