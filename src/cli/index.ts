import type { DaemonOptions } from "./daemon-options.js";

export type { DaemonOptions } from "./daemon-options.js";

/**
 * The program: runs one command and gives the exit code. Only the chosen command's modules are loaded.
 * `startDaemon` resolves when the engine serves (the process stays alive by what it opened).
 */
export async function runCli(args: readonly string[], startDaemon: (options: DaemonOptions) => Promise<void>): Promise<number> {
  if (args[0] === "daemon") {
    const { runDaemonCommand } = await import("./daemon.js");
    return runDaemonCommand(args.slice(1), startDaemon);
  }
  const { runClient } = await import("./program.js");
  return runClient(args);
}
