import { NEVER } from "../model/container-defaults.js";
import type { Call } from "./call.js";
import { queryBool, queryBoolOr } from "./query.js";

const SAMPLE_MS = 1000;

/** `GET /containers/{id}/stats`: one sample a second; `stream=0` gives one that has its predecessor in it, `one-shot` none. */
export async function streamStats(call: Call): Promise<unknown> {
  const { engine, query } = call;
  const container = engine.containers.resolve(call.param("id"));
  const stream = queryBoolOr(query, "stream", true);
  const named = (sample: Record<string, unknown>, previous: Record<string, unknown> | undefined) => ({
    read: NEVER,
    ...sample,
    preread: previous?.["read"] ?? NEVER,
    precpu_stats: previous?.["cpu_stats"] ?? sample["precpu_stats"] ?? noCpu,
    name: `/${container.name}`,
    id: container.id,
  });
  const sample = async () => {
    const { status } = engine.containers.resolve(container.id).state;
    if (status !== "running" && status !== "paused") return { ...notRunning };
    return { read: new Date().toISOString().replace("Z", "000000Z"), ...(await engine.containers.stats(container.id)) };
  };
  let previous: Record<string, unknown> | undefined;
  let current: Record<string, unknown> = await sample();
  if (!stream) {
    if (!queryBool(query, "one-shot") && current["cpu_stats"] !== noCpu) {
      await sleep(SAMPLE_MS);
      previous = current;
      current = await sample();
    }
    return call.json(named(current, previous));
  }
  const response = call.openStream("application/json");
  try {
    while (!response.destroyed) {
      response.write(`${JSON.stringify(named(current, previous))}\n`);
      await sleep(SAMPLE_MS);
      previous = current;
      current = await sample();
    }
  } catch {
    // The container is gone: the stream ends.
  }
  response.end();
  return call.reply;
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

const noCpu = {
  cpu_usage: { total_usage: 0, usage_in_kernelmode: 0, usage_in_usermode: 0 },
  throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
};
const notRunning: Record<string, unknown> = {
  read: NEVER,
  pids_stats: {},
  blkio_stats: {
    io_service_bytes_recursive: null,
    io_serviced_recursive: null,
    io_queue_recursive: null,
    io_service_time_recursive: null,
    io_wait_time_recursive: null,
    io_merged_recursive: null,
    io_time_recursive: null,
    sectors_recursive: null,
  },
  num_procs: 0,
  storage_stats: {},
  cpu_stats: noCpu,
  memory_stats: {},
};
