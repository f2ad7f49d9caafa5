import { type Refusal, refusal } from "../base/errors.js";
import { fail, ok, type Result } from "../base/result.js";
import { isIfname, parseBridgeOptions, parseGoBool } from "./bridge-options.js";
import { endpointsOfNetwork, type ModelState } from "./indexes.js";
import { type AddressPool, decidePools, GLOBAL_ADDRESS_POOLS } from "./ipam.js";
import type { DriverName, IpamConfig, Network } from "./network.js";
import { resolveNetwork } from "./network-query.js";
import type { Change } from "./state.js";

/** The body of POST /networks/create (the API's NetworkCreate fits). */
export interface NetworkRequest {
  readonly Name: string;
  readonly CheckDuplicate?: boolean;
  readonly Driver?: string;
  readonly Internal?: boolean;
  readonly Attachable?: boolean;
  readonly Ingress?: boolean;
  readonly ConfigOnly?: boolean;
  readonly ConfigFrom?: { readonly Network: string } | null;
  readonly Scope?: string;
  readonly EnableIPv4?: boolean;
  readonly EnableIPv6?: boolean;
  readonly IPAM?: {
    readonly Driver?: string;
    readonly Options?: Readonly<Record<string, string>> | null;
    readonly Config?: readonly IpamConfig[] | null;
  } | null;
  readonly Options?: Readonly<Record<string, string>> | null;
  readonly Labels?: Readonly<Record<string, string>> | null;
}

/** What pure code cannot know. */
export interface NetworkInputs {
  /** 64 random hex digits */
  readonly id: string;
  /** RFC 3339 with nanoseconds, "Z" */
  readonly created: string;
  /** Destinations of the host's routes that are not ours ("192.168.205.0/24"); "0.0.0.0/0" does no harm. Name servers may be added. */
  readonly hostRoutes: readonly string[];
  /** Names of the host's links that are not ours: no bridge may take such a name. */
  readonly foreignLinks?: ReadonlySet<string>;
  /** `--default-address-pool`, else LOCAL_ADDRESS_POOLS */
  readonly addressPools: readonly AddressPool[];
  /** Drivers that this engine has now: overlay and routed only with a cluster store. */
  readonly drivers: ReadonlySet<DriverName>;
}

export interface NetworkDecision {
  readonly network: Network;
  readonly changes: readonly Change[];
  readonly warning: string;
  /** Owners (drivers/desired.ts) whose kernel objects change. */
  readonly owners: readonly string[];
}

const NO_SWARM =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';
const PREDEFINED = new Set(["bridge", "host", "none", "default"]);
const KNOWN_DRIVERS: readonly string[] = ["bridge", "host", "null", "overlay", "routed", "macvlan"];

/** Decides POST /networks/create: the new network's record, or Docker's refusal. */
export function createNetwork(state: ModelState, asked: NetworkRequest, inputs: NetworkInputs): Result<NetworkDecision, Refusal> {
  const configured = withConfigFrom(state, asked);
  if (!configured.ok) return configured;
  const request = configured.value;
  const driver = request.Driver || "bridge";
  const checked = checkNames(state, request, driver, inputs);
  if (!checked.ok) return checked;
  const kind = request.ConfigOnly ? "null" : (driver as DriverName);
  const options = request.Options ?? {};
  const parsed = parseBridgeOptions(options, request.Internal ?? false);
  if (!parsed.ok) return parsed;
  const secret = checkEncrypted(options, kind);
  if (!secret.ok) return secret;
  const parent = kind === "macvlan" ? checkMacvlan(options, inputs) : ok(undefined);
  if (!parent.ok) return parent;
  const spansHosts = kind === "overlay" || kind === "routed";
  const pools = request.ConfigOnly ? ok([]) : choosePools(state, request, inputs, spansHosts);
  if (!pools.ok) return pools;
  const bridgeName = kind === "bridge" ? (parsed.value.bridgeName ?? `br-${inputs.id.slice(0, 12)}`) : undefined;
  if (bridgeName !== undefined) {
    const clash = checkBridgeName(state, bridgeName, inputs);
    if (!clash.ok) return clash;
  }
  const network: Network = {
    id: inputs.id,
    name: request.Name,
    created: inputs.created,
    driver: kind,
    scope: spansHosts ? "global" : "local",
    enableIPv6: request.EnableIPv6 ?? false,
    internal: request.Internal ?? false,
    attachable: request.Attachable ?? false,
    ingress: request.Ingress ?? false,
    configOnly: request.ConfigOnly ?? false,
    configFrom: request.ConfigFrom?.Network ?? "",
    labels: request.Labels ?? {},
    options,
    ipamDriver: request.IPAM?.Driver || "default",
    ipamOptions: request.IPAM?.Options ?? null,
    ipamConfig: request.IPAM?.Config ?? [],
    pools: pools.value,
    ...(bridgeName === undefined ? {} : { bridgeName }),
    ...(spansHosts ? { vni: chooseVni(state, options) } : {}),
    predefined: false,
  };
  const changes: Change[] = [{ kind: "network", id: network.id, value: network }];
  return ok({ network, changes, warning: checked.value, owners: [`network:${network.id}`] });
}

