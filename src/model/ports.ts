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

/** Docker's "80", "80/tcp", "53/udp"; the protocol in any case. */
export function parseContainerPort(text: string): Result<ContainerPort, Refusal> {
  const [number = "", protoText = "tcp", ...rest] = text.split("/");
  const proto = protoText === "" ? "tcp" : protoText.toLowerCase();
  const port = parseNumber(number);
  if (port === undefined || rest.length > 0) return fail(invalidPort(number));
  if (proto !== "tcp" && proto !== "udp" && proto !== "sctp")
    return fail(refusal(400, `invalid proto: ${protoText}`, "PortBindings"));
  return ok({ proto, port });
}

export const containerPortText = (p: ContainerPort): string => `${p.port}/${p.proto}`;

/** "", "0" → 0–0 (any); "80" → 80–80; "8000-8002". */
function parseHostPort(text: string): Result<readonly [number, number], Refusal> {
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
  for (const [key, bindings] of Object.entries(options.bindings ?? {})) {
    const parsed = parseContainerPort(key);
    if (!parsed.ok) return parsed;
    for (const binding of bindings ?? []) {
      const request = bindingRequest(parsed.value, binding, options);
      if (!request.ok) return request;
      bound.add(containerPortText(parsed.value));
      out.push(...request.value);
    }
  }
  for (const key of options.exposed) {
    const parsed = parseContainerPort(key);
    if (!parsed.ok) return parsed;
    if (!options.publishAll || bound.has(containerPortText(parsed.value))) continue;
    const request = bindingRequest(parsed.value, { HostIp: "", HostPort: "" }, options);
    if (!request.ok) return request;
    out.push(...request.value);
  }
  // A range is as fixed as its width: [80] before [8000-8002] before any.
  const freedom = (r: PortRequest) => (r.first === 0 ? 65536 : r.last - r.first);
  return ok(out.sort((a, b) => freedom(a) - freedom(b) || a.containerPort - b.containerPort || (a.proto < b.proto ? -1 : 1)));
}

function bindingRequest(
  port: ContainerPort,
  binding: { readonly HostIp?: string; readonly HostPort?: string; readonly Allow?: readonly string[] },
  options: PublishOptions,
): Result<readonly PortRequest[], Refusal> {
  const range = parseHostPort(binding.HostPort ?? "");
  if (!range.ok) return range;
  const addresses = hostIps(binding.HostIp ?? "", options);
  if (!addresses.ok) return addresses;
  const allow = parseAllow(binding.Allow ?? []);
  if (!allow.ok) return allow;
  if (addresses.value.length === 0) return ok([]);
  const [first, last] = range.value;
  const base = { proto: port.proto, containerPort: port.port, hostIps: addresses.value, first, last };
  return ok([allow.value.length === 0 ? base : { ...base, allow: allow.value }]);
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

/** Host ports in use by published ports. Every question is one look into a hash. */
export class TakenPorts {
  readonly #byProtocol = {
    tcp: new Map<string, Set<number>>(),
    udp: new Map<string, Set<number>>(),
    sctp: new Map<string, Set<number>>(),
  };

  has(proto: PortProtocol, hostIp: string, port: number): boolean {
    return this.#byProtocol[proto].get(hostIp)?.has(port) ?? false;
  }

  add(proto: PortProtocol, hostIp: string, port: number): void {
    const ports = this.#byProtocol[proto].get(hostIp);
    if (ports === undefined) this.#byProtocol[proto].set(hostIp, new Set([port]));
    else ports.add(port);
  }

  delete(proto: PortProtocol, hostIp: string, port: number): void {
    const ports = this.#byProtocol[proto].get(hostIp);
    if (ports?.delete(port) && ports.size === 0) this.#byProtocol[proto].delete(hostIp);
  }
}

/** Takes ports that were chosen before (an endpoint's own, after a restart of the engine); all or nothing, Docker's 500 text. */
export function takePorts(mappings: readonly PortMapping[], taken: TakenPorts): Result<undefined, Refusal> {
  for (let i = 0; i < mappings.length; i++) {
    const m = mappings[i]!;
    if (taken.has(m.proto, m.hostIp, m.hostPort)) {
      for (const before of mappings.slice(0, i)) taken.delete(before.proto, before.hostIp, before.hostPort);
      return fail(alreadyAllocated(m.hostIp, m.hostPort));
    }
    taken.add(m.proto, m.hostIp, m.hostPort);
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
      for (const m of out) taken.delete(m.proto, m.hostIp, m.hostPort);
      return fail(noPort(request, taken));
    }
    for (const hostIp of request.hostIps) {
      taken.add(request.proto, hostIp, hostPort);
      const mapping = { proto: request.proto, containerPort: request.containerPort, hostIp, hostPort };
      out.push(request.allow === undefined ? mapping : { ...mapping, allow: request.allow });
    }
  }
  return ok(out);
}

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
