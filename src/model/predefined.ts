import { type Refusal, refusal } from "../base/errors.js";
import { parseIp, parsePrefix, prefixText } from "../base/ip.js";
import { fail, ok, type Result } from "../base/result.js";
import * as bridge from "./bridge-options.js";
import type { ModelState } from "./indexes.js";
import { type AddressPool, decidePools } from "./ipam.js";
import type { IpamConfig, Network } from "./network.js";
import { plainNetwork } from "./network-defaults.js";
import type { Change } from "./state.js";

/** dockerd's flags for the default bridge, with dockerd's meaning. */
export interface DefaultBridgeSettings {
  /** `--bridge`: "docker0"; "none": no default bridge at all */
  readonly bridgeName: string;
  /** `--bip`: address and length of the bridge, "172.17.0.1/16" */
  readonly bip?: string;
  /** `--fixed-cidr`: where containers get addresses from */
  readonly fixedCidr?: string;
  /** `--fixed-cidr-v6` with `--ipv6` */
  readonly fixedCidrV6?: string;
  readonly ipv6: boolean;
  /** `--mtu`, else that of the uplink */
  readonly mtu: number;
  readonly icc: boolean;
  readonly ipMasq: boolean;
  /** `--ip`: where ports are published by default */
  readonly hostBindingIp: string;
}

export interface PredefinedInputs {
  /** 64 random hex digits each, for those networks that are not there yet */
  readonly ids: { readonly bridge: string; readonly host: string; readonly none: string };
  readonly created: string;
  readonly hostRoutes: readonly string[];
  readonly addressPools: readonly AddressPool[];
  readonly bridge: DefaultBridgeSettings;
}

/**
 * The changes that make the networks "bridge", "host" and "none" what the settings say. Those that exist keep their id, time and,
 * unless the settings name another, their subnet.
 */
export function decidePredefined(state: ModelState, inputs: PredefinedInputs): Result<readonly Change[], Refusal> {
  const changes: Change[] = [];
  const put = (value: Network) => {
    if (JSON.stringify(state.networks.get(value.id)) !== JSON.stringify(value))
      changes.push({ kind: "network", id: value.id, value });
  };
  for (const [name, driver, id] of [
    ["none", "null", inputs.ids.none],
    ["host", "host", inputs.ids.host],
  ] as const)
    put({
      ...plainNetwork(existing(state, name)?.id ?? id, existing(state, name)?.created ?? inputs.created),
      name,
      driver,
      predefined: true,
    });
  const before = existing(state, "bridge");
  if (inputs.bridge.bridgeName === "none") {
    if (before !== undefined) changes.push({ kind: "network", id: before.id, value: undefined });
    return ok(changes);
  }
  const network = defaultBridge(state, inputs, before);
  if (!network.ok) return network;
  put(network.value);
  return ok(changes);
}

function defaultBridge(state: ModelState, inputs: PredefinedInputs, before: Network | undefined): Result<Network, Refusal> {
  const settings = inputs.bridge;
  const config = ipamConfig(settings, before);
  if (!config.ok) return config;
  const pools = decidePools({
    config: config.value,
    enableIPv4: true,
    enableIPv6: settings.ipv6,
    multipleSubnets: false,
    addressPools: inputs.addressPools,
    usedSubnets: [...state.networks.values()]
      .filter((n) => n.id !== before?.id && n.scope === "local")
      .flatMap((n) => n.pools.map((p) => p.subnet)),
    avoid: inputs.hostRoutes,
  });
  if (!pools.ok) return pools;
  return ok({
    ...plainNetwork(before?.id ?? inputs.ids.bridge, before?.created ?? inputs.created),
    name: "bridge",
    driver: "bridge",
    predefined: true,
    enableIPv6: settings.ipv6,
    options: {
      [bridge.OPTION_DEFAULT_BRIDGE]: "true",
      [bridge.OPTION_ICC]: String(settings.icc),
      [bridge.OPTION_MASQUERADE]: String(settings.ipMasq),
      [bridge.OPTION_HOST_BINDING]: settings.hostBindingIp,
      [bridge.OPTION_BRIDGE_NAME]: settings.bridgeName,
      [bridge.OPTION_MTU]: String(settings.mtu),
    },
    ipamConfig: pools.value.map((p) => ({
      Subnet: p.subnet,
      ...(p.ipRange === undefined ? {} : { IPRange: p.ipRange }),
      Gateway: p.gateway,
    })),
    // No address can be asked for on the default bridge, whoever chose its subnet.
    pools: pools.value.map((p) => ({ ...p, userSubnet: false })),
    bridgeName: settings.bridgeName,
    ...(before?.segments === undefined ? {} : { segments: before.segments }),
  });
}

function ipamConfig(settings: DefaultBridgeSettings, before: Network | undefined): Result<readonly IpamConfig[], Refusal> {
  const out: IpamConfig[] = [];
  if (settings.bip !== undefined) {
    const prefix = parsePrefix(settings.bip);
    const gateway = parseIp(settings.bip.split("/")[0]!);
    if (prefix === undefined || gateway === undefined) return fail(refusal(400, `invalid CIDR address: ${settings.bip}`, "bip"));
    out.push({
      Subnet: prefixText(prefix),
      Gateway: gateway,
      ...(settings.fixedCidr === undefined ? {} : { IPRange: settings.fixedCidr }),
    });
  } else if (settings.fixedCidr !== undefined && before === undefined) {
    out.push({ Subnet: settings.fixedCidr });
  } else {
    const kept = before?.pools.find((p) => p.family === 4);
    if (kept !== undefined)
      out.push({ Subnet: kept.subnet, Gateway: kept.gateway, ...(kept.ipRange === undefined ? {} : { IPRange: kept.ipRange }) });
  }
  if (settings.ipv6 && settings.fixedCidrV6 !== undefined) out.push({ Subnet: settings.fixedCidrV6 });
  return ok(out);
}

function existing(state: ModelState, name: string): Network | undefined {
  for (const id of state.index.networksByName.get(name) ?? []) {
    const network = state.networks.get(id);
    if (network?.predefined) return network;
  }
  return undefined;
}
