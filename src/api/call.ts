import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply, FastifyRequest, HTTPMethods } from "fastify";
import type { z } from "zod";
import { refuse } from "../base/errors.js";
import type { Engine } from "../engine/contract.js";
import { decode } from "./decode.js";
import type { ApiOptions } from "./types.js";
import { API_VERSION, compareVersions } from "./version.js";

/** No JSON body of Docker's API is larger; tar archives are streams and have no limit here. */
const BODY_LIMIT_BYTES = 16 * 1024 * 1024;

/** What came with `Upgrade: tcp`: the socket is the client's and ours from here on. */
export interface Upgraded {
  readonly socket: Socket;
  /** The body of the request (Content-Length bytes); Node hands it over unparsed. */
  readonly body: Buffer;
}

/** What the server knows of a request besides what Node parsed. */
export interface RequestExtra {
  /** The version prefix of the path, if any: "1.41" */
  readonly version: string | undefined;
  readonly query: URLSearchParams;
  readonly upgraded?: Upgraded;
}
const extras = new WeakMap<IncomingMessage, RequestExtra>();
export function setExtra(request: IncomingMessage, extra: RequestExtra): void {
  extras.set(request, extra);
}
export function extraOf(request: IncomingMessage): RequestExtra {
  return extras.get(request) ?? { version: undefined, query: new URLSearchParams() };
}

export interface Context {
  readonly engine: Engine;
  readonly options: ApiOptions;
  /** Sockets and responses that live longer than a request: closed with the server. */
  readonly open: Set<{ destroy(): unknown }>;
}

/** One request and its answer. */
export class Call {
  readonly engine: Engine;
  readonly context: Context;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly query: URLSearchParams;
  /** Undefined: no prefix; the newest version is meant. */
  readonly version: string | undefined;
  readonly upgraded: Upgraded | undefined;

  constructor(context: Context, request: FastifyRequest, reply: FastifyReply) {
    const extra = extraOf(request.raw);
    this.engine = context.engine;
    this.context = context;
    this.request = request;
    this.reply = reply;
    this.query = extra.query;
    this.version = extra.version;
    this.upgraded = extra.upgraded;
  }

  param(name: string): string {
    return (this.request.params as Record<string, string>)[name] ?? "";
  }

  /** The client speaks this version or a newer one. */
  atLeast(version: string): boolean {
    return compareVersions(this.version ?? API_VERSION, version) >= 0;
  }

  get response(): ServerResponse {
    return this.reply.raw;
  }

  get bodyStream(): Readable {
    return this.request.raw;
  }

  /** The whole body as text. */
  async text(): Promise<string> {
    if (this.upgraded !== undefined) return this.upgraded.body.toString("utf8");
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of this.request.raw) {
      size += (chunk as Buffer).length;
      if (size > BODY_LIMIT_BYTES) refuse(413, "http: request body too large");
      chunks.push(chunk as Buffer);
    }
    return Buffer.concat(chunks).toString("utf8");
  }

  /** The JSON body by `schema`; errors in Go's words. */
  async body<T extends z.ZodType>(schema: T, struct: string): Promise<z.output<T>> {
    this.checkContentType();
    return decode(schema, struct, await this.text());
  }

  /** As `body`, but an absent body is an empty object. */
  async optionalBody<T extends z.ZodType>(schema: T, struct: string): Promise<z.output<T>> {
    const text = await this.text();
    if (text.trim() === "") return decode(schema, struct, "{}");
    this.checkContentType();
    return decode(schema, struct, text);
  }

  /** A form or plain text posted by a web page must not reach the engine; no header at all is taken for JSON. */
  private checkContentType(): void {
    const type = this.request.headers["content-type"];
    if (type === undefined || type === "" || /^application\/json\s*(;|$)/i.test(type)) return;
    refuse(400, `Content-Type specified (${type}) must be 'application/json'`);
  }

  json(value: unknown, status = 200): FastifyReply {
    return this.jsonText(JSON.stringify(value), status);
  }

  jsonText(text: string, status = 200): FastifyReply {
    return this.reply
      .code(status)
      .header("Content-Type", "application/json")
      .send(Buffer.from(`${text}\n`));
  }

  empty(status = 204): FastifyReply {
    return this.reply.code(status).send();
  }

  /** Takes the response out of fastify's hands, with headers sent at once. The caller writes and ends it. */
  openStream(contentType: string, status = 200): ServerResponse {
    const raw = this.reply.raw;
    const headers = this.reply.getHeaders();
    this.reply.hijack();
    raw.writeHead(status, { ...headers, "Content-Type": contentType } as Record<string, string>);
    raw.flushHeaders();
    this.track(raw);
    return raw;
  }

  /** Ends with the server: long answers must not hold it up. */
  track(thing: { destroy(): unknown; once(event: "close", listener: () => void): unknown }): void {
    this.context.open.add(thing);
    thing.once("close", () => this.context.open.delete(thing));
  }
}

export type Handler = (call: Call) => Promise<unknown> | unknown;

export interface Router {
  get(path: string, handler: Handler): void;
  head(path: string, handler: Handler): void;
  post(path: string, handler: Handler): void;
  put(path: string, handler: Handler): void;
  delete(path: string, handler: Handler): void;
}

export function routerOf(app: FastifyInstance, context: Context): Router {
  const add = (method: HTTPMethods) => (path: string, handler: Handler) => {
    app.route({ method, url: path, handler: async (request, reply) => handler(new Call(context, request, reply)) });
  };
  return { get: add("GET"), head: add("HEAD"), post: add("POST"), put: add("PUT"), delete: add("DELETE") };
}
