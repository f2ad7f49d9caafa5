import { refuse } from "../base/errors.js";
import type { Engine, Filters } from "../engine/contract.js";
import type { Container } from "../model/container.js";
import type { Call } from "./call.js";
import { anyOf, filterBool, labelsMatch, matches, parseFilters, queryBool, queryInt } from "./query.js";
import { renderContainerRow } from "./render-container-list.js";
import { EndpointIndex, renderNetworks, renderPortMap } from "./render-settings.js";
import { byCreatedDescending, timeNanos } from "./time.js";

const acceptedFilters = [
  "ancestor",
  "before",
  "exited",
  "expose",
  "health",
  "id",
  "is-task",
  "isolation",
  "label",
  "name",
  "network",
  "publish",
  "since",
  "status",
  "volume",
];
const statuses = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];

/** `GET /containers/json`, newest first. */
export async function listContainers(call: Call): Promise<unknown> {
  const { engine, query } = call;
  const filters = parseFilters(query.get("filters"), acceptedFilters);
  const limit = queryInt(query, "limit") ?? 0;
  const withSize = queryBool(query, "size");
  const index = new EndpointIndex(engine.state);
  const images = new ImageNames(engine);
  const test = await containerTest(engine, filters, index, images, queryBool(query, "all") || limit > 0);
  const chosen = [...engine.containers.list()].sort(byCreatedDescending).filter(test);
  const now = Date.now();
  const rows: unknown[] = [];
  for (const container of limit > 0 ? chosen.slice(0, limit) : chosen) {
    const size = withSize ? await engine.containers.size(container.id) : undefined;
    rows.push(renderContainerRow(container, await images.nameFor(container), index, now, size));
  }
  return call.json(rows);
}

/** Looks up each image name once per request. */
class ImageNames {
  private readonly ids = new Map<string, Promise<string | undefined>>();
  private readonly engine: Engine;
  constructor(engine: Engine) {
    this.engine = engine;
  }
  idOf(name: string): Promise<string | undefined> {
    let found = this.ids.get(name);
    if (found === undefined) {
      found = this.engine.images.find(name).then(
        (image) => image?.id,
        () => undefined,
      );
      this.ids.set(name, found);
    }
    return found;
  }
  /** As the container was asked for; the id once that name means another image. */
  async nameFor(container: Container): Promise<string> {
    const name = container.config.Image;
    if (name === "") return container.imageId;
    const id = await this.idOf(name);
    return id === container.imageId ? name : container.imageId;
  }
}

async function containerTest(
  engine: Engine,
  filters: Filters,
  index: EndpointIndex,
  images: ImageNames,
  all: boolean,
): Promise<(c: Container) => boolean> {
  for (const status of filters["status"] ?? []) if (!statuses.includes(status)) refuse(400, `invalid filter 'status=${status}'`);
  for (const health of filters["health"] ?? [])
    if (!["none", "starting", "healthy", "unhealthy"].includes(health)) refuse(400, `invalid filter 'health=${health}'`);
  for (const code of filters["exited"] ?? []) if (!/^-?[0-9]+$/.test(code)) refuse(400, `invalid filter 'exited=${code}'`);
  const isTask = filterBool(filters, "is-task");
  const created = (name: "before" | "since") => {
    const ref = filters[name]?.[0];
    return ref === undefined ? undefined : timeNanos(engine.containers.resolve(ref).created);
  };
  const before = created("before");
  const since = created("since");
  const ancestors = new Set<string>();
  for (const name of filters["ancestor"] ?? []) {
    const id = await images.idOf(name);
    if (id !== undefined) ancestors.add(id);
  }
  const ports = { publish: portTests(filters, "publish"), expose: portTests(filters, "expose") };
  const includeStopped = all || (filters["status"]?.length ?? 0) > 0;

  return (c) => {
    const running = ["running", "paused", "restarting"].includes(c.state.status);
    if (!running && !includeStopped) return false;
    if (isTask === true) return false;
    if (!anyOf(filters, "id", (v) => matches(v, c.id))) return false;
    if (!anyOf(filters, "name", (v) => matches(v, c.name) || matches(v, `/${c.name}`))) return false;
    if (!labelsMatch(filters["label"], c.config.Labels)) return false;
    if (!anyOf(filters, "status", (v) => v === c.state.status)) return false;
    if (!anyOf(filters, "exited", (v) => Number(v) === c.state.exitCode && c.state.status === "exited")) return false;
    if (!anyOf(filters, "health", (v) => (c.state.health?.Status ?? "none") === v)) return false;
    if (filters["ancestor"] !== undefined && filters["ancestor"].length > 0 && !ancestors.has(c.imageId)) return false;
    const at = timeNanos(c.created);
    if (before !== undefined && at >= before) return false;
    if (since !== undefined && at <= since) return false;
    if (!anyOf(filters, "volume", (v) => c.mounts.some((m) => m.Name === v || m.Destination === v || m.Source === v)))
      return false;
    if (!anyOf(filters, "network", (v) => onNetwork(c, v, index))) return false;
    return portsMatch(c, index, ports);
  };
}

function onNetwork(c: Container, wanted: string, index: EndpointIndex): boolean {
  return Object.entries(renderNetworks(c, index) as Record<string, { NetworkID: string }>).some(
    ([name, settings]) => name === wanted || (wanted.length > 0 && settings.NetworkID.startsWith(wanted)),
  );
}

interface PortTest {
  readonly first: number;
  readonly last: number;
  readonly proto: string;
}

/** "80", "80/udp", "8000-8100/tcp" */
function portTests(filters: Filters, name: string): readonly PortTest[] {
  return (filters[name] ?? []).map((text) => {
    const m = /^([0-9]+)(?:-([0-9]+))?(?:\/(tcp|udp|sctp))?$/.exec(text);
    if (m === null) refuse(400, `invalid filter '${name}=${text}'`);
    return { first: Number(m[1]), last: Number(m[2] ?? m[1]), proto: m[3] ?? "tcp" };
  });
}

function portsMatch(
  c: Container,
  index: EndpointIndex,
  tests: { readonly publish: readonly PortTest[]; readonly expose: readonly PortTest[] },
): boolean {
  const within = (list: readonly PortTest[], port: number, proto: string) =>
    list.some((t) => t.proto === proto && port >= t.first && port <= t.last);
  if (tests.publish.length > 0) {
    const map = renderPortMap(index.of(c.id), index.state);
    const published = Object.entries(map).some(([key, bindings]) => {
      const [port, proto] = key.split("/") as [string, string];
      return (
        bindings !== null &&
        (within(tests.publish, Number(port), proto) || bindings.some((b) => within(tests.publish, Number(b.HostPort), proto)))
      );
    });
    if (!published) return false;
  }
  if (tests.expose.length > 0) {
    const keys = Object.keys(c.config.ExposedPorts ?? {});
    if (!keys.some((key) => within(tests.expose, Number(key.split("/")[0]), key.split("/")[1] ?? "tcp"))) return false;
  }
  return true;
}
