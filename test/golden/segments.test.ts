import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type DriverContext, desiredAll } from "../../src/drivers/index.js";
import { applyChanges, type Network } from "../../src/model/index.js";
import { explain, plan } from "../../src/plan/index.js";
import { World } from "../pure/world.js";

/** A network on two chained bridges (more than 1,023 ports), built by the explained commands in a namespace that stands for the host. */
const HOST = `lsts${process.pid}`;
const ctx: DriverContext = { instance: "t", uplinkMtu: 1500, hostHasIPv6: true };

beforeAll(() => {
  spawnSync("ip", ["netns", "add", HOST]);
});

afterAll(() => {
  for (const name of [HOST, `${HOST}a`, `${HOST}b`, `${HOST}c`, `${HOST}d`]) spawnSync("ip", ["netns", "delete", name]);
});

function host(script: string): void {
  const done = spawnSync("nsenter", [`--net=/run/netns/${HOST}`, "bash", "-e"], { encoding: "utf8", input: script });
  if (done.status !== 0) throw new Error(`${done.stderr}\n${script}`);
}

const pings = (from: string, to: string) =>
  spawnSync("ip", ["netns", "exec", HOST + from, "ping", "-c1", "-W1", to]).status === 0;

describe("a network on two bridges", () => {
  const w = new World();
  const grow = (network: Network) =>
    applyChanges(w.state, [{ kind: "network", id: network.id, value: { ...network, segments: 2 } }]);
  const run = (name: string, network: Network, segment: number) => {
    const e = w.join(w.sandbox(name, { netns: HOST + name }).id, network);
    applyChanges(w.state, [{ kind: "endpoint", id: e.id, value: { ...e, segment } }]);
    return e.ipv4!;
  };

  it("is one network: its containers hear each other and the gateway", () => {
    const open = w.network({ Name: "open" });
    grow(open);
    const [a, b] = [run("a", open, 0), run("b", open, 1)];
    host(explain(plan(desiredAll(w.state, ctx), [])));
    expect(pings("a", b)).toBe(true);
    expect(pings("b", a)).toBe(true);
    expect(pings("b", open.pools[0]!.gateway)).toBe(true);
  });

  it("keeps containers apart where the network says so, across the bridges too", () => {
    const before = desiredAll(w.state, ctx);
    const fenced = w.network({ Name: "fenced", Options: { "com.docker.network.bridge.enable_icc": "false" } });
    grow(fenced);
    const [c, d] = [run("c", fenced, 0), run("d", fenced, 1)];
    host(explain(plan(desiredAll(w.state, ctx), before)));
    expect(pings("d", fenced.pools[0]!.gateway)).toBe(true);
    expect(pings("c", fenced.pools[0]!.gateway)).toBe(true);
    expect(pings("c", d)).toBe(false);
    expect(pings("d", c)).toBe(false);
    expect(pings("d", w.byName("open").pools[0]!.gateway)).toBe(true);
  });
});
