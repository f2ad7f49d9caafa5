import { z } from "zod";
import { refuse } from "../base/errors.js";
import type { EndpointSettings, Filters, NetworkCreate } from "../engine/contract.js";
import type { Network } from "../model/network.js";
import type { Call, Context, Router } from "./call.js";
import { withoutNulls } from "./container-config.js";
import { bool, str, stringMap } from "./decode.js";
import { anyOf, filterBool, labelsMatch, matches, parseFilters, queryBool } from "./query.js";
import { renderNetwork, renderNetworkContainers } from "./render-network.js";
import { endpointSettingsSchema } from "./schema-container.js";
import { timeNanos } from "./time.js";

const networkCreateSchema = z.looseObject({
  Name: str,
  CheckDuplicate: bool,
  Driver: str,
  Scope: str,
  Internal: bool,
  Attachable: bool,
  Ingress: bool,
  ConfigOnly: bool,
  ConfigFrom: z.looseObject({ Network: str }).nullish(),
  EnableIPv4: bool,
  EnableIPv6: bool,
  IPAM: z
    .looseObject({
      Driver: str,
      Options: stringMap,
      Config: z
        .array(z.looseObject({ Subnet: str, IPRange: str, Gateway: str, AuxiliaryAddresses: stringMap, AuxAddress: stringMap }))
        .nullish(),
    })
    .nullish(),
  Options: stringMap,
  Labels: stringMap,
});
const connectSchema = z.looseObject({ Container: str, EndpointConfig: endpointSettingsSchema.nullish() });
const disconnectSchema = z.looseObject({ Container: str, Force: bool });

export function addNetworkRoutes(router: Router, { engine }: Context): void {
  const { networks } = engine;
  router.get("/networks", list);
  router.post("/networks/create", create);
  router.get("/networks/:id", inspect);
  router.delete("/networks/:id", async (call) => {
    await networks.remove(call.param("id"));
    return call.empty();
  });
  router.post("/networks/:id/connect", async (call) => {
    const body = await call.body(connectSchema, "NetworkConnect");
    const settings = withoutNulls(body.EndpointConfig ?? {}) as EndpointSettings;
    await networks.connect(call.param("id"), body.Container ?? "", settings);
    return call.empty(200);
  });
  router.post("/networks/:id/disconnect", async (call) => {
    const body = await call.body(disconnectSchema, "NetworkDisconnect");
    await networks.disconnect(call.param("id"), body.Container ?? "", body.Force ?? false);
    return call.empty(200);
  });
  router.post("/networks/prune", async (call) => {
    const deleted = await networks.prune(parseFilters(call.query.get("filters"), ["label", "label!", "until"]));
    return call.json({ NetworksDeleted: deleted.length === 0 ? null : deleted });
  });
}

async function create(call: Call): Promise<unknown> {
  const body = await call.body(networkCreateSchema, "NetworkCreateRequest");
  const ipam = body.IPAM && {
    ...withoutNulls(body.IPAM),
    Config: body.IPAM.Config?.map((c) => withoutNulls({ ...c, AuxiliaryAddresses: c.AuxiliaryAddresses ?? c.AuxAddress })),
  };
  const request = { ...withoutNulls(body), Name: body.Name ?? "", ...(ipam && { IPAM: ipam }) } as NetworkCreate;
  const { network, warning } = await call.engine.networks.create(request);
  return call.json({ Id: network.id, Warning: warning }, 201);
}

function inspect(call: Call): unknown {
  const { engine, query } = call;
  const network = engine.networks.resolve(call.param("id"));
  const scope = query.get("scope");
  if (scope && !scopeMatches(scope, network)) refuse(404, `network ${call.param("id")} not found`);
  const peers = queryBool(query, "verbose") ? engine.networks.peers(network.id) : undefined;
  return call.json(renderNetwork(network, renderNetworkContainers(engine, network), peers));
}

function scopeMatches(scope: string, network: Network): boolean {
  return scope === network.scope;
}

function list(call: Call): unknown {
  const accepted = ["dangling", "driver", "id", "label", "name", "scope", "type", "idOrName"];
  const filters = parseFilters(call.query.get("filters"), accepted);
  const test = networkTest(call, filters);
  const chosen = [...call.engine.networks.list()].filter(test).sort(predefinedThenCreated);
  return call.json(chosen.map((n) => renderNetwork(n, {})));
}

const predefinedOrder = ["bridge", "host", "none"];

function predefinedThenCreated(a: Network, b: Network): number {
  const rank = (n: Network) => (n.predefined && predefinedOrder.includes(n.name) ? predefinedOrder.indexOf(n.name) : 3);
  if (rank(a) !== rank(b)) return rank(a) - rank(b);
  const x = timeNanos(a.created);
  const y = timeNanos(b.created);
  return x === y ? 0 : x < y ? -1 : 1;
}

function networkTest(call: Call, filters: Filters): (n: Network) => boolean {
  for (const type of filters["type"] ?? [])
    if (!["custom", "builtin"].includes(type)) refuse(400, `invalid filter: 'type'='${type}'`);
  const dangling = filterBool(filters, "dangling");
  const used = new Set<string>();
  if (dangling !== undefined) for (const e of call.engine.state.endpoints.values()) used.add(e.networkId);
  return (n) =>
    anyOf(filters, "driver", (v) => v === n.driver) &&
    anyOf(filters, "name", (v) => matches(v, n.name)) &&
    anyOf(filters, "id", (v) => matches(v, n.id)) &&
    anyOf(filters, "idOrName", (v) => matches(v, n.id) || matches(v, n.name)) &&
    anyOf(filters, "scope", (v) => v === n.scope) &&
    anyOf(filters, "type", (v) => (v === "builtin") === n.predefined) &&
    labelsMatch(filters["label"], n.labels) &&
    (dangling === undefined || (!n.predefined && !used.has(n.id)) === dangling);
}
