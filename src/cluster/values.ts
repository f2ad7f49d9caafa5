import type { Endpoint, Network } from "../model/network.js";

/**
 * Values as a person finds them with etcdctl: the fields that Docker's libnetwork kept there, in their place, and below "linkspan" the record
 * itself with a schema version. Reading goes by "linkspan" alone; a value without it was written by somebody else and is left alone.
 */
const VERSION = 1;

export function encodeNetwork(n: Network): string {
  const pools = (family: 4 | 6) =>
    JSON.stringify(
      n.pools
        .filter((p) => p.family === family)
        .map((p) => ({
          IPAMData: JSON.stringify({
            AddressSpace: "GlobalDefault",
            Gateway: `${p.gateway}/${p.subnet.split("/")[1]}`,
            Pool: p.subnet,
          }),
          PoolID: `GlobalDefault/${p.subnet}${p.ipRange ? `/${p.ipRange}` : ""}`,
        })),
    );
  const configs = n.ipamConfig.map((c) => ({
    PreferredPool: c.Subnet ?? "",
    SubPool: c.IPRange ?? "",
    Gateway: c.Gateway ?? "",
    AuxAddresses: c.AuxiliaryAddresses ?? null,
  }));
  return JSON.stringify({
    addrSpace: "GlobalDefault",
    attachable: n.attachable,
    configFrom: n.configFrom,
    configOnly: n.configOnly,
    created: n.created,
    enableIPv6: n.enableIPv6,
    generic: { "com.docker.network.enable_ipv6": n.enableIPv6, "com.docker.network.generic": n.options },
    id: n.id,
    inDelete: false,
    ingress: n.ingress,
    internal: n.internal,
    ipamOptions: n.ipamOptions ?? {},
    ipamType: n.ipamDriver,
    ipamV4Config: JSON.stringify(
      configs.length > 0 ? configs : [{ PreferredPool: "", SubPool: "", Gateway: "", AuxAddresses: null }],
    ),
    ipamV4Info: pools(4),
    ...(n.enableIPv6 ? { ipamV6Info: pools(6) } : {}),
    labels: n.labels,
    name: n.name,
    networkType: n.driver,
    persist: true,
    postIPv6: false,
    scope: n.scope,
    linkspan: { version: VERSION, network: n },
  });
}

/** `locator`: the underlay address of the host that has the endpoint. */
export function encodeEndpoint(e: Endpoint, locator: string): string {
  return JSON.stringify({
    id: e.id,
    name: e.name,
    locator,
    sandbox: e.sandboxId,
    myAliases: e.aliases,
    ep_iface: { addr: e.ipv4 ?? "", addrv6: e.ipv6 ?? "", mac: e.mac, srcName: e.hostIfname, dstPrefix: "eth" },
    exposed_ports: e.exposedPorts,
    linkspan: { version: VERSION, endpoint: e },
  });
}

export function decodeNetwork(text: string): Network | undefined {
  return decode(text, "network") as Network | undefined;
}

export function decodeEndpoint(text: string): Endpoint | undefined {
  return decode(text, "endpoint") as Endpoint | undefined;
}

function decode(text: string, kind: "network" | "endpoint"): unknown {
  const value = parseJson(text)?.["linkspan"] as { version?: number; network?: unknown; endpoint?: unknown } | undefined;
  return value?.version === VERSION ? value[kind] : undefined;
}

export function parseJson(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Addresses of an endpoint that are claimed in the store. */
export const addressesOf = (e: Endpoint): readonly string[] =>
  [e.ipv4, e.ipv6].filter((ip): ip is string => ip !== undefined && ip !== "");
