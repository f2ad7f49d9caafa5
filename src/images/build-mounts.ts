import { createHash } from "node:crypto";
import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { refuse } from "../base/errors.js";
import type { ContainerMount } from "../model/container.js";
import { withRooted } from "./rooted.js";

export interface RunMountRequest {
  readonly type: "bind" | "cache" | "tmpfs";
  readonly target: string;
  readonly source: string;
  /** A stage or image; "" is the context (bind) or nothing (cache) */
  readonly from: string;
  readonly id: string;
  readonly writable: boolean;
  readonly mode: number;
}

/** The flags of a RUN. `--mount` of three types is offered; what else BuildKit offers is refused in Docker's words, 400. */
export function parseRunFlags(flags: readonly string[], workingDir: string): readonly RunMountRequest[] {
  return flags.map((flag) => {
    const [, name = "", value = ""] = /^--([a-z-]+)(?:=(.*))?$/.exec(flag) ?? [];
    const fields = new Map(
      value.split(",").map((field): [string, string] => {
        const equal = field.indexOf("=");
        return equal < 0 ? [field, "true"] : [field.slice(0, equal), field.slice(equal + 1)];
      }),
    );
    const type = fields.get("type") ?? "bind";
    if (name !== "mount" || (type !== "bind" && type !== "cache" && type !== "tmpfs"))
      return refuse(
        400,
        `the --${name} option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled`,
      );
    const target = fields.get("target") ?? fields.get("dst") ?? fields.get("destination") ?? "";
    if (target === "") refuse(400, `mount needs a target: ${flag}`);
    const absolute = target.startsWith("/") ? target : `${workingDir.replace(/\/$/, "")}/${target}`;
    return {
      type,
      target: absolute,
      source: fields.get("source") ?? fields.get("src") ?? "/",
      from: fields.get("from") ?? "",
      id: fields.get("id") ?? absolute,
      writable: type === "bind" ? ["rw", "readwrite"].some((key) => fields.get(key) === "true") : fields.get("ro") !== "true",
      mode: Number.parseInt(fields.get("mode") ?? "755", 8),
    };
  });
}

/** The mounts of one RUN. `caches`: where caches live on; `rootOf` gives the directory of the context, a stage or an image. */
export async function mountsOf(
  requests: readonly RunMountRequest[],
  caches: string,
  rootOf: (from: string) => Promise<string>,
): Promise<ContainerMount[]> {
  const out: ContainerMount[] = [];
  for (const request of requests) {
    const mount = { Destination: request.target, Mode: "", RW: request.writable, Propagation: "rprivate" };
    if (request.type === "tmpfs") out.push({ ...mount, Type: "tmpfs", Source: "", RW: true });
    else if (request.type === "cache") {
      const directory = join(caches, createHash("sha256").update(request.id).digest("hex").slice(0, 32));
      if ((await stat(directory).catch(() => undefined)) === undefined)
        await mkdir(directory, { recursive: true, mode: request.mode });
      out.push({ ...mount, Type: "bind", Source: directory });
    } else {
      const root = await rootOf(request.from);
      const path = await withRooted(root, request.source, { follow: true }, async (rooted) => rooted.path).catch(() =>
        refuse(400, `failed to find the source of a mount: ${request.source}`),
      );
      out.push({ ...mount, Type: "bind", Source: join(root, path), RW: false });
    }
  }
  return out;
}
