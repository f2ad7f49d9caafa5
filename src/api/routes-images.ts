import { z } from "zod";
import { refuse } from "../base/errors.js";
import type { Engine, Filters } from "../engine/contract.js";
import type { Call, Context, Router } from "./call.js";
import { str } from "./decode.js";
import { streamProgress } from "./progress.js";
import { anyOf, filterBool, labelsMatch, parseFilters, queryBool } from "./query.js";
import { registryAuth } from "./registry-auth.js";
import { renderHistory, renderImage, renderImageRow } from "./render-image.js";
import { timeNanos } from "./time.js";
import type { Image, RegistryAuth } from "./types.js";

const authSchema = z.looseObject({ username: str, password: str, email: str, serveraddress: str, identitytoken: str });
const tarType = "application/x-tar";

export function addImageRoutes(router: Router, { engine }: Context): void {
  const { images } = engine;
  router.get("/images/json", list);
  router.post("/images/create", createImage);
  router.post("/images/load", (call) => streamProgress(call, (progress) => images.load(call.bodyStream, progress)));
  router.get("/images/get", async (call) => {
    const names = call.query.getAll("names").flatMap((n) => n.split(","));
    return call.reply.header("Content-Type", tarType).send(await images.save(names));
  });
  router.get("/images/search", () => refuse(500, "image search is not offered: this engine asks no central index"));
  router.get("/images/:name/json", async (call) => call.json(renderImage(await images.get(call.param("name")))));
  router.get("/images/:name/history", async (call) => call.json(renderHistory(await images.get(call.param("name")))));
  router.get("/images/:name/get", async (call) => {
    return call.reply.header("Content-Type", tarType).send(await images.save([call.param("name")]));
  });
  router.post("/images/:name/tag", async (call) => {
    const repo = call.query.get("repo") ?? "";
    if (repo === "") refuse(400, "repository name must have at least one component");
    await images.tag(call.param("name"), repo, call.query.get("tag") ?? "");
    return call.empty(201);
  });
  router.post("/images/:name/push", (call) => {
    const tag = call.query.get("tag");
    const auth = registryAuth(call.request.headers["x-registry-auth"]);
    const ref = tag ? `${call.param("name")}:${tag}` : call.param("name");
    return streamProgress(call, (progress) => images.push(ref, auth === undefined ? {} : { auth }, progress));
  });
  router.delete("/images/:name", async (call) => {
    const removed = await images.remove(call.param("name"), {
      force: queryBool(call.query, "force"),
      noPrune: queryBool(call.query, "noprune"),
      inUse: imagesInUse(engine),
    });
    return call.json(removed);
  });
  router.post("/images/prune", async (call) => {
    const filters = parseFilters(call.query.get("filters"), ["dangling", "label", "label!", "until"]);
    const all = filterBool(filters, "dangling") === false;
    const result = await images.prune({ all, inUse: new Set(imagesInUse(engine).keys()), filters });
    return call.json({
      ImagesDeleted: result.deleted.length === 0 ? null : result.deleted,
      SpaceReclaimed: result.spaceReclaimed,
    });
  });
  router.post("/auth", async (call) => {
    const body = await call.body(authSchema, "AuthConfig");
    const auth = Object.fromEntries(Object.entries(body).filter(([, v]) => typeof v === "string")) as RegistryAuth;
    return call.json(await images.login(auth));
  });
  router.get("/distribution/:name/json", () =>
    refuse(500, "the registry's own description of an image is not offered: pull the image and inspect it"),
  );
}

/** Image id → the container that holds it (for the text of the refusal). */
export function imagesInUse(engine: Engine): Map<string, string> {
  const out = new Map<string, string>();
  for (const c of engine.containers.list()) out.set(c.imageId, c.id);
  return out;
}

