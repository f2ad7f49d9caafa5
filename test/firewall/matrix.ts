import type { PortMapping } from "../../src/model/network.js";
import { HOST4, HOST4_SECOND, HOST6, HOST6_SECOND } from "./lab.js";

/** The closed-by-default matrix as data: what is tried, from where, and what should come of it. */
export const PROTOCOLS = [
  ["tcp", 4],
  ["udp", 4],
  ["tcp", 6],
  ["udp", 6],
] as const;

export const SOURCES = [
  "same network",
  "other network",
  "host",
  "outside",
  "outside, routed",
  "outside, forging 127.0.0.0/8",
] as const;
export type Source = (typeof SOURCES)[number];

export const PUBLISHED = ["on all", "on 127.0.0.1", "on one address", "not published"] as const;
export type Published = (typeof PUBLISHED)[number];

export const WAYS = ["host's address", "host's other address", "localhost", "container's address"] as const;
export type Way = (typeof WAYS)[number];

const CONTAINER_PORT: Record<Published, number> = { "on all": 80, "on 127.0.0.1": 81, "on one address": 82, "not published": 83 };
export const CONTAINER_PORTS = Object.values(CONTAINER_PORT);
const hostPort = (published: Published): number => CONTAINER_PORT[published] + 8000;

export function mappings(): PortMapping[] {
  const bound: Record<Published, readonly string[]> = {
    "on all": ["0.0.0.0", "::"],
    "on 127.0.0.1": ["127.0.0.1", "::1"],
    "on one address": [HOST4, HOST6],
    "not published": [],
  };
  return PUBLISHED.flatMap((published) =>
    bound[published].flatMap((hostIp) =>
      (["tcp", "udp"] as const).map((proto) => ({
        proto,
        hostIp,
        hostPort: hostPort(published),
        containerPort: CONTAINER_PORT[published],
      })),
    ),
  );
}

/** Only what makes sense is tried: localhost is the prober's own, except on the host and for a forger. */
export function waysOf(source: Source): readonly Way[] {
  if (source === "outside, forging 127.0.0.0/8") return ["localhost"];
  return source === "host" ? WAYS : WAYS.filter((way) => way !== "localhost");
}

export function destination(
  way: Way,
  published: Published,
  family: 4 | 6,
  container: { readonly ipv4?: string; readonly ipv6?: string },
): readonly [string, number] {
  const pick = (v4: string, v6: string) => (family === 4 ? v4 : v6);
  switch (way) {
    case "host's address":
      return [pick(HOST4, HOST6), hostPort(published)];
    case "host's other address":
      return [pick(HOST4_SECOND, HOST6_SECOND), hostPort(published)];
    case "localhost":
      return [pick("127.0.0.1", "::1"), hostPort(published)];
    case "container's address":
      return [pick(container.ipv4!, container.ipv6!), CONTAINER_PORT[published]];
  }
}

/** `undefined`: cannot be tried (nobody can send to ::1 of another machine). */
export function expected(source: Source, published: Published, way: Way, family: 4 | 6): boolean | undefined {
  if (source === "outside, forging 127.0.0.0/8") return family === 6 ? undefined : false;
  switch (way) {
    case "container's address":
      return source === "same network" || source === "host";
    case "host's address":
      return published === "on all" || published === "on one address";
    case "host's other address":
      return published === "on all";
    case "localhost":
      return published === "on all" || published === "on 127.0.0.1";
  }
}

export type Outcome = (
  source: Source,
  published: Published,
  way: Way,
  proto: "tcp" | "udp",
  family: 4 | 6,
) => boolean | undefined;

/** The matrix as a Markdown table; each cell has four marks: tcp and udp over IPv4, tcp and udp over IPv6. */
export function matrixTable(outcome: Outcome): string {
  const lines = [`| from | to the | ${PUBLISHED.join(" | ")} |`, `|---|---|${PUBLISHED.map(() => "---|").join("")}`];
  for (const source of SOURCES)
    for (const way of waysOf(source)) {
      const cells = PUBLISHED.map((published) =>
        PROTOCOLS.map(([proto, family]) => {
          const open = outcome(source, published, way, proto, family);
          return open === undefined ? "–" : open ? "●" : "○";
        }).join(""),
      );
      lines.push(`| ${source} | ${way} | ${cells.join(" | ")} |`);
    }
  return lines.join("\n");
}
