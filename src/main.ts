import { runCli } from "./cli/index.js";

/**
 * The program. Client commands load only what they need; the engine's modules come in with `linkspan daemon` alone, because every
 * start of a client costs what it imports.
 */
process.exitCode = await runCli(process.argv.slice(2), async (options) => {
  const { startDaemon } = await import("./daemon.js");
  await startDaemon(options);
});
