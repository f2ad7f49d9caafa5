import { type Refusal, refusal } from "../base/errors.js";
import { ipFamily, parseIp, parsePrefix, prefixText } from "../base/ip.js";
import { fail, ok, type Result } from "../base/result.js";
import type { PortBinding } from "./container.js";
import type { PortMapping } from "./network.js";

export type PortProtocol = PortMapping["proto"];

/** "80/tcp" in parts. */
export interface ContainerPort {
  readonly proto: PortProtocol;
  readonly port: number;
}

/** A port to be published, before it has host ports: one per `-p` after the CLI's expansion. */
export interface PortRequest {
  readonly proto: PortProtocol;
  readonly containerPort: number;
  /** All get the same host port: ["0.0.0.0", "::"] where no address was named. */
  readonly hostIps: readonly string[];
  /** Host ports to choose from, inclusive; 0 and 0: any that is free. */
  readonly first: number;
  readonly last: number;
  readonly allow?: readonly string[];
}

/** Docker's HostConfig.PortBindings; `Allow` is ours: source prefixes that may come in. */
export type PortBindings = Readonly<Record<string, readonly (PortBinding & { readonly Allow?: readonly string[] })[] | null>>;

/** Where the kernel takes ephemeral ports from by default, and Docker its random ones. */
export const DYNAMIC_FIRST = 32768;
export const DYNAMIC_LAST = 60999;

/** The single ports of a run. */
export function* eachPort(mapping: PortMapping): Generator<PortMapping> {
  const { count = 1, ...first } = mapping;
  if (count === 1) yield mapping;
  else for (let i = 0; i < count; i++) yield { ...first, containerPort: first.containerPort + i, hostPort: first.hostPort + i };
}

/** A part of a run: `count` ports from the one with index `from` on. */
export function partOf(mapping: PortMapping, from: number, count: number): PortMapping {
  const { count: _, ...first } = mapping;
  const part = { ...first, containerPort: first.containerPort + from, hostPort: first.hostPort + from };
  return count === 1 ? part : { ...part, count };
}

/** Docker's "80", "80/tcp", "53/udp"; the protocol in any case. */
export function parseContainerPort(text: string): Result<ContainerPort, Refusal> {
  const plain = parsePlainPort(text);
  if (plain !== undefined) return ok(plain);
  const [number = "", protoText = "tcp", ...rest] = text.split("/");
  const proto = protoText === "" ? "tcp" : protoText.toLowerCase();
  const port = parseNumber(number);
  if (port === undefined || rest.length > 0) return fail(invalidPort(number));
  if (proto !== "tcp" && proto !== "udp" && proto !== "sctp")
    return fail(refusal(400, `invalid proto: ${protoText}`, "PortBindings"));
  return ok({ proto, port });
}

/** "80/tcp" as clients write it, without a regular expression: a container may have ten thousand. Undefined: look closer. */
export function parsePlainPort(text: string): ContainerPort | undefined {
  const slash = text.length - 4;
  if (slash < 1 || slash > 5 || text.charCodeAt(slash) !== 47) return undefined;
  const proto = text.endsWith("tcp") ? "tcp" : text.endsWith("udp") ? "udp" : undefined;
  const port = plainNumber(text, slash);
  return proto === undefined || port < 0 ? undefined : { proto, port };
}

/** The first `length` characters as a port number, or -1. */
function plainNumber(text: string, length: number): number {
  let n = 0;
  for (let i = 0; i < length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    n = n * 10 + digit;
  }
  return length === 0 || length > 5 || n > 65535 ? -1 : n;
}

export const containerPortText = (p: ContainerPort): string => `${p.port}/${p.proto}`;

/** "", "0" → 0–0 (any); "80" → 80–80; "8000-8002". */
function parseHostPort(text: string): Result<readonly [number, number], Refusal> {
  if (text === "") return ok([0, 0]);
  const plain = plainNumber(text, text.length);
  if (plain >= 0) return ok([plain, plain]);
  const range = text.split("/")[0]!;
  if (range === "") return ok([0, 0]);
  const parts = range.split("-");
  const first = parseNumber(parts[0]!);
  const last = parts.length === 1 ? first : parseNumber(parts[1]!);
  if (first === undefined || last === undefined || parts.length > 2 || last < first) return fail(invalidPort(range));
  return ok([first, last]);
}

/** Go's strconv.ParseUint with 16 bits. */
function parseNumber(text: string): number | undefined {
  if (!/^[0-9]{1,20}$/.test(text)) return undefined;
  const n = Number(text);
  return n <= 65535 ? n : undefined;
}

const invalidPort = (text: string): Refusal =>
  refusal(400, `invalid port specification: ${JSON.stringify(text)}`, "PortBindings");

export interface PublishOptions {
  /** Ports that the container exposes: Config.ExposedPorts with the image's, as "80/tcp". */
  readonly exposed: Iterable<string>;
  readonly bindings: PortBindings | null | undefined;
  /** `-P`: exposed ports without a binding get a random one. */
  readonly publishAll: boolean;
  /** The network's default binding address (com.docker.network.bridge.host_binding_ipv4); "" or absent: everywhere. */
  readonly defaultHostIp?: string;
  /** The host can listen on IPv6 addresses. */
  readonly ipv6: boolean;
}

