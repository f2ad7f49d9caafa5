import { spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BenchEngine, type Lab, run, sleep } from "./lab.js";

/** Packets and streams between two network namespaces, given as paths. */
const here = fileURLToPath(new URL(".", import.meta.url)).replace(/dist\/bench\/$/, "bench/");

/** stdout of a program in the namespace `target`, "" when it fails. */
export async function output(target: string, command: readonly string[], input?: string): Promise<string> {
  return new Promise((resolve) => {
    const child = spawn("nsenter", [`--net=${target}`, ...command], { stdio: ["pipe", "pipe", "ignore"] });
    let text = "";
    child.stdout.on("data", (chunk) => {
      text += chunk;
    });
    child.on("close", () => resolve(text));
    child.stdin.end(input ?? "");
  });
}

/** Compiles udpflood.c; its path. */
export function flooder(lab: Lab): string {
  const tool = join(lab.dir, "udpflood");
  run("gcc", ["-O2", "-o", tool, join(here, "udpflood.c")]);
  return tool;
}

/** Datagrams of 64 bytes per second that arrive. */
export async function smallPackets(tool: string, from: string, to: string, address: string, seconds: number): Promise<number> {
  const received = output(to, [tool, "recv", "9", String(seconds + 1)]);
  await sleep(200);
  await output(from, [tool, "send", address, "9", String(seconds)]);
  return Number(await received);
}

/** Gbit/s of one TCP stream; the server runs for one test and goes. */
export async function tcp(
  from: string,
  to: string,
  address: string,
  options: { readonly seconds: number; readonly serverPort?: number; readonly clientPort?: number },
): Promise<number> {
  const port = options.serverPort ?? 5201;
  const server = output(to, ["timeout", String(options.seconds + 8), "iperf3", "-s", "-1", "-p", String(port)]);
  await sleep(400);
  const client = ["iperf3", "-c", address, "-p", String(options.clientPort ?? port), "-t", String(options.seconds), "-J"];
  const text = await output(from, ["timeout", String(options.seconds + 5), ...client]);
  await server;
  const parsed = JSON.parse(text || "{}") as { end?: { sum_received?: { bits_per_second: number } } };
  return (parsed.end?.sum_received?.bits_per_second ?? Number.NaN) / 1e9;
}

export const nsOf = (engine: BenchEngine, name: string): string =>
  `/proc/${engine.cli("inspect", "-f", "{{.State.Pid}}", name)}/ns/net`;