function choosePools(state: ModelState, request: NetworkRequest, inputs: NetworkInputs, spansHosts: boolean) {
  return decidePools({
    config: request.IPAM?.Config ?? [],
    enableIPv4: request.EnableIPv4 ?? true,
    enableIPv6: request.EnableIPv6 ?? false,
    multipleSubnets: spansHosts,
    addressPools: spansHosts ? GLOBAL_ADDRESS_POOLS : inputs.addressPools,
    usedSubnets: subnets(state, (n) => (n.scope === "global") === spansHosts),
    avoid: [...inputs.hostRoutes, ...subnets(state, (n) => (n.scope === "global") !== spansHosts)],
  });
}

/** A network made from a configuration-only one has that one's options, addresses and flags, and none of its own. */
function withConfigFrom(state: ModelState, request: NetworkRequest): Result<NetworkRequest, Refusal> {
  const ref = request.ConfigFrom?.Network;
  if (!ref) return ok(request);
  if (request.ConfigOnly)
    return fail(refusal(400, "a configuration-only network cannot use another one's configuration", "ConfigFrom"));
  const found = resolveNetwork(state, ref);
  if (!found.ok) return found;
  const from = found.value;
  if (!from.configOnly) return fail(refusal(403, `network ${ref} is not a configuration-only network`, "ConfigFrom"));
  if (Object.keys(request.Options ?? {}).length > 0 || (request.IPAM?.Config ?? []).length > 0)
    return fail(
      refusal(
        403,
        "user specified configurations are not supported if the network depends on a configuration network",
        "ConfigFrom",
      ),
    );
  return ok({
    ...request,
    Options: from.options,
    Internal: from.internal,
    EnableIPv6: from.enableIPv6,
    IPAM: { Driver: from.ipamDriver, Options: from.ipamOptions, Config: from.ipamConfig },
    Labels: { ...from.labels, ...(request.Labels ?? {}) },
  });
}

/** What was asked to be secret is never carried in the clear: the host's kernel has no WireGuard, and there is none in user space. */
function checkEncrypted(options: Readonly<Record<string, string>>, kind: DriverName): Result<undefined, Refusal> {
  const asked = options["encrypted"];
  if ((kind !== "overlay" && kind !== "routed") || asked === undefined || parseGoBool(asked) === false) return ok(undefined);
  return fail(
    refusal(
      501,
      "option encrypted: this host cannot encrypt the traffic between hosts, and would not send it unencrypted instead",
      "encrypted",
    ),
  );
}

/** The interface that carries the containers' frames is the host's: it must be there. */
function checkMacvlan(options: Readonly<Record<string, string>>, inputs: NetworkInputs): Result<undefined, Refusal> {
  const mode = options["macvlan_mode"];
  if (mode !== undefined && !["bridge", "private", "vepa", "passthru"].includes(mode))
    return fail(
      refusal(400, `requested macvlan mode '${mode}' is not valid, 'bridge' mode is the macvlan driver default`, "macvlan_mode"),
    );
  const parent = options["parent"];
  if (!parent) return fail(refusal(400, "a macvlan network needs the option parent=INTERFACE", "parent"));
  if (!inputs.foreignLinks?.has(parent))
    return fail(refusal(400, `-o parent interface ${parent} does not exist on the host`, "parent"));
  return ok(undefined);
}

