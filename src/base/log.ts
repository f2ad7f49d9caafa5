/** One line per event on stderr, logfmt like dockerd's, so that people's log tools work. */
export type LogLevel = "debug" | "info" | "warn" | "error";
export interface Logger {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

const order: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** `write` and `now` are arguments because base/ does no I/O. */
export function createLogger(options: { level: LogLevel; write: (line: string) => void; now: () => string }): Logger {
  const at = (level: LogLevel) => (message: string, fields?: Record<string, unknown>) => {
    if (order.indexOf(level) < order.indexOf(options.level)) return;
    let line = `time="${options.now()}" level=${level} msg=${JSON.stringify(message)}`;
    for (const [key, value] of Object.entries(fields ?? {}))
      line += ` ${key}=${typeof value === "string" ? JSON.stringify(value) : JSON.stringify(value ?? null)}`;
    options.write(`${line}\n`);
  };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}
