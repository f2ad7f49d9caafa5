import type { ContainerService, Engine } from "../engine/contract.js";

/** Types of the engine's contract that it takes from folders which the API does not import. */
export type AttachSession = Awaited<ReturnType<ContainerService["attach"]>>;
export type OutputChunk = Parameters<Parameters<AttachSession["onOutput"]>[0]>[0];
export type ExecRequest = Parameters<ContainerService["execCreate"]>[1];
export type ExecStatus = ReturnType<ContainerService["execInspect"]>;
export type LogOptions = Parameters<ContainerService["logs"]>[1];
export type Image = Awaited<ReturnType<Engine["images"]["get"]>>;
export type BuildRequest = Parameters<Engine["build"]>[0];
export type Progress = Parameters<Engine["build"]>[1];
export type RegistryAuth = Parameters<Engine["images"]["login"]>[0];

export interface ApiOptions {
  /** Called for failures that are nobody's bad request (status 500) and for each request at level debug. */
  readonly log?: {
    debug(message: string, fields?: Record<string, unknown>): void;
    info(message: string, fields?: Record<string, unknown>): void;
    error(message: string, fields?: Record<string, unknown>): void;
  };
  /** DNS options, registry mirrors and the like that only `GET /info` shows. */
  readonly insecureRegistries?: readonly string[];
  readonly liveRestore?: boolean;
  readonly debug?: boolean;
}