/**
 * What is to be published, in the order in which host ports are to be taken: fixed ones first, so that a random one does not take
 * them, then by container port. Refuses with Docker's 400 texts; call it at create, too, to refuse bad bindings early.
 */
export function portRequests(options: PublishOptions): Result<readonly PortRequest[], Refusal> {
  const out: PortRequest[] = [];
  const bound = new Set<string>();
  const addresses = new Map<string, Result<readonly string[], Refusal>>();
  for (const [key, bindings] of Object.entries(options.bindings ?? {})) {
    const parsed = parseContainerPort(key);
    if (!parsed.ok) return parsed;
    for (const binding of bindings ?? []) {
      const request = bindingRequest(parsed.value, binding, options, addresses);
      if (!request.ok) return request;
      if (options.publishAll) bound.add(containerPortText(parsed.value));
      if (request.value !== undefined) out.push(request.value);
    }
  }
  for (const key of options.exposed) {
    const parsed = parseContainerPort(key);
    if (!parsed.ok) return parsed;
    if (!options.publishAll || bound.has(containerPortText(parsed.value))) continue;
    const request = bindingRequest(parsed.value, { HostIp: "", HostPort: "" }, options, addresses);
    if (!request.ok) return request;
    if (request.value !== undefined) out.push(request.value);
  }
  // A range is as fixed as its width: [80] before [8000-8002] before any.
  const freedom = (r: PortRequest) => (r.first === 0 ? 65536 : r.last - r.first);
  return ok(out.sort((a, b) => freedom(a) - freedom(b) || a.containerPort - b.containerPort || (a.proto < b.proto ? -1 : 1)));
}

function bindingRequest(
  port: ContainerPort,
  binding: { readonly HostIp?: string; readonly HostPort?: string; readonly Allow?: readonly string[] },
  options: PublishOptions,
  known: Map<string, Result<readonly string[], Refusal>>,
): Result<PortRequest | undefined, Refusal> {
  const range = parseHostPort(binding.HostPort ?? "");
  if (!range.ok) return range;
  const asked = binding.HostIp ?? "";
  let addresses = known.get(asked);
  if (addresses === undefined) {
    addresses = hostIps(asked, options);
    known.set(asked, addresses);
  }
  if (!addresses.ok) return addresses;
  const [first, last] = range.value;
  const request = { proto: port.proto, containerPort: port.port, hostIps: addresses.value, first, last };
  if (binding.Allow === undefined) return ok(addresses.value.length === 0 ? undefined : request);
  const allow = parseAllow(binding.Allow);
  if (!allow.ok) return allow;
  if (addresses.value.length === 0) return ok(undefined);
  return ok(allow.value.length === 0 ? request : { ...request, allow: allow.value });
}

function hostIps(text: string, options: PublishOptions): Result<readonly string[], Refusal> {
  const asked = text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1) : text;
  if (asked === "") {
    const byDefault = options.defaultHostIp ?? "";
    if (byDefault !== "" && byDefault !== "0.0.0.0") return ok([byDefault]);
    return ok(options.ipv6 ? ["0.0.0.0", "::"] : ["0.0.0.0"]);
  }
  const address = parseIp(asked);
  if (address === undefined) return fail(refusal(400, `invalid IP address: ${text}`, "PortBindings"));
  // "::ffff:192.0.2.1" is the IPv4 address that it says.
  const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(address);
  if (mapped === null) return ok([address]);
  const [high, low] = [Number.parseInt(mapped[1]!, 16), Number.parseInt(mapped[2]!, 16)];
  return ok([`${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`]);
}

