import { request } from "node:http";
import { DEFAULT_HOST } from "./default-host.js";

/** What the engine answered when it was no success; `message` is its own text. */
export class EngineError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** -H, else DOCKER_HOST, else the default socket. */
export function engineHost(flag: string | undefined): string {
  return flag ?? (process.env["DOCKER_HOST"] || DEFAULT_HOST);
}

/** One JSON exchange with the engine at `host`. */
export function call(host: string, method: string, path: string, body?: unknown): Promise<unknown> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        ...target(host),
        method,
        path,
        headers: text === undefined ? {} : { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const answer = Buffer.concat(chunks).toString("utf8");
          const status = response.statusCode ?? 0;
          if (status >= 400) return reject(new EngineError(status, messageOf(answer)));
          try {
            resolve(answer.trim() === "" ? undefined : JSON.parse(answer));
          } catch {
            reject(new Error(`${host} is no Linkspan engine: its answer is not JSON`));
          }
        });
      },
    );
    outgoing.on("error", (error: NodeJS.ErrnoException) =>
      reject(new Error(`Cannot connect to the engine at ${host}. Is it running? (${error.code ?? error.message})`)),
    );
    outgoing.end(text);
  });
}

function messageOf(answer: string): string {
  try {
    return String((JSON.parse(answer) as { message?: unknown }).message ?? answer);
  } catch {
    return answer.trim();
  }
}

function target(host: string): { socketPath: string } | { host: string; port: number } {
  if (host.startsWith("unix://")) return { socketPath: host.slice("unix://".length) };
  const m = /^(?:tcp|http):\/\/(?:\[([^\]]+)\]|([^:/]+)):([0-9]+)\/?$/.exec(host);
  if (m === null) throw new Error(`unable to parse host ${JSON.stringify(host)}: use unix:///path or tcp://address:port`);
  return { host: (m[1] ?? m[2])!, port: Number(m[3]) };
}
