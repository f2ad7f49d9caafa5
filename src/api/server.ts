import { createServer, type IncomingMessage, type Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import Fastify, { type FastifyInstance } from "fastify";
import { RefusalError } from "../base/errors.js";
import type { Engine } from "../engine/contract.js";
import { type Context, extraOf, routerOf, setExtra } from "./call.js";
import { bindServer } from "./listen.js";
import { addRoutes } from "./routes.js";
import type { ApiOptions } from "./types.js";
import { splitUrl } from "./urls.js";
import { API_VERSION, versionRefusal } from "./version.js";

export interface ApiServer {
  /** unix:///path or tcp://address:port, as dockerd's -H. Rejects when one of them cannot be bound. */
  listen(hosts: readonly string[]): Promise<void>;
  /** Ends all streams and sockets. */
  close(): Promise<void>;
}

/** The Docker Engine API over an engine. Nothing is served before `listen`. */
export function createApiServer(engine: Engine, options: ApiOptions = {}): ApiServer {
  const context: Context = { engine, options, open: new Set() };
  const app = createApp(context);
  const servers: Server[] = [];
  let closing = false;
  return {
    async listen(hosts) {
      await app.ready();
      for (const host of hosts) {
        const server = createHttpServer(app, context);
        await bindServer(server, host);
        servers.push(server);
        options.log?.info("API listen on", { address: host });
      }
    },
    async close() {
      if (closing) return;
      closing = true;
      const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
      for (const thing of context.open) thing.destroy();
      for (const server of servers) server.closeAllConnections();
      await Promise.all(closed);
      await app.close();
    },
  };
}

function createApp(context: Context): FastifyInstance {
  const { engine, options } = context;
  const app = Fastify({
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 8192 },
    serverFactory: (handler) => createServer(handler),
  });
  // Bodies are read by the handlers: some are JSON in Go's reading, some are archives without an end in sight.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, _payload, done) => done(null));
  app.addHook("onRequest", async (request, reply) => {
    reply.headers({
      "Api-Version": API_VERSION,
      "Docker-Experimental": "false",
      Ostype: "linux",
      Server: `Linkspan/${engine.settings.version} (linux)`,
    });
    const { version } = extraOf(request.raw);
    const refused = version === undefined ? undefined : versionRefusal(version);
    if (refused !== undefined) return reply.code(400).header("Content-Type", "application/json").send(messageBody(refused));
    if (crossOrigin(request.headers.origin, request.headers.host))
      return reply.code(403).header("Content-Type", "application/json").send(messageBody("cross-origin requests are refused"));
    options.log?.debug("request", { method: request.method, url: request.raw.url });
  });
  app.setNotFoundHandler((_request, reply) =>
    reply.code(404).header("Content-Type", "application/json").send(messageBody("page not found")),
  );
  app.setErrorHandler((error: Error & { statusCode?: number }, request, reply) => {
    const status = error instanceof RefusalError ? error.status : (error.statusCode ?? 500);
    if (status >= 500)
      options.log?.error("request failed", {
        method: request.method,
        url: request.raw.url,
        status,
        error: error.message,
        ...(error instanceof RefusalError ? {} : { stack: error.stack }),
      });
    if (reply.raw.headersSent) {
      reply.raw.destroy();
      return;
    }
    return reply.code(status).header("Content-Type", "application/json").send(messageBody(error.message));
  });
  addRoutes(routerOf(app, context), context);
  return app;
}

/** A web page of another origin: over tcp:// its simple requests (POST without a body, DELETE) would be obeyed otherwise. */
function crossOrigin(origin: string | undefined, host: string | undefined): boolean {
  return origin !== undefined && origin !== `http://${host ?? ""}`;
}

/** Bytes, not text: to text Fastify adds "; charset=utf-8", and then the docker CLI prints the JSON instead of reading it. */
const messageBody = (message: string): Buffer => Buffer.from(`${JSON.stringify({ message })}\n`);

function createHttpServer(app: FastifyInstance, context: Context): Server {
  const handle = (request: IncomingMessage, response: ServerResponse, upgraded?: { socket: Socket; body: Buffer }) => {
    const split = splitUrl(request.url ?? "/");
    setExtra(request, { version: split.version, query: split.query, ...(upgraded && { upgraded }) });
    request.url = split.path;
    app.routing(request, response);
  };
  // Uploads and attached terminals last as long as they last.
  const server = createServer({ requestTimeout: 0, keepAliveTimeout: 0, noDelay: true }, handle);
  server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    socket.setTimeout(0);
    socket.on("error", () => socket.destroy());
    const tracked = { destroy: () => socket.destroy() };
    context.open.add(tracked);
    socket.once("close", () => context.open.delete(tracked));
    void readUpgradedBody(request, socket, head).then((body) => {
      if (body === undefined) return void socket.destroy();
      // Fastify sees an ordinary request without a body; the handler finds the socket in the request's extras.
      for (const name of ["content-length", "transfer-encoding"]) delete request.headers[name];
      const response = new ServerResponse(request);
      response.shouldKeepAlive = false;
      response.assignSocket(socket);
      response.once("finish", () => {
        response.detachSocket(socket);
        socket.end();
      });
      handle(request, response, { socket, body });
    });
  });
  server.on("clientError", (error: Error & { code?: string }, socket: Socket) => {
    if (error.code === "ECONNRESET" || !socket.writable) return void socket.destroy();
    socket.end("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n400 Bad Request");
  });
  return server;
}

/**
 * Node stops parsing behind the headers of an upgrade: the body that Docker's clients send with it (exec start's JSON) is
 * read here by its Content-Length, what follows goes back to the socket. Undefined: the client went away.
 */
async function readUpgradedBody(request: IncomingMessage, socket: Socket, head: Buffer): Promise<Buffer | undefined> {
  const length = Number(request.headers["content-length"] ?? 0);
  let data = head;
  if (!Number.isSafeInteger(length) || length < 0 || length > 16 * 1024 * 1024) return undefined;
  while (data.length < length) {
    const chunk = await new Promise<Buffer | undefined>((resolve) => {
      const onData = (c: Buffer) => done(c);
      const onEnd = () => done(undefined);
      const done = (c: Buffer | undefined) => {
        socket.pause();
        socket.off("data", onData).off("end", onEnd).off("close", onEnd);
        resolve(c);
      };
      socket.on("data", onData).on("end", onEnd).on("close", onEnd);
      socket.resume();
    });
    if (chunk === undefined) return undefined;
    data = Buffer.concat([data, chunk]);
  }
  let rest = data.subarray(length);
  // A chunked request without a body: only its end mark may be here already.
  if (/chunked/i.test(request.headers["transfer-encoding"] ?? "") && rest.subarray(0, 5).toString("latin1") === "0\r\n\r\n")
    rest = rest.subarray(5);
  if (rest.length > 0) socket.unshift(rest);
  return data.subarray(0, length);
}
