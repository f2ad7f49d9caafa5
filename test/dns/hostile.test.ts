import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DnsService } from "../../src/dns/contract.js";
import { limits } from "../../src/dns/limits.js";
import { startDns } from "../../src/dns/server.js";
import { silentLog } from "../lib/log.js";
import { sleep } from "../lib/run.js";
import { type Client, FakeUpstream, Space } from "./space.js";
import { question, types } from "./wire.js";

describe("containers and upstreams that mean harm", () => {
  const space = new Space("h");
  const upstream = new FakeUpstream();
  let dns: DnsService;
  let client: Client;

  beforeAll(async () => {
    dns = await startDns({ log: silentLog });
    await dns.putEndpoint("n", "net", { endpointId: "e", name: "db", aliases: [], ipv4: "10.0.0.2" });
    await dns.addSandbox({
      sandboxId: "s",
      ...space.resolverSockets(),
      networks: ["n"],
      upstreams: [await upstream.start()],
      links: [],
    });
    client = space.client();
  });
  afterAll(async () => {
    await dns.close();
    upstream.close();
    space.remove();
  });

  it("a loop through an upstream is not fed: the question that comes back joins itself", async () => {
    const back = space.client();
    upstream.behaviour = (query) => {
      for (let i = 0; i < 3; i++) {
        const copy = Buffer.from(query);
        copy.writeUInt16BE(i + 1, 0);
        back.socket.send(copy, 53, "127.0.0.11");
      }
      return undefined;
    };
    expect((await client.ask("loop.example", types.A)).rcode).toBe(2);
    expect(upstream.seen.length).toBeLessThanOrEqual(Math.ceil(limits.queryDeadlineMs / limits.attemptMs));
    expect((await dns.stats()).inFlight).toBe(0);
  });

  it("many connections, half messages and noise over TCP: bounded, and UDP is answered meanwhile", async () => {
    const sockets = Array.from({ length: limits.tcpConnectionsPerSandbox + 40 }, () => space.connect());
    let ended = 0;
    for (const [i, socket] of sockets.entries()) {
      socket.on("error", () => {});
      socket.on("close", () => ended++);
      socket.on("data", () => {});
      socket.write(i % 2 ? Buffer.from([0xff, 0xff, 1, 2, 3]) : Buffer.alloc(3000, i));
    }
    await sleep(500);
    expect(ended).toBeGreaterThanOrEqual(40);
    expect((await client.ask("db", types.A)).answers.length).toBe(1);
    for (const socket of sockets) socket.destroy();
    await sleep(100);
    const [answer] = await space.askTcp([question("db", types.A)]);
    expect(answer!.answers.length).toBe(1);
  });

  it("a client that asks much over TCP and reads nothing is let go", async () => {
    for (let i = 0; i < 250; i++)
      await dns.putEndpoint("n", "net", { endpointId: `m${i}`, name: `m${i}`, aliases: ["many"], ipv4: `10.0.1.${i}` });
    const socket = space.connect();
    socket.pause();
    const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()).on("error", () => {}));
    const q = question("many", types.A);
    const frames = Buffer.concat(Array.from({ length: 200 }, () => Buffer.concat([Buffer.of(0, q.length), q])));
    const timer = setInterval(() => socket.write(frames, () => {}), 2);
    await Promise.race([closed, sleep(5000)]);
    clearInterval(timer);
    const before = await dns.stats();
    await sleep(100);
    expect((await dns.stats()).queries).toBe(before.queries);
    socket.destroy();
    expect((await client.ask("db", types.A)).answers.length).toBe(1);
  });

  it("noise over UDP is survived", async () => {
    for (let i = 0; i < 2000; i++) {
      const noise = Buffer.alloc(i % 600, (i * 31) & 255);
      if (noise.length > 3) noise[2] = i & 0x7f;
      client.socket.send(noise, 53, "127.0.0.11");
      if (i % 100 === 0) await sleep(2);
    }
    await sleep(100);
    expect((await client.ask("db", types.A)).answers.length).toBe(1);
  });
});
