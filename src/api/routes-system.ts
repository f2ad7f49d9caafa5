import type { Call, Context, Router } from "./call.js";
import { renderInfo, renderVersion } from "./render-info.js";

export function addSystemRoutes(router: Router, { engine, options }: Context): void {
  const ping = (body: string) => (call: Call) =>
    call.reply
      .headers({
        "Builder-Version": "1",
        "Cache-Control": "no-cache, no-store, must-revalidate",
        Pragma: "no-cache",
        Swarm: "inactive",
        "Content-Type": "text/plain; charset=utf-8",
      })
      .send(body);
  router.get("/_ping", ping("OK"));
  router.head("/_ping", ping(""));
  router.get("/version", (call) => call.json(renderVersion(engine)));
  router.get("/info", async (call) => call.json(await renderInfo(engine, options)));
}