/** Pull (`fromImage`) or import (`fromSrc=-`: the body is the root file system). */
function createImage(call: Call): Promise<unknown> {
  const { query, engine } = call;
  const platform = query.get("platform") ?? "";
  const image = query.get("fromImage") ?? "";
  const tag = query.get("tag") ?? "";
  if (image !== "") {
    const auth = registryAuth(call.request.headers["x-registry-auth"]);
    const ref = tag === "" ? image : tag.includes(":") ? `${image}@${tag}` : `${image}:${tag}`;
    const options = { ...(auth !== undefined && { auth }), ...(platform !== "" && { platform }) };
    return streamProgress(call, (progress) => engine.images.pull(ref, options, progress));
  }
  const source = query.get("fromSrc") ?? "";
  if (source !== "-")
    refuse(
      source === "" ? 400 : 501,
      source === "" ? "invalid reference format" : "import from a URL is not offered: pipe the archive to docker import -",
    );
  const options = {
    repo: query.get("repo") ?? "",
    tag,
    changes: query
      .getAll("changes")
      .flatMap((c) => c.split("\n"))
      .filter((c) => c !== ""),
    message: query.get("message") ?? "",
    ...(platform !== "" && { platform }),
  };
  return streamProgress(call, (progress) => engine.images.import(call.bodyStream, options, progress));
}

async function list(call: Call): Promise<unknown> {
  const { engine, query } = call;
  const filters = parseFilters(query.get("filters"), ["before", "dangling", "label", "reference", "since", "until"]);
  // docker < 1.25 (and some clients still) name the repository in its own parameter.
  const old = query.get("filter");
  const images = await engine.images.list({ all: queryBool(query, "all") });
  const all = old ? { ...filters, reference: [old] } : filters;
  const test = await imageTest(engine, all);
  const used = new Map<string, number>();
  for (const c of engine.containers.list()) used.set(c.imageId, (used.get(c.imageId) ?? 0) + 1);
  const chosen = images
    .map((i) => onlyReferenced(i, all["reference"] ?? []))
    .filter(test)
    .sort((a, b) => (timeNanos(a.created) < timeNanos(b.created) ? 1 : -1));
  return call.json(chosen.map((i) => renderImageRow(i, used.get(i.id) ?? 0, !call.atLeast("1.43"))));
}

/** With `reference` filters a row has the names that match, as in Docker. */
function onlyReferenced(image: Image, references: readonly string[]): Image {
  if (references.length === 0) return image;
  const matches = (name: string) => references.some((v) => referenceMatches(v, name));
  return { ...image, repoTags: image.repoTags.filter(matches), repoDigests: image.repoDigests.filter(matches) };
}

async function imageTest(engine: Engine, filters: Filters): Promise<(image: Image) => boolean> {
  const dangling = filterBool(filters, "dangling");
  const created = async (name: "before" | "since") => {
    const ref = filters[name]?.[0];
    return ref === undefined ? undefined : timeNanos((await engine.images.get(ref)).created);
  };
  const before = await created("before");
  const since = await created("since");
  return (image) => {
    const at = timeNanos(image.created);
    if (dangling !== undefined && (image.repoTags.length === 0) !== dangling) return false;
    if (before !== undefined && at >= before) return false;
    if (since !== undefined && at <= since) return false;
    if (!labelsMatch(filters["label"], image.config.Labels ?? {})) return false;
    return anyOf(filters, "reference", (v) =>
      [...image.repoTags, ...image.repoDigests].some((name) => referenceMatches(v, name)),
    );
  };
}

/** Docker's path.Match on "repository" or "repository:tag": `*` does not cross a slash. */
function referenceMatches(pattern: string, tag: string): boolean {
  const short = pattern.replace(/^docker\.io\/(library\/)?/, "");
  const expression = new RegExp(
    `^${short
      .replace(/[.+^${}()|\\]/g, "\\$&")
      .replaceAll("*", "[^/]*")
      .replaceAll("?", "[^/]")}$`,
  );
  return expression.test(tag) || expression.test(tag.replace(/@.*$|:[^/:]*$/, ""));
}
