import type { Context, Router } from "./call.js";
import { addContainerRoutes } from "./routes-containers.js";
import { addNetworkRoutes } from "./routes-networks.js";
import { addSystemRoutes } from "./routes-system.js";

/** All of the API, by subject. */
export function addRoutes(router: Router, context: Context): void {
  addSystemRoutes(router, context);
  addContainerRoutes(router, context);
  addNetworkRoutes(router, context);
}