/** Source prefixes and addresses of an allow-list, canonical, host bits cleared. */
export function parseAllow(allow: readonly string[]): Result<readonly string[], Refusal> {
  const out: string[] = [];
  for (const text of allow) {
    const prefix = parsePrefix(text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`);
    if (prefix === undefined) return fail(refusal(400, `invalid source prefix: ${text}`, "Allow"));
    out.push(prefixText(prefix));
  }
  return ok(out);
}

/** Host ports in use by published ports: a bit map per protocol and host address. */
export class TakenPorts {
  readonly #byProtocol = {
    tcp: new Map<string, PortBits>(),
    udp: new Map<string, PortBits>(),
    sctp: new Map<string, PortBits>(),
  };

  has(proto: PortProtocol, hostIp: string, port: number): boolean {
    const ports = this.#byProtocol[proto].get(hostIp);
    return ports !== undefined && (ports.bits[port >> 3]! & (1 << (port & 7))) !== 0;
  }

  add(proto: PortProtocol, hostIp: string, first: number, count = 1): void {
    let ports = this.#byProtocol[proto].get(hostIp);
    if (ports === undefined) {
      ports = { bits: new Uint8Array(8192), size: 0 };
      this.#byProtocol[proto].set(hostIp, ports);
    }
    for (let port = first; port < first + count; port++) {
      const bit = 1 << (port & 7);
      if ((ports.bits[port >> 3]! & bit) !== 0) continue;
      ports.bits[port >> 3]! |= bit;
      ports.size++;
    }
  }

  delete(proto: PortProtocol, hostIp: string, first: number, count = 1): void {
    const ports = this.#byProtocol[proto].get(hostIp);
    if (ports === undefined) return;
    for (let port = first; port < first + count; port++) {
      const bit = 1 << (port & 7);
      if ((ports.bits[port >> 3]! & bit) === 0) continue;
      ports.bits[port >> 3]! &= ~bit;
      ports.size--;
    }
    if (ports.size === 0) this.#byProtocol[proto].delete(hostIp);
  }

  forget(mappings: readonly PortMapping[]): void {
    for (const m of mappings) this.delete(m.proto, m.hostIp, m.hostPort, m.count);
  }
}

interface PortBits {
  readonly bits: Uint8Array;
  size: number;
}

/** Takes ports that were chosen before (an endpoint's own, after a restart of the engine); all or nothing, Docker's 500 text. */
export function takePorts(mappings: readonly PortMapping[], taken: TakenPorts): Result<undefined, Refusal> {
  for (const [i, m] of mappings.entries()) {
    for (let port = m.hostPort; port < m.hostPort + (m.count ?? 1); port++)
      if (taken.has(m.proto, m.hostIp, port)) {
        taken.forget(mappings.slice(0, i));
        return fail(alreadyAllocated(m.hostIp, port));
      }
    taken.add(m.proto, m.hostIp, m.hostPort, m.count);
  }
  return ok(undefined);
}

/**
 * Gives every request its host port and adds it to `taken`; all or nothing. `dynamicStart` is where the search for a random port
 * begins (any integer); it goes on upwards and around, as Docker's does. `blocked`: ports that the host itself turned out to use.
 * Refuses with Docker's 500 texts, which the caller puts after "driver failed programming external connectivity on …".
 */
export function allocatePorts(
  requests: readonly PortRequest[],
  taken: TakenPorts,
  options: { readonly dynamicStart: number; readonly blocked?: TakenPorts },
): Result<readonly PortMapping[], Refusal> {
  const out: PortMapping[] = [];
  let run: Run | undefined;
  const endRun = () => {
    if (run === undefined) return;
    const { request, hostPort, count } = run;
    for (const hostIp of request.hostIps) {
      const mapping = { proto: request.proto, containerPort: request.containerPort, hostIp, hostPort };
      out.push({
        ...mapping,
        ...(count === 1 ? {} : { count }),
        ...(request.allow === undefined ? {} : { allow: request.allow }),
      });
    }
  };
  const span = DYNAMIC_LAST - DYNAMIC_FIRST + 1;
  let cursor = ((Math.trunc(options.dynamicStart) % span) + span) % span;
  for (const request of requests) {
    const free = (port: number) =>
      request.hostIps.every(
        (ip) => !taken.has(request.proto, ip, port) && !(options.blocked?.has(request.proto, ip, port) ?? false),
      );
    let hostPort: number | undefined;
    if (request.first === 0) {
      for (let i = 0; i < span && hostPort === undefined; i++) {
        const port = DYNAMIC_FIRST + ((cursor + i) % span);
        if (!free(port)) continue;
        hostPort = port;
        cursor = (cursor + i + 1) % span;
      }
    } else for (let port = request.first; port <= request.last && hostPort === undefined; port++) if (free(port)) hostPort = port;
    if (hostPort === undefined) {
      endRun();
      taken.forget(out);
      return fail(noPort(request, taken));
    }
    for (const hostIp of request.hostIps) taken.add(request.proto, hostIp, hostPort);
    if (run !== undefined && continues(run, request, hostPort)) run.count++;
    else {
      endRun();
      run = { request, hostPort, count: 1 };
    }
  }
  endRun();
  return ok(out);
}

/** Consecutive ports of requests that differ in nothing else. */
interface Run {
  readonly request: PortRequest;
  readonly hostPort: number;
  count: number;
}

const continues = ({ request: first, hostPort: from, count }: Run, request: PortRequest, hostPort: number): boolean =>
  hostPort === from + count &&
  request.containerPort === first.containerPort + count &&
  request.proto === first.proto &&
  // Requests for the same address share the list (portRequests).
  (request.hostIps === first.hostIps || request.hostIps.join() === first.hostIps.join()) &&
  request.allow === undefined &&
  first.allow === undefined;

function noPort(request: PortRequest, taken: TakenPorts): Refusal {
  if (request.first === 0) return refusal(500, "all ports are allocated");
  const hostIp = request.hostIps.find((ip) => taken.has(request.proto, ip, request.last)) ?? request.hostIps[0]!;
  return alreadyAllocated(hostIp, request.last);
}

const alreadyAllocated = (hostIp: string, port: number): Refusal =>
  refusal(500, `Bind for ${hostIp}:${port} failed: port is already allocated`);

/** "0.0.0.0:80", "[::]:80": an address with a port, as `docker port` and listen errors write it. */
export const hostPortText = (hostIp: string, port: number): string =>
  ipFamily(hostIp) === 6 ? `[${hostIp}]:${port}` : `${hostIp}:${port}`;
