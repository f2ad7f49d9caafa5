import { CommanderError } from "commander";
import { messageOf } from "../base/errors.js";
import { type DaemonOptions, daemonCommand } from "./daemon-options.js";

/** `linkspan daemon …`: exit code 0 when it serves (or printed its help), 2 for bad flags, 1 when it could not start. */
export async function runDaemonCommand(
  args: readonly string[],
  startDaemon: (options: DaemonOptions) => Promise<void>,
): Promise<number> {
  let options: DaemonOptions | undefined;
  const command = daemonCommand((parsed) => {
    options = parsed;
  }).exitOverride();
  try {
    await command.parseAsync([...args], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    throw error;
  }
  try {
    await startDaemon(options!);
    return 0;
  } catch (error) {
    process.stderr.write(`linkspan: ${messageOf(error)}\n`);
    return 1;
  }
}
