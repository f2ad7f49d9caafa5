import { type ExecFileException, execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { type ApiServer, createApiServer } from "../../src/api/index.js";
import type { Engine } from "../../src/engine/contract.js";

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

export interface Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly text: string;
  readonly json: unknown;
  readonly message: string | undefined;
}

/** One request with whatever body text is given. */
export function api(
  socket: string,
  method: string,
  path: string,
  body?: string,
  headers: Record<string, string> = { "Content-Type": "application/json" },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath: socket, method, path, headers, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (c: Buffer) => chunks.push(c));
      response.on("error", reject);
      response.on("end", () => {
        const text = Buffer.concat(chunks).toString("utf8");
        let json: unknown;
        try {
          json = JSON.parse(text);
        } catch {
          json = undefined;
        }
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text,
          json,
          message: (json as { message?: string } | undefined)?.message,
        });
      });
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export function run(
  program: string,
  args: readonly string[],
  options: { input?: string; env?: NodeJS.ProcessEnv; timeoutMs?: number } = {},
): Promise<Ran> {
  return new Promise((resolve) => {
    const child = execFile(
      program,
      [...args],
      {
        timeout: options.timeoutMs ?? 20_000,
        env: { ...process.env, DOCKER_CLI_HINTS: "false", DOCKER_BUILDKIT: "0", ...options.env },
      },
      (error: ExecFileException | null, stdout, stderr) =>
        resolve({ code: error === null ? 0 : typeof error.code === "number" ? error.code : 1, stdout, stderr }),
    );
    child.stdin?.end(options.input ?? "");
  });
}

/** The real docker CLI against the socket. */
export function docker(socket: string, ...args: string[]): Promise<Ran> {
  return run("docker", ["-H", `unix://${socket}`, ...args]);
}
