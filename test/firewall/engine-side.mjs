// The engine's side of published ports as a process of its own, to be run inside the host's namespace of a test (dist/ must be built).
// One JSON request per line on stdin: {op: "reserve" | "allocate" | "release", id, name, mappings, requests, target, start}; one answer per line.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { PortReservations } from "../../dist/engine/ports/index.js";
import { startKernel } from "../../dist/kernel/index.js";

const log = { debug() {}, info() {}, warn: console.error, error: console.error };
const execRoot = mkdtempSync(join(tmpdir(), "lst-ports-"));
const kernel = await startKernel({ execRoot, instance: "7e57", log });
const ports = new PortReservations({ kernel, log });
const cpuMs = (before) => {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
};
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const r = JSON.parse(line);
  const before = performance.now();
  const cpuBefore = process.cpuUsage();
  try {
    let value;
    if (r.op === "release") value = await ports.release(r.id);
    else if (r.op === "reserve") value = await ports.reserve(r.id, r.name, r.mappings, r.target);
    else value = await ports.allocate(r.id, r.name, r.requests, r.target, r.start ?? 0);
    console.log(JSON.stringify({ value: value ?? null, ms: performance.now() - before, cpuMs: cpuMs(cpuBefore) }));
  } catch (error) {
    console.log(JSON.stringify({ error: error.message, status: error.status ?? null }));
  }
}
ports.close();
await kernel.close();
rmSync(execRoot, { recursive: true, force: true });
