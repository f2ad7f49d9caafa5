import { type Refusal, refusal } from "../base/errors.js";
import { parseIp } from "../base/ip.js";
import { fail, ok, type Result } from "../base/result.js";
import type { Network } from "./network.js";

export type GatewayMode = "nat" | "nat-unprotected" | "routed" | "isolated";

/** Docker's bridge options, parsed; the defaults are Docker's. */
export interface BridgeOptions {
  readonly bridgeName: string | undefined;
  readonly enableIpMasquerade: boolean;
  readonly enableIcc: boolean;
  readonly inhibitIpv4: boolean;
  readonly defaultBridge: boolean;
  /** Where ports are published that name no address: "" means everywhere. */
  readonly hostBindingIpv4: string;
  /** Source address for masquerading instead of the outgoing interface's. */
  readonly hostIpv4: string | undefined;
  readonly hostIpv6: string | undefined;
  readonly gatewayModeIpv4: GatewayMode;
  readonly gatewayModeIpv6: GatewayMode;
  readonly mtu: number | undefined;
  readonly containerIfacePrefix: string;
}

const P = "com.docker.network.";
export const OPTION_BRIDGE_NAME = `${P}bridge.name`;
export const OPTION_MASQUERADE = `${P}bridge.enable_ip_masquerade`;
export const OPTION_ICC = `${P}bridge.enable_icc`;
export const OPTION_HOST_BINDING = `${P}bridge.host_binding_ipv4`;
export const OPTION_DEFAULT_BRIDGE = `${P}bridge.default_bridge`;
export const OPTION_INHIBIT_IPV4 = `${P}bridge.inhibit_ipv4`;
export const OPTION_MTU = `${P}driver.mtu`;
export const OPTION_IFACE_PREFIX = `${P}container_iface_prefix`;

/** Linux takes 15 bytes (IFNAMSIZ 16, with the closing zero). */
const IFNAME = /^[A-Za-z0-9_.-]{1,15}$/;
const MODES: readonly string[] = ["nat", "nat-unprotected", "routed", "isolated"];

export function parseBridgeOptions(options: Readonly<Record<string, string>>, internal = false): Result<BridgeOptions, Refusal> {
  const bad = (text: string, field: string, status = 500) => fail(refusal(status, text, field));
  const flags: Record<string, boolean> = {};
  const defaults = {
    [OPTION_MASQUERADE]: true,
    [OPTION_ICC]: true,
    [OPTION_INHIBIT_IPV4]: false,
    [OPTION_DEFAULT_BRIDGE]: false,
  };
  for (const [key, byDefault] of Object.entries(defaults)) {
    const text = options[key];
    const value = text === undefined ? byDefault : parseGoBool(text);
    if (value === undefined)
      return bad(`failed to parse ${key} value: ${text} (strconv.ParseBool: parsing "${text}": invalid syntax)`, key, 400);
    flags[key] = value;
  }
  const mtuText = options[OPTION_MTU];
  if (mtuText !== undefined && !/^[+-]?[0-9]+$/.test(mtuText))
    return bad(
      `failed to parse ${OPTION_MTU} value: ${mtuText} (strconv.Atoi: parsing "${mtuText}": invalid syntax)`,
      OPTION_MTU,
    );
  const mtu = mtuText === undefined ? undefined : Number(mtuText);
  if (mtu !== undefined && (mtu < 0 || mtu > 65535)) return bad(`invalid MTU number: ${mtu}`, OPTION_MTU, 400);
  const name = options[OPTION_BRIDGE_NAME];
  if (name !== undefined && new TextEncoder().encode(name).length > 15)
    return bad("failed to check bridge interface existence: numerical result out of range", OPTION_BRIDGE_NAME);
  if (name !== undefined && name !== "" && !isIfname(name)) return bad(`invalid bridge name: ${name}`, OPTION_BRIDGE_NAME, 400);
  const prefix = options[OPTION_IFACE_PREFIX] ?? "eth";
  if (!IFNAME.test(prefix) || prefix.length > 12)
    return bad(`invalid interface name prefix: ${prefix}`, OPTION_IFACE_PREFIX, 400);
  for (const key of [OPTION_HOST_BINDING, `${P}host_ipv4`, `${P}host_ipv6`]) {
    const text = options[key];
    if (text !== undefined && parseIp(text) === undefined)
      return bad(`failed to parse ${key} value: ${text} (invalid ip address)`, key, 400);
  }
  for (const key of [`${P}bridge.gateway_mode_ipv4`, `${P}bridge.gateway_mode_ipv6`]) {
    const mode = options[key];
    if (mode !== undefined && !MODES.includes(mode)) return bad(`unknown gateway mode ${mode}`, key, 400);
    if (mode === "isolated" && !internal)
      return bad("gateway mode 'isolated' can only be used for an internal network", key, 400);
  }
  return ok({
    bridgeName: name || undefined,
    enableIpMasquerade: flags[OPTION_MASQUERADE]!,
    enableIcc: flags[OPTION_ICC]!,
    inhibitIpv4: flags[OPTION_INHIBIT_IPV4]!,
    defaultBridge: flags[OPTION_DEFAULT_BRIDGE]!,
    hostBindingIpv4: options[OPTION_HOST_BINDING] ?? "",
    hostIpv4: options[`${P}host_ipv4`],
    hostIpv6: options[`${P}host_ipv6`],
    gatewayModeIpv4: (options[`${P}bridge.gateway_mode_ipv4`] ?? "nat") as GatewayMode,
    gatewayModeIpv6: (options[`${P}bridge.gateway_mode_ipv6`] ?? "nat") as GatewayMode,
    // 0 is what the docker CLI's documentation calls "the default"
    mtu: mtu === 0 ? undefined : mtu,
    containerIfacePrefix: prefix,
  });
}

/** Records are never changed in place, so what was parsed once holds for as long as the record lives. */
const parsedOptions = new WeakMap<Network, BridgeOptions>();

/** The options of a network that was accepted: they parse. */
export function bridgeOptionsOf(network: Network): BridgeOptions {
  let options = parsedOptions.get(network);
  if (options === undefined) {
    options = optionsOrDefaults(network);
    parsedOptions.set(network, options);
  }
  return options;
}

function optionsOrDefaults(network: Network): BridgeOptions {
  const parsed = parseBridgeOptions(network.options, network.internal);
  if (parsed.ok) return parsed.value;
  // A record from a later or damaged version: its network gets the defaults rather than none.
  const byDefault = parseBridgeOptions({});
  if (!byDefault.ok) throw new Error("the default options do not parse");
  return byDefault.value;
}

export const isIfname = (text: string): boolean => IFNAME.test(text) && text !== "." && text !== "..";

/** Go's strconv.ParseBool */
export function parseGoBool(text: string): boolean | undefined {
  if (["1", "t", "T", "TRUE", "true", "True"].includes(text)) return true;
  if (["0", "f", "F", "FALSE", "false", "False"].includes(text)) return false;
  return undefined;
}
