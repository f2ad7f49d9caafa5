import type { Readable } from "node:stream";
import { refuse } from "../base/errors.js";
import { changes, dirSize, encodePathStat, exportTar, getArchive, putArchive, statPath } from "../images/index.js";
import type { Container, ContainerConfig, ImageRuntimeConfig } from "../model/index.js";
import { containerEvent } from "./container-events.js";
import type { EngineContext } from "./context.js";
import type { ContainerService } from "./contract.js";
import { isRunning, resolveContainer } from "./resolve.js";

type Archives = Pick<ContainerService, "changes" | "export" | "archiveGet" | "archiveStat" | "archivePut" | "commit" | "size">;

/** cp, diff, export, commit: what reads and writes a container's files from outside. */
export function createArchives(ctx: EngineContext, pausing: Pick<ContainerService, "pause" | "unpause">): Archives {
  const layersOf = (c: Container) => ctx.images.layers(c.imageId);

  /** The root of a running container as its own processes see it, volumes included; else its root file system, mounted. */
  async function withRoot<T>(c: Container, use: (root: string) => Promise<T>): Promise<T> {
    if (isRunning(c)) return use(`/proc/${c.state.pid}/root`);
    return ctx.runtime.withRootfs(c.id, await layersOf(c), use);
  }

  /** For what goes on being read after the call: the mount stays until the stream has ended. */
  async function streamFromRoot(
    c: Container,
    open: (root: string) => Promise<Readable>,
    mountAlways: boolean,
  ): Promise<Readable> {
    if (isRunning(c) && !mountAlways) return open(`/proc/${c.state.pid}/root`);
    const layers = await layersOf(c);
    return new Promise<Readable>((resolve, reject) => {
      ctx.runtime
        .withRootfs(c.id, layers, async (root) => {
          const stream = await open(root);
          const ended = new Promise<void>((done) => {
            stream.once("close", done);
            stream.once("error", () => done());
          });
          resolve(stream);
          await ended;
        })
        .catch(reject);
    });
  }

  return {
    async changes(ref) {
      const c = resolveContainer(ctx.state, ref);
      return changes(ctx.runtime.upperDir(c.id), await layersOf(c));
    },
    async export(ref) {
      const c = resolveContainer(ctx.state, ref);
      // Only the root file system: what is mounted into it is not the container's.
      const stream = await streamFromRoot(c, exportTar, true);
      containerEvent(ctx, c, "export");
      return stream;
    },
    async archiveGet(ref, path) {
      const c = resolveContainer(ctx.state, ref);
      const stat = await withRoot(c, (root) => statPath(root, path, c.id));
      const tar = await streamFromRoot(c, (root) => getArchive(root, path, c.id), false);
      containerEvent(ctx, c, "archive-path");
      return { stat: encodePathStat(stat), tar };
    },
    async archiveStat(ref, path) {
      const c = resolveContainer(ctx.state, ref);
      return encodePathStat(await withRoot(c, (root) => statPath(root, path, c.id)));
    },
    async archivePut(ref, path, tar, options) {
      const c = resolveContainer(ctx.state, ref);
      if (c.hostConfig.ReadonlyRootfs) refuse(403, "container rootfs is marked read-only");
      await withRoot(c, (root) => putArchive(root, path, tar, { ...options, container: c.id }));
      containerEvent(ctx, c, "extract-to-dir");
    },
    async commit(ref, options) {
      const c = resolveContainer(ctx.state, ref);
      const hold = options.pause && c.state.status === "running";
      if (hold) await pausing.pause(c.id);
      try {
        const id = await ctx.images.commit({
          upperDir: ctx.runtime.upperDir(c.id),
          imageId: c.imageId,
          config: imageConfigOf({ ...c.config, ...(options.config ?? {}) }),
          repo: options.repo,
          tag: options.tag,
          comment: options.comment,
          author: options.author,
          changes: options.changes,
          createdBy: [c.path, ...c.args].join(" "),
        });
        containerEvent(ctx, c, "commit", { comment: options.comment });
        return id;
      } finally {
        if (hold) await pausing.unpause(c.id).catch(() => undefined);
      }
    },
    async size(ref) {
      const c = resolveContainer(ctx.state, ref);
      const [rw, image] = await Promise.all([dirSize(ctx.runtime.upperDir(c.id)), ctx.images.find(c.imageId)]);
      return { rw, rootFs: rw + (image?.size ?? 0) };
    },
  };
}

function imageConfigOf(config: ContainerConfig): ImageRuntimeConfig {
  return {
    Env: config.Env ?? [],
    Cmd: config.Cmd ?? [],
    ...(config.Entrypoint === null ? {} : { Entrypoint: config.Entrypoint }),
    WorkingDir: config.WorkingDir,
    User: config.User,
    ...(config.Volumes === null ? {} : { Volumes: config.Volumes }),
    ...(config.ExposedPorts === undefined ? {} : { ExposedPorts: config.ExposedPorts }),
    Labels: config.Labels,
    ...(config.StopSignal === undefined ? {} : { StopSignal: config.StopSignal }),
    ...(config.Healthcheck === undefined ? {} : { Healthcheck: config.Healthcheck }),
    ...(config.Shell === undefined ? {} : { Shell: config.Shell }),
  };
}
