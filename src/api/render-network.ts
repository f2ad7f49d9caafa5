import type { Engine } from "../engine/contract.js";
import type { IpamConfig, Network } from "../model/network.js";
import { prefixLength } from "./render-settings.js";
import { sorted } from "./render-sorted.js";

/** A network as Docker 20.10 prints it: these keys in this order, no EnableIPv4. `containers` is empty in lists. */
export function renderNetwork(
  network: Network,
  containers: Readonly<Record<string, object>>,
  peers?: readonly object[],
): Record<string, unknown> {
  return {
    Name: network.name,
    Id: network.id,
    Created: network.created,
    Scope: network.scope,
    Driver: network.driver,
    EnableIPv6: network.enableIPv6,
    IPAM: {
      Driver: network.ipamDriver || "default",
      Options: network.ipamOptions === null ? null : sorted(network.ipamOptions),
      Config: renderIpamConfigs(network),
    },
    Internal: network.internal,
    Attachable: network.attachable,
    Ingress: network.ingress,
    ConfigFrom: { Network: network.configFrom },
    ConfigOnly: network.configOnly,
    Containers: containers,
    Options: sorted(network.options),
    Labels: sorted(network.labels),
    ...(peers !== undefined && peers.length > 0 && { Peers: peers }),
  };
}

/** Per family: what the user asked for, exactly; where nothing was asked for, what was allotted. */
function renderIpamConfigs(network: Network): object[] {
  const out: object[] = [];
  for (const family of [4, 6] as const) {
    const asked = network.ipamConfig.filter(
      (c) => c.Subnet !== undefined && c.Subnet !== "" && c.Subnet.includes(":") === (family === 6),
    );
    if (asked.length > 0) out.push(...asked.map(renderIpamConfig));
    else
      for (const pool of network.pools)
        if (pool.family === family) out.push({ Subnet: pool.subnet, ...(pool.gateway !== "" && { Gateway: pool.gateway }) });
  }
  return out;
}

function renderIpamConfig(c: IpamConfig): object {
  return {
    Subnet: c.Subnet,
    ...(c.IPRange && { IPRange: c.IPRange }),
    ...(c.Gateway && { Gateway: c.Gateway }),
    ...(c.AuxiliaryAddresses &&
      Object.keys(c.AuxiliaryAddresses).length > 0 && { AuxiliaryAddresses: sorted(c.AuxiliaryAddresses) }),
  };
}

/** Who is on the network: this host's containers by id, those of other hosts as "ep-<endpoint id>". */
export function renderNetworkContainers(engine: Engine, network: Network): Record<string, object> {
  const out: Record<string, object> = {};
  const suffix = (family: 4 | 6) => {
    const pool = network.pools.find((p) => p.family === family);
    return `/${prefixLength(network, pool?.subnet, family === 4 ? 32 : 128)}`;
  };
  const cidr = (ip: string | undefined, family: 4 | 6) =>
    ip === undefined || ip === "" ? "" : ip.includes("/") ? ip : ip + suffix(family);
  for (const e of engine.state.endpoints.values()) {
    if (e.networkId !== network.id || e.node !== undefined) continue;
    out[e.containerId] = {
      Name: e.name,
      EndpointID: e.id,
      MacAddress: e.mac,
      IPv4Address: cidr(e.ipv4, 4),
      IPv6Address: cidr(e.ipv6, 6),
    };
  }
  for (const r of engine.networks.remoteEndpoints(network.id)) {
    out[`ep-${r.endpointId}`] = {
      Name: r.name,
      EndpointID: r.endpointId,
      MacAddress: r.mac,
      IPv4Address: cidr(r.ipv4, 4),
      IPv6Address: cidr(r.ipv6, 6),
    };
  }
  return sorted(out);
}
