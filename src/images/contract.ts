import type { Readable } from "node:stream";
import type { ContainerMount, ImageRuntimeConfig } from "../model/container.js";

export interface Image {
  /** "sha256:<64 hex>": digest of the config, Docker's image id */
  readonly id: string;
  /** "busybox:latest" (docker.io/library/ left out, as docker prints) */
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  readonly parent: string;
  readonly comment: string;
  readonly created: string;
  readonly author: string;
  readonly architecture: string;
  readonly os: string;
  readonly size: number;
  readonly config: ImageRuntimeConfig;
  readonly diffIds: readonly string[];
  readonly history: readonly {
    readonly created: string;
    readonly created_by: string;
    readonly comment?: string;
    readonly empty_layer?: boolean;
    readonly size?: number;
  }[];
}

export interface RegistryAuth {
  readonly username?: string;
  readonly password?: string;
  readonly serveraddress?: string;
  readonly identitytoken?: string;
}
/** One of Docker's JSON progress messages: {"status": …} {"stream": …} {"aux": …} {"errorDetail": …, "error": …} */
export type ProgressMessage = Readonly<Record<string, unknown>>;
export type Progress = (message: ProgressMessage) => void;

export interface BuildRequest {
  /** The context as a tar stream (maybe gzip), as the client sends it. */
  readonly context: Readable;
  readonly dockerfile: string;
  readonly tags: readonly string[];
  readonly buildArgs: Readonly<Record<string, string | null>>;
  readonly target: string;
  readonly noCache: boolean;
  readonly pull: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly networkMode: string;
  readonly extraHosts: readonly string[];
  readonly quiet: boolean;
  readonly remove: boolean;
  readonly auth: Readonly<Record<string, RegistryAuth>>;
  readonly platform: string;
  readonly memory: number;
  readonly shmSize: number;
  /** The client has gone: the build ends. */
  readonly signal?: AbortSignal;
}

/** A RUN of a build. */
export interface BuildStep {
  /** 64 hex digits: the container's id */
  readonly id: string;
  readonly command: readonly string[];
  /** User, working directory and environment, the build's arguments among it */
  readonly config: ImageRuntimeConfig;
  /** Directories of the layers, uppermost first */
  readonly layers: readonly string[];
  readonly mounts: readonly ContainerMount[];
  /** Bytes; 0: no limit, the usual size */
  readonly memory: number;
  readonly shmSize: number;
  readonly signal?: AbortSignal;
  onOutput(chunk: { readonly stream: "stdout" | "stderr"; readonly data: Buffer }): void;
}
/** Runs the RUN steps of one build, as containers of `run` are run. */
export interface BuildRunner {
  /** Resolves when the process has ended; `upper` holds what it wrote, until `forget`. */
  run(step: BuildStep): Promise<{ readonly exitCode: number; readonly upper: string }>;
  forget(stepId: string): Promise<void>;
  /** Leaves the network. */
  release(): Promise<void>;
}

/** `docker commit` of a container, whose writable layer is at `upperDir`. */
export interface CommitRequest {
  readonly upperDir: string;
  readonly imageId: string;
  readonly config: ImageRuntimeConfig;
  readonly repo: string;
  readonly tag: string;
  readonly comment: string;
  readonly author: string;
  readonly changes: readonly string[];
  readonly createdBy: string;
}

/** Images over containers/storage (root = <data-root>/storage). Names may be short ("busybox"), full, ids or id prefixes. */
export interface ImageStore {
  list(options?: { readonly all?: boolean }): Promise<readonly Image[]>;
  /** RefusalError 404 "No such image: nosuch:latest" */
  get(ref: string): Promise<Image>;
  find(ref: string): Promise<Image | undefined>;
  /** Directories of the layers, uppermost first. Fast: reads storage's own indexes, starts no program. */
  layers(imageId: string): Promise<readonly string[]>;
  import(
    source: Readable,
    options: {
      readonly repo: string;
      readonly tag: string;
      readonly changes: readonly string[];
      readonly message: string;
      readonly platform?: string;
    },
    progress: Progress,
  ): Promise<string>;
  load(source: Readable, progress: Progress): Promise<void>;
  save(refs: readonly string[]): Promise<Readable>;
  tag(ref: string, repo: string, tag: string): Promise<void>;
  /** Docker's list of {Untagged}/{Deleted}. `inUse`: image ids of containers → 409 unless force. */
  remove(
    ref: string,
    options: { readonly force: boolean; readonly noPrune: boolean; readonly inUse: ReadonlyMap<string, string> },
  ): Promise<readonly ({ Untagged: string } | { Deleted: string })[]>;
  prune(options: {
    readonly all: boolean;
    readonly inUse: ReadonlySet<string>;
    readonly filters: Readonly<Record<string, readonly string[]>>;
  }): Promise<{ readonly deleted: readonly ({ Untagged: string } | { Deleted: string })[]; readonly spaceReclaimed: number }>;
  pull(ref: string, options: { readonly auth?: RegistryAuth; readonly platform?: string }, progress: Progress): Promise<void>;
  push(ref: string, options: { readonly auth?: RegistryAuth }, progress: Progress): Promise<void>;
  /** Checks credentials: "Login Succeeded" or RefusalError 401/500. */
  login(auth: RegistryAuth): Promise<{ readonly Status: string; readonly IdentityToken: string }>;
  commit(request: CommitRequest): Promise<string>;
  /** Builds; resolves to the image id. `open(mode)` joins the network for the RUN steps; called when the first of them must run. */
  build(request: BuildRequest, progress: Progress, open: (mode: string) => Promise<BuildRunner>): Promise<string>;
  /** Forgets the steps of builds; the images that came out of them stay. `inUse`: image ids of containers. Resolves to bytes freed. */
  buildCachePrune(inUse?: ReadonlySet<string>): Promise<number>;
  /** Makes `busybox` from the host's static busybox, if there is no image of that name. */
  ensureBuiltin(): Promise<void>;
  onChange(
    listener: (change: {
      readonly action: "pull" | "push" | "import" | "load" | "save" | "tag" | "untag" | "delete" | "build";
      readonly id: string;
      readonly name: string;
    }) => void,
  ): void;
  close(): Promise<void>;
}
