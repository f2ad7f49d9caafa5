import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { refuse } from "../base/errors.js";

const run = promisify(execFile);

/** What `ps ARGS` of the host says about these processes. The last column may hold spaces. Default arguments as Docker's: -ef */
export async function processTable(
  pids: readonly number[],
  psArgs: string,
): Promise<{ readonly Titles: readonly string[]; readonly Processes: readonly (readonly string[])[] }> {
  const args = (psArgs || "-ef").split(/\s+/).filter((arg) => arg !== "");
  let output: string;
  try {
    output = (await run("ps", args, { maxBuffer: 64 * 1024 * 1024, env: { ...process.env, LC_ALL: "C" } })).stdout;
  } catch (error) {
    const text = ((error as { stderr?: string }).stderr ?? "").trim().split("\n")[0];
    return refuse(500, `Error running ps: ${text || String(error)}`);
  }
  const [header = "", ...lines] = output.split("\n").filter((line) => line.trim() !== "");
  const titles = header.trim().split(/\s+/);
  const pidColumn = titles.indexOf("PID");
  if (pidColumn < 0) refuse(500, "Couldn't find PID field in ps output");
  const wanted = new Set(pids.map(String));
  const rows = lines.map((line) => cells(line, titles.length)).filter((row) => wanted.has(row[pidColumn] ?? ""));
  return { Titles: titles, Processes: rows };
}

function cells(line: string, count: number): string[] {
  const parts = line.trim().split(/\s+/);
  return [...parts.slice(0, count - 1), parts.slice(count - 1).join(" ")];
}
