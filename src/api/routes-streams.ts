import { refuse } from "../base/errors.js";
import type { WaitCondition } from "../engine/contract.js";
import type { Container } from "../model/container.js";
import type { Call, Context, Router } from "./call.js";
import { parseDetachKeys } from "./detach-keys.js";
import { streamType } from "./frames.js";
import { pump, takeConnection, writeChunk } from "./hijack.js";
import { queryBool } from "./query.js";
import { streamStats } from "./stats.js";
import { parseTimeArgument } from "./time.js";
import type { AttachSession, LogOptions, OutputChunk } from "./types.js";

/** What lasts as long as a container does: attach, logs, wait, stats, export. */
export function addStreamRoutes(router: Router, { engine }: Context): void {
  const { containers } = engine;
  router.post("/containers/:id/attach", attach);
  router.get("/containers/:id/logs", logs);
  router.post("/containers/:id/wait", wait);
  router.get("/containers/:id/stats", streamStats);
  router.get("/containers/:id/export", async (call) => {
    const tar = await containers.export(call.param("id"));
    return call.reply.header("Content-Type", "application/octet-stream").send(tar);
  });
}

async function attach(call: Call): Promise<unknown> {
  const { engine, query } = call;
  const container = engine.containers.resolve(call.param("id"));
  const tty = container.config.Tty;
  const detachKeys = parseDetachKeys(query.get("detachKeys"));
  if (container.state.status === "paused")
    refuse(409, `Container ${call.param("id")} is paused, unpause the container before attach`);
  if (container.state.status === "restarting")
    refuse(409, `Container ${call.param("id")} is restarting, wait until the container is running`);
  const stdin = queryBool(query, "stdin") && container.config.OpenStdin;
  const stdout = queryBool(query, "stdout");
  const stderr = queryBool(query, "stderr");
  const stream = queryBool(query, "stream");
  // What was written before comes first: the session is opened before the log is read, its output is held back meanwhile.
  const session = stream ? holdBack(await engine.containers.attach(container.id, { stdin })) : undefined;
  const connection = takeConnection(call, tty);
  if (queryBool(query, "logs")) {
    const options: LogOptions = { stdout, stderr, follow: false, timestamps: false };
    try {
      for await (const chunk of engine.containers.logs(container.id, options)) writeChunk(connection.output, chunk, tty);
    } catch (error) {
      writeChunk(connection.output, logFailure(error), tty);
    }
  }
  if (session === undefined) {
    connection.finish();
    return call.reply;
  }
  pump(session, connection, {
    tty,
    stdin,
    stdout,
    stderr,
    closeStdin: container.config.StdinOnce && !tty,
    ...(tty && { detachKeys }),
  });
  return call.reply;
}

const logFailure = (error: unknown): OutputChunk => ({
  stream: "stderr",
  data: Buffer.from(`Error grabbing logs: ${(error as Error).message}\n`),
});

/** The same session; output that comes before somebody listens is kept. */
function holdBack(session: AttachSession): AttachSession {
  const held: OutputChunk[] = [];
  let sink = (chunk: OutputChunk): void => void held.push(chunk);
  session.onOutput((chunk) => sink(chunk));
  return {
    onOutput(listener) {
      for (const chunk of held.splice(0)) listener(chunk);
      sink = listener;
    },
    write: (data) => session.write(data),
    endInput: () => session.endInput(),
    ended: session.ended,
    pause: () => session.pause?.(),
    resume: () => session.resume?.(),
    close: () => session.close(),
  };
}

async function logs(call: Call): Promise<unknown> {
  const { engine, query } = call;
  const container = engine.containers.resolve(call.param("id"));
  const stdout = queryBool(query, "stdout");
  const stderr = queryBool(query, "stderr");
  if (!stdout && !stderr) refuse(400, "Bad parameters: you must choose at least one stream");
  if (container.hostConfig.LogConfig.Type === "none") refuse(501, "configured logging driver does not support reading");
  const since = seconds(query, "since");
  const until = seconds(query, "until");
  const tail = query.get("tail");
  const options: LogOptions = {
    stdout,
    stderr,
    follow: queryBool(query, "follow"),
    timestamps: queryBool(query, "timestamps"),
    ...(tail !== null && /^[0-9]+$/.test(tail) && { tail: Number(tail) }),
    ...(since !== undefined && { since }),
    ...(until !== undefined && { until }),
  };
  const chunks = engine.containers.logs(container.id, options)[Symbol.asyncIterator]();
  const response = call.openStream(streamType(container.config.Tty, call.version !== undefined && call.atLeast("1.42")));
  response.on("close", () => void chunks.return?.());
  await writeLogs(call, container, chunks);
  response.end();
  return call.reply;
}

async function writeLogs(call: Call, container: Container, chunks: AsyncIterator<OutputChunk>): Promise<void> {
  const response = call.response;
  const tty = container.config.Tty;
  try {
    for (;;) {
      const next = await chunks.next();
      if (next.done === true || response.destroyed) return;
      if (!writeChunk(response, next.value, tty)) await drained(response);
    }
  } catch (error) {
    // The status is sent already: Docker reports late failures in the stream too.
    writeChunk(response, logFailure(error), tty);
  }
}

/** Resolves when the client has taken what was written, or has gone. */
export function drained(response: NodeJS.WritableStream & { readonly destroyed?: boolean }): Promise<void> {
  return new Promise((resolve) => {
    if (response.destroyed === true) return resolve();
    const done = () => {
      response.removeListener("drain", done);
      response.removeListener("close", done);
      resolve();
    };
    response.once("drain", done);
    response.once("close", done);
  });
}

function seconds(query: URLSearchParams, name: string): number | undefined {
  const nanos = parseTimeArgument(query.get(name));
  return nanos === undefined ? undefined : Number(nanos) / 1e9;
}

const conditions: readonly WaitCondition[] = ["not-running", "next-exit", "removed"];

/** Headers at once (the client starts the container when it has them), the exit code when there is one. */
async function wait(call: Call): Promise<unknown> {
  const condition = call.query.get("condition") || "not-running";
  if (!conditions.includes(condition as WaitCondition)) refuse(400, `invalid condition: ${JSON.stringify(condition)}`);
  const { result } = call.engine.containers.wait(call.param("id"), condition as WaitCondition);
  result.catch(() => undefined);
  const response = call.openStream("application/json");
  try {
    const exit = await result;
    response.end(`${JSON.stringify({ Error: exit.Error ?? null, StatusCode: exit.StatusCode })}\n`);
  } catch (error) {
    response.end(`${JSON.stringify({ Error: { Message: (error as Error).message }, StatusCode: -1 })}\n`);
  }
  return call.reply;
}
