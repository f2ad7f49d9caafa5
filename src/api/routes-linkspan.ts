import { z } from "zod";
import { refuse } from "../base/errors.js";
import { parsePrefix } from "../base/ip.js";
import type { Engine } from "../engine/contract.js";
import { eachPort } from "../model/ports.js";
import type { Call, Context, Router } from "./call.js";
import { str, strings } from "./decode.js";
import { validatePortBindings } from "./validate-container.js";

const publishSchema = z.looseObject({
  Ports: z.record(z.string(), z.array(z.looseObject({ HostIp: str, HostPort: str, Allow: strings })).nullable()).nullish(),
});

/** Beyond Docker. JSON in and out, the same errors. */
export function addLinkspanRoutes(router: Router, { engine }: Context): void {
  router.get("/linkspan/explain", async (call) => {
    const ref = call.query.get("ref");
    if (ref === null || ref === "") refuse(400, "ref is required: the name or id of a network or container");
    return call.json({ Commands: await engine.explain(ref) });
  });
  router.get("/linkspan/verify", async (call) => call.json({ Differences: await engine.verify() }));
  router.post("/linkspan/containers/:id/ports", publish);
  router.get("/linkspan/nodes", (call) =>
    call.json({
      Nodes: nodesOf(engine)
        .list()
        .map((n) => ({
          ID: n.id,
          Name: n.hostname,
          Address: n.address,
          Advertise: n.advertise,
          Status: n.alive ? "alive" : "away",
          Endpoints: n.endpoints,
          Self: n.self,
        })),
    }),
  );
  router.delete("/linkspan/nodes/:id", async (call) => {
    await nodesOf(engine).remove(call.param("id"));
    return call.empty();
  });
}

function nodesOf(engine: Engine): NonNullable<Engine["nodes"]> {
  return engine.nodes ?? refuse(503, "this engine is not part of a cluster: start it with --cluster-store");
}

/** Replaces the published ports of a container: `{"Ports":{"80/tcp":[{"HostIp":"","HostPort":"8080","Allow":["10.0.0.0/8"]}]}}`. */
async function publish(call: Call): Promise<unknown> {
  const body = await call.body(publishSchema, "PortsUpdate");
  const ports: Record<string, { HostIp: string; HostPort: string; Allow?: string[] }[]> = {};
  for (const [port, bindings] of Object.entries(body.Ports ?? {})) {
    ports[port.includes("/") ? port : `${port}/tcp`] = (bindings ?? []).map((b) => {
      for (const prefix of b.Allow ?? [])
        if (parsePrefix(prefix) === undefined) refuse(400, `invalid source prefix: ${prefix}`, "Allow");
      return { HostIp: b.HostIp ?? "", HostPort: b.HostPort ?? "", ...(b.Allow && { Allow: b.Allow }) };
    });
  }
  validatePortBindings(ports);
  const published = await call.engine.containers.publish(call.param("id"), ports);
  return call.json({ Ports: published.flatMap((mapping) => [...eachPort(mapping)]) });
}
