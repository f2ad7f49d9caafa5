import { RefusalError, refusal } from "../base/errors.js";

/** Docker 20.10's sentences around what an OCI runtime says. */
const CREATE = "OCI runtime create failed: container_linux.go:380: starting container process caused: ";
const EXEC = "OCI runtime exec failed: exec failed: container_linux.go:380: starting container process caused: ";

/**
 * The runtime could not start the process. Docker answers 400 where the command is at fault, 500 elsewhere; the docker CLI exits
 * with 127 or 126 by the text of the former.
 */
export function startRefusal(runtimeMessage: string, command: string): RefusalError {
  const reason = commandReason(runtimeMessage, command);
  if (reason !== undefined) return new RefusalError(refusal(400, `failed to create shim: ${CREATE}${reason}: unknown`));
  if (/not a directory/i.test(runtimeMessage))
    return new RefusalError(refusal(400, `${CREATE}${oneLine(runtimeMessage)}: ${wrongKind}`));
  return new RefusalError(refusal(500, `failed to create shim: ${CREATE}${oneLine(runtimeMessage)}: unknown`));
}

export function execRefusal(runtimeMessage: string, command: string): RefusalError {
  const reason = commandReason(runtimeMessage, command);
  return new RefusalError(refusal(reason === undefined ? 500 : 400, `${EXEC}${reason ?? oneLine(runtimeMessage)}: unknown`));
}

const wrongKind =
  "unknown: Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type";

/** Exit code that Docker records for a container whose start was refused with this message. */
export function startExitCode(message: string): 126 | 127 | 128 {
  if (/executable file not found|no such file or directory|mount a directory onto a file/.test(message)) return 127;
  if (/permission denied|is a directory/.test(message)) return 126;
  return 128;
}

/** What crun 1.8 and runc 1.1 say about a command, in the words of Go's os/exec that Docker passes on. */
function commandReason(message: string, command: string): string | undefined {
  const quoted = `exec: ${JSON.stringify(command)}: `;
  const fromRunc = /exec: "[^"]*": .*?(?=: unknown|$)/.exec(message)?.[0];
  if (fromRunc !== undefined) return fromRunc;
  // crun says "not found in $PATH" of "/nosuch" as well.
  if (/executable file [`'"].*[`'"] not found/.test(message))
    return command.includes("/")
      ? `${quoted}stat ${command}: no such file or directory`
      : `${quoted}executable file not found in $PATH`;
  // "Operation not permitted" is a directory.
  if (/open executable: (?:Permission denied|Operation not permitted)/.test(message)) return `${quoted}permission denied`;
  if (/exec: Exec format error/.test(message)) return "exec user process caused: exec format error";
  return undefined;
}

const oneLine = (text: string): string => text.trim().split("\n").join("; ");
