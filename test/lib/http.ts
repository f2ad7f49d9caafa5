import { request } from "node:http";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  /** The body as JSON, undefined when it is not JSON */
  readonly json: unknown;
  /** Docker's error message, "" when there is none */
  readonly message: string;
}

interface RequestOptions {
  readonly timeoutMs?: number;
  /** Instead of those that a JSON body has */
  readonly headers?: Readonly<Record<string, string>>;
}

/** One HTTP request over a unix socket. A string body is sent as it is (so that it may be malformed), anything else as JSON. */
export function requestUnix(
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
  { timeoutMs = 60_000, headers }: RequestOptions = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const payload = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
    const usual =
      payload === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(payload) };
    const outgoing = request(
      { socketPath, method, path, headers: headers ?? usual, agent: false, timeout: timeoutMs },
      (incoming) => {
        let text = "";
        incoming.setEncoding("utf8");
        incoming.on("data", (chunk: string) => {
          text += chunk;
        });
        incoming.on("error", reject);
        incoming.on("end", () => {
          const json = parse(text);
          resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text, json, message: messageOf(json) });
        });
      },
    );
    outgoing.on("timeout", () => outgoing.destroy(new Error(`${method} ${path}: no answer within ${timeoutMs} ms`)));
    outgoing.on("error", reject);
    outgoing.end(payload);
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function messageOf(json: unknown): string {
  if (typeof json !== "object" || json === null || !("message" in json)) return "";
  return typeof json.message === "string" ? json.message : "";
}
