import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type ApiServer, createApiServer } from "../../src/api/index.js";
import type { Engine } from "../../src/engine/contract.js";
import { type Answer, requestUnix } from "../lib/http.js";
import { type RunOptions, run as runWhole, type Ran as Whole } from "../lib/run.js";

export interface Served {
  readonly server: ApiServer;
  readonly socket: string;
  close(): Promise<void>;
}

/** An API server on a socket in a directory of its own. */
export async function serve(engine: Engine): Promise<Served> {
  const dir = mkdtempSync("/tmp/lst-api-");
  const socket = join(dir, "d.sock");
  const server = createApiServer(engine);
  await server.listen([`unix://${socket}`]);
  return {
    server,
    socket,
    async close() {
      await server.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** One request with whatever body text is given. */
export function api(
  socket: string,
  method: string,
  path: string,
  body?: string,
  headers: Record<string, string> = { "Content-Type": "application/json" },
): Promise<Answer> {
  return requestUnix(socket, method, path, body, { headers });
}

export type Ran = Pick<Whole, "code" | "stdout" | "stderr">;

export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const env = { DOCKER_CLI_HINTS: "false", DOCKER_BUILDKIT: "0", ...options.env };
  const { code, stdout, stderr } = await runWhole(program, args, { timeoutMs: 20_000, ...options, env });
  return { code, stdout, stderr };
}

/** The parts of `docker inspect` of a container whose keys must be real Docker's. */
export const INSPECT_PARTS = [
  [],
  ["State"],
  ["HostConfig"],
  ["Config"],
  ["NetworkSettings"],
  ["NetworkSettings", "Networks", "bridge"],
];

/** The keys of a part of an object, in their order. */
export function keysOf(object: unknown, ...path: string[]): string[] {
  return Object.keys(path.reduce((part, key) => (part as Record<string, unknown>)[key], object) as object);
}

/** The real docker CLI against the socket. */
export function docker(socket: string, ...args: string[]): Promise<Ran> {
  return run("docker", ["-H", `unix://${socket}`, ...args]);
}
