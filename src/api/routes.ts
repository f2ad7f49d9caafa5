import type { Context, Router } from "./call.js";
import { addArchiveRoutes } from "./routes-archive.js";
import { addBuildRoutes } from "./routes-build.js";
import { addContainerRoutes } from "./routes-containers.js";
import { addEventRoutes } from "./routes-events.js";
import { addExecRoutes } from "./routes-exec.js";
import { addImageRoutes } from "./routes-images.js";
import { addLinkspanRoutes } from "./routes-linkspan.js";
import { addNetworkRoutes } from "./routes-networks.js";
import { addStreamRoutes } from "./routes-streams.js";
import { addSwarmRoutes } from "./routes-swarm.js";
import { addSystemRoutes } from "./routes-system.js";
import { addVolumeRoutes } from "./routes-volumes.js";

/** All of the API, by subject. */
export function addRoutes(router: Router, context: Context): void {
  addArchiveRoutes(router, context);
  addBuildRoutes(router, context);
  addContainerRoutes(router, context);
  addEventRoutes(router);
  addExecRoutes(router, context);
  addImageRoutes(router, context);
  addLinkspanRoutes(router, context);
  addNetworkRoutes(router, context);
  addStreamRoutes(router, context);
  addSwarmRoutes(router);
  addSystemRoutes(router, context);
  addVolumeRoutes(router, context);
}
