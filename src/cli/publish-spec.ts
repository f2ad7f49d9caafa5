import { parseIp } from "../base/ip.js";

export interface Binding {
  readonly HostIp: string;
  readonly HostPort: string;
  readonly Allow?: readonly string[];
}

/** `-p` as docker writes it: [ip:][hostPort:]containerPort[/proto], ranges too → one binding per container port. */
export function parsePublish(spec: string, allow: readonly string[]): { readonly port: string; readonly binding: Binding }[] {
  const [ports, proto = "tcp"] = spec.split("/") as [string, string | undefined];
  const m = /^(?:(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(?=[^:]*:))?(?:([0-9-]*):)?([0-9]+(?:-[0-9]+)?)$/.exec(ports);
  if (m === null || !["tcp", "udp", "sctp"].includes(proto)) throw new Error(`invalid port specification: ${spec}`);
  const ip = m[1] ?? m[2] ?? "";
  if (ip !== "" && parseIp(ip) === undefined) throw new Error(`invalid IP address: ${ip}`);
  const container = range(m[4]!, spec);
  const host = m[3] === undefined || m[3] === "" ? undefined : range(m[3], spec);
  // A single container port with a range of host ports: the engine takes the first that is free.
  const single = container.first === container.last;
  if (host !== undefined && !single && host.last - host.first !== container.last - container.first)
    throw new Error(`invalid ranges specified for container and host Ports: ${m[4]} and ${m[3]}`);
  const out: { port: string; binding: Binding }[] = [];
  for (let port = container.first; port <= container.last; port++) {
    const hostPort = host === undefined ? "" : single ? m[3]! : String(host.first + port - container.first);
    out.push({
      port: `${port}/${proto}`,
      binding: { HostIp: ip, HostPort: hostPort, ...(allow.length > 0 && { Allow: allow }) },
    });
  }
  return out;
}

function range(text: string, spec: string): { readonly first: number; readonly last: number } {
  const m = /^([0-9]+)(?:-([0-9]+))?$/.exec(text);
  const first = Number(m?.[1]);
  const last = Number(m?.[2] ?? m?.[1]);
  if (m === null || first < 1 || last > 65535 || first > last) throw new Error(`invalid port specification: ${spec}`);
  return { first, last };
}
