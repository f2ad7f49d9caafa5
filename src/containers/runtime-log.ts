import { readFileSync } from "node:fs";

/** The last error that the runtime wrote to its log (`--log FILE --log-format json`: one JSON object per line), or "". */
export function lastMessage(path: string): string {
  try {
    const lines = readFileSync(path, "utf8").trim().split("\n");
    const last = lines[lines.length - 1] ?? "";
    return (JSON.parse(last) as { msg?: string }).msg ?? last;
  } catch {
    return "";
  }
}
