import { refuse } from "../base/errors.js";
import type { Router } from "./call.js";

const NOT_A_MANAGER =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.';

/** Swarm and plugins: this engine has neither, and says so as a Docker outside a swarm does. */
export function addSwarmRoutes(router: Router): void {
  const notManager = () => refuse(503, NOT_A_MANAGER);
  for (const kind of ["nodes", "services", "tasks", "secrets", "configs"]) {
    router.get(`/${kind}`, notManager);
    router.get(`/${kind}/:id`, notManager);
    router.delete(`/${kind}/:id`, notManager);
    router.post(`/${kind}/create`, notManager);
    router.post(`/${kind}/:id/update`, notManager);
  }
  router.get("/swarm", notManager);
  router.get("/swarm/unlockkey", notManager);
  router.post("/swarm/update", notManager);
  router.post("/swarm/unlock", notManager);
  router.post("/swarm/leave", () => refuse(503, "This node is not part of a swarm"));
  const noSwarm = () =>
    refuse(501, "swarm mode is not offered: for networks over several hosts start the engine with --cluster-store");
  router.post("/swarm/init", noSwarm);
  router.post("/swarm/join", noSwarm);

  router.get("/plugins", (call) => call.json([]));
  router.get("/plugins/privileges", (call) => call.json([]));
  router.get("/plugins/:name/json", (call) => refuse(404, `plugin ${JSON.stringify(call.param("name"))} not found`));
  router.delete("/plugins/:name", (call) => refuse(404, `plugin ${JSON.stringify(call.param("name"))} not found`));
  router.post("/plugins/pull", () => refuse(501, "plugins are not offered"));
}
