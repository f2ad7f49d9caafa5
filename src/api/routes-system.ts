import type { Call, Context, Router } from "./call.js";
import { renderContainerRow } from "./render-container-list.js";
import { renderImageRow } from "./render-image.js";
import { renderInfo, renderVersion } from "./render-info.js";
import { EndpointIndex } from "./render-settings.js";
import { renderVolume } from "./render-volume.js";

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
  router.get("/system/df", diskUsage);
  router.get("/info", async (call) => call.json(await renderInfo(engine, options)));
}

/** `docker system df`; `type` (repeatable) asks for a part, because sizes are slow to count. */
async function diskUsage(call: Call): Promise<unknown> {
  const { engine } = call;
  const types = call.query.getAll("type");
  const wanted = (type: string) => types.length === 0 || types.includes(type);
  const used = new Map<string, number>();
  for (const c of engine.containers.list()) used.set(c.imageId, (used.get(c.imageId) ?? 0) + 1);
  const images = wanted("image") ? await engine.images.list({ all: true }) : [];
  const index = new EndpointIndex(engine.state);
  const containers: unknown[] = [];
  if (wanted("container"))
    for (const c of engine.containers.list())
      containers.push(renderContainerRow(c, c.config.Image, index, Date.now(), await engine.containers.size(c.id)));
  const volumes: unknown[] = [];
  if (wanted("volume"))
    for (const v of engine.volumes.list())
      volumes.push(renderVolume(v, { size: await engine.volumes.size(v.name), refCount: engine.volumes.refCount(v.name) }));
  return call.json({
    LayersSize: images.reduce((sum, i) => sum + i.size, 0),
    Images: images.map((i) => ({ ...renderImageRow(i, used.get(i.id) ?? 0, !call.atLeast("1.43")), SharedSize: 0 })),
    Containers: containers,
    Volumes: volumes,
    BuildCache: [],
    BuilderSize: 0,
  });
}
