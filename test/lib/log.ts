import { createLogger, type Logger, type LogLevel } from "../../src/base/log.js";

/** For parts of the engine that a test runs by itself: what it should see, it sees among the test's own output. */
export function stderrLog(level: LogLevel = "warn"): Logger {
  return createLogger({ level, write: (line) => process.stderr.write(line), now: () => new Date().toISOString() });
}

export const silentLog: Logger = { debug() {}, info() {}, warn() {}, error() {} };