/** Decides DELETE /networks/{id}. A network that only stopped containers name can go. */
export function removeNetwork(state: ModelState, network: Network): Result<NetworkDecision, Refusal> {
  if (network.predefined) return fail(refusal(403, `${network.name} is a pre-defined network and cannot be removed`));
  if (endpointsOfNetwork(state, network.id).size > 0)
    return fail(refusal(403, `error while removing network: network ${network.name} id ${network.id} has active endpoints`));
  return ok({
    network,
    changes: [{ kind: "network", id: network.id, value: undefined }],
    warning: "",
    owners: [`network:${network.id}`],
  });
}

function checkNames(state: ModelState, request: NetworkRequest, driver: string, inputs: NetworkInputs): Result<string, Refusal> {
  const name = request.Name;
  if (PREDEFINED.has(name)) return fail(refusal(403, `operation is not permitted on predefined ${name} network `, "Name"));
  let warning = "";
  if (state.index.networksByName.has(name)) {
    if (request.CheckDuplicate) return fail(refusal(409, `network with name ${name} already exists`, "Name"));
    const other = [...state.index.networksByName.get(name)!][0]!;
    warning = `Network with name ${name} (id : ${other}) already exists`;
  }
  // An overlay without a cluster store would need Swarm; Docker says this before it looks at the name.
  if ((driver === "overlay" || driver === "routed") && !inputs.drivers.has(driver)) return fail(refusal(500, NO_SWARM, "Driver"));
  if (name.trim() === "" || name.includes("/")) return fail(refusal(500, `invalid name: ${name}`, "Name"));
  if (driver === "host" || driver === "null")
    return fail(refusal(403, `only one instance of "${driver}" network is allowed`, "Driver"));
  if (!KNOWN_DRIVERS.includes(driver) || !inputs.drivers.has(driver as DriverName))
    return fail(refusal(404, `plugin "${driver}" not found`, "Driver"));
  const ipam = request.IPAM?.Driver || "default";
  if (ipam !== "default") return fail(refusal(404, `plugin "${ipam}" not found`, "IPAM.Driver"));
  return ok(warning);
}

function checkBridgeName(state: ModelState, name: string, inputs: NetworkInputs): Result<void, Refusal> {
  const other = state.index.networkByBridge.get(name);
  if (other !== undefined)
    return fail(
      refusal(
        403,
        `cannot create network ${inputs.id} (${name}): conflicts with network ${other} (${name}): networks have same bridge name`,
      ),
    );
  if (!isIfname(name)) return fail(refusal(400, `invalid bridge name: ${name}`));
  // Docker would take a foreign bridge over; a link that is not ours is never touched.
  if (inputs.foreignLinks?.has(name))
    return fail(
      refusal(
        403,
        `cannot create network ${inputs.id} (${name}): an interface with this name exists and is not managed by this engine`,
      ),
    );
  return ok(undefined);
}

function subnets(state: ModelState, wanted: (n: Network) => boolean): string[] {
  const out: string[] = [];
  for (const network of state.networks.values()) if (wanted(network)) for (const pool of network.pools) out.push(pool.subnet);
  return out;
}

/** VXLAN network identifiers begin at 256, as Docker's do; `vxlanid_list` names one. */
function chooseVni(state: ModelState, options: Readonly<Record<string, string>>): number {
  const used = new Set<number>();
  for (const network of state.networks.values()) if (network.vni !== undefined) used.add(network.vni);
  const named = Number.parseInt(options["com.docker.network.driver.overlay.vxlanid_list"] ?? "", 10);
  if (Number.isInteger(named) && named > 0 && named < 1 << 24 && !used.has(named)) return named;
  let vni = 256;
  while (used.has(vni)) vni++;
  return vni;
}
