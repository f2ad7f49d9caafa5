import { refuse } from "../base/errors.js";
import type { Call, Context, Router } from "./call.js";
import { parseDetachKeys } from "./detach-keys.js";
import { pump, takeConnection } from "./hijack.js";
import { sizeOf } from "./routes-containers.js";
import { execCreateSchema, execStartSchema } from "./schema-container.js";
import type { ExecStatus } from "./types.js";

export function addExecRoutes(router: Router, { engine }: Context): void {
  const { containers } = engine;
  router.post("/containers/:id/exec", async (call) => {
    const body = await call.body(execCreateSchema, "ExecConfig");
    const cmd = body.Cmd ?? [];
    if (cmd.length === 0) refuse(400, "No exec command specified");
    if (body.DetachKeys) parseDetachKeys(body.DetachKeys);
    for (const env of body.Env ?? []) if (env === "" || env.startsWith("=")) refuse(400, `invalid environment variable: ${env}`);
    const id = await containers.execCreate(call.param("id"), {
      cmd,
      env: body.Env ?? [],
      workingDir: body.WorkingDir ?? "",
      user: body.User ?? "",
      tty: body.Tty ?? false,
      attachStdin: body.AttachStdin ?? false,
      attachStdout: body.AttachStdout ?? false,
      attachStderr: body.AttachStderr ?? false,
      privileged: body.Privileged ?? false,
      ...(body.DetachKeys && { detachKeys: body.DetachKeys }),
    });
    return call.json({ Id: id }, 201);
  });
  router.post("/exec/:id/start", start);
  router.post("/exec/:id/resize", async (call) => {
    const [h, w] = sizeOf(call);
    await containers.execResize(call.param("id"), h, w);
    return call.empty(200);
  });
  router.get("/exec/:id/json", (call) => call.json(renderExec(containers.execInspect(call.param("id")))));
}

async function start(call: Call): Promise<unknown> {
  const { containers } = call.engine;
  const body = await call.optionalBody(execStartSchema, "ExecStartCheck");
  const id = call.param("id");
  const { request } = containers.execInspect(id);
  const detach = body.Detach ?? false;
  const session = await containers.execStart(id, { detach, tty: request.tty });
  if (detach || session === undefined) return call.empty(200);
  const connection = takeConnection(call, request.tty);
  pump(session, connection, {
    tty: request.tty,
    stdin: request.attachStdin,
    stdout: request.attachStdout,
    stderr: request.attachStderr,
    closeStdin: !request.tty,
    ...(request.tty && { detachKeys: parseDetachKeys(request.detachKeys) }),
  });
  return call.reply;
}

function renderExec(exec: ExecStatus): object {
  const { request } = exec;
  return {
    ID: exec.id,
    Running: exec.running,
    ExitCode: exec.exitCode,
    ProcessConfig: {
      tty: request.tty,
      entrypoint: request.cmd[0] ?? "",
      arguments: request.cmd.slice(1),
      privileged: request.privileged,
      ...(request.user !== "" && { user: request.user }),
    },
    OpenStdin: request.attachStdin,
    OpenStderr: request.attachStderr,
    OpenStdout: request.attachStdout,
    CanRemove: false,
    ContainerID: exec.containerId,
    DetachKeys: request.detachKeys ?? "",
    Pid: exec.pid,
  };
}
