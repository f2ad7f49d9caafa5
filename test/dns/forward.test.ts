import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { DnsService } from "../../src/dns/contract.js";
import { startDns } from "../../src/dns/server.js";
import { silentLog } from "../lib/log.js";
import { sleep } from "../lib/run.js";
import { type Client, FakeUpstream, Space } from "./space.js";
import { answerTo, question, questionEnd, types } from "./wire.js";

describe("questions that go upstream", () => {
  const space = new Space("f");
  const first = new FakeUpstream();
  const second = new FakeUpstream();
  let addresses: string[];
  let dns: DnsService;
  let client: Client;
  const good = (query: Buffer) => answerTo(query, ["192.0.2.1"]);
  const serve = (upstreams: string[], forward = true) =>
    dns.addSandbox({ sandboxId: "s", ...space.resolverSockets(), networks: [], upstreams, links: [], forward });

  beforeAll(async () => {
    addresses = [await first.start(), await second.start()];
    client = space.client();
    client.socket.setMaxListeners(100);
  });
  // a service for each test: what is known of an upstream's health is not carried over
  const start = async (upstreams = addresses, forward = true) => {
    dns = await startDns({ log: silentLog });
    await serve(upstreams, forward);
  };
  afterEach(async () => {
    await dns.close();
    for (const upstream of [first, second]) {
      upstream.behaviour = good;
      upstream.seen.length = 0;
    }
  });
  afterAll(() => {
    first.close();
    second.close();
    space.remove();
  });

  it("asks the first upstream, from changing ports and with changing ids", async () => {
    await start();
    const ports = new Set<number>();
    const ids = new Set<number>();
    for (let i = 0; i < 40; i++)
      expect((await client.ask(`n${i}.example`, types.A, { id: 500 })).answers[0]!.text).toBe("192.0.2.1");
    for (const { port, message } of first.seen) {
      ports.add(port);
      ids.add(message.readUInt16BE(0));
    }
    expect(first.seen.length).toBe(40);
    expect(second.seen.length).toBe(0);
    expect(ports.size).toBeGreaterThan(3);
    expect(ids.size).toBeGreaterThan(38);
  });

  it("uses the host's upstreams for a sandbox without its own, and follows them", async () => {
    await start([]);
    expect((await client.ask("a.example", types.A)).rcode).toBe(2);
    await dns.setHostUpstreams([addresses[1]!]);
    expect((await client.ask("a.example", types.A)).rcode).toBe(0);
    expect([first.seen.length, second.seen.length]).toEqual([0, 1]);
  });

  it("passes codes, EDNS and DO on as they are", async () => {
    await start();
    first.behaviour = (query) => answerTo(query, [], { rcode: 3 });
    expect((await client.ask("nosuch.example", types.A)).rcode).toBe(3);
    await client.ask("edns.example", types.A, { edns: { size: 1232, do: true } });
    const seen = first.seen.at(-1)!.message;
    expect(seen.subarray(questionEnd(seen))).toEqual(Buffer.from([0, 0, 41, 0x04, 0xd0, 0, 0, 0x80, 0, 0, 0]));
    await client.ask("edns2.example", types.A, { edns: { size: 65_000 } });
    const capped = first.seen.at(-1)!.message;
    expect(capped.readUInt16BE(questionEnd(capped) + 3)).toBe(4096);
    expect(second.seen.length).toBe(0);
  });

  it("goes to the next upstream when one is silent, and asks that one first for a while", async () => {
    await start();
    first.behaviour = () => undefined;
    const begin = Date.now();
    expect((await client.ask("a.example", types.A)).rcode).toBe(0);
    const took = Date.now() - begin;
    expect(took).toBeGreaterThan(1000);
    expect(took).toBeLessThan(2000);
    const again = Date.now();
    expect((await client.ask("b.example", types.A)).rcode).toBe(0);
    expect(Date.now() - again).toBeLessThan(500);
    expect((await dns.stats()).upstreamTimeouts).toBe(1);
  });

  it("goes to the next upstream at once when nobody listens at one, or when it says SERVFAIL or REFUSED", async () => {
    await start(["127.0.0.1:9", ...addresses]);
    for (const code of [2, 5]) {
      first.behaviour = (query) => answerTo(query, [], { rcode: code });
      const begin = Date.now();
      expect((await client.ask(`c${code}.example`, types.A)).rcode).toBe(0);
      expect(Date.now() - begin).toBeLessThan(500);
    }
    second.behaviour = (query) => answerTo(query, [], { rcode: 2 });
    expect((await client.ask("all-fail.example", types.A)).rcode).toBe(2);
  });

  it("says SERVFAIL before the client's five seconds are over when no upstream answers", async () => {
    await start();
    first.behaviour = () => undefined;
    second.behaviour = () => undefined;
    const begin = Date.now();
    expect((await client.ask("a.example", types.A)).rcode).toBe(2);
    expect(Date.now() - begin).toBeLessThan(4800);
    expect((await dns.stats()).inFlight).toBe(0);
    const none = Date.now();
    await dns.updateSandbox({ sandboxId: "s", networks: [], upstreams: ["127.0.0.1:9"], links: [] });
    expect((await client.ask("b.example", types.A)).rcode).toBe(2);
    expect(Date.now() - none).toBeLessThan(500);
  });

  it("does not believe answers with another id or question", async () => {
    await start([addresses[0]!]);
    first.behaviour = (query) => {
      const wrong = answerTo(question("evil.example", types.A, { id: query.readUInt16BE(0) }), ["203.0.113.66"]);
      return wrong;
    };
    const lost = client.ask("victim.example", types.A);
    await sleep(200);
    first.behaviour = good;
    expect((await lost).answers[0]!.text).toBe("192.0.2.1");
    first.behaviour = (query) => {
      const wrong = answerTo(query, ["203.0.113.66"]);
      wrong[0] = wrong[0]! ^ 0x55;
      return wrong;
    };
    const other = client.ask("victim2.example", types.A);
    await sleep(200);
    first.behaviour = good;
    expect((await other).answers[0]!.text).toBe("192.0.2.1");
  });

  it("passes a truncated answer to a UDP client, and fetches the whole over TCP for a TCP client", async () => {
    await start();
    const all = Array.from({ length: 60 }, (_, i) => `203.0.113.${i}`);
    first.behaviour = (query, tcp) => (tcp ? answerTo(query, all) : answerTo(query, [], { tc: true }));
    const udp = await client.ask("big.lab", types.A);
    expect([udp.tc, udp.answers.length]).toEqual([true, 0]);
    const [tcp] = await space.askTcp([question("big.lab", types.A)]);
    expect([tcp!.tc, tcp!.answers.length]).toEqual([false, 60]);
    expect(first.seen.map((q) => q.tcp)).toEqual([false, false, true]);
  });

  it("cuts an answer that is larger than its UDP client takes", async () => {
    await start();
    first.behaviour = (query) =>
      answerTo(
        query,
        Array.from({ length: 100 }, (_, i) => `203.0.113.${i}`),
      );
    const plain = await client.ask("a.example", types.A);
    expect([plain.tc, plain.answers.length]).toEqual([true, 0]);
    expect((await client.ask("a.example", types.A, { edns: { size: 4096 } })).answers.length).toBe(100);
  });

  it("asks once for equal questions that are under way, and answers each under its own id", async () => {
    await start();
    const held: Buffer[] = [];
    first.behaviour = (query) => {
      held.push(query);
      return undefined;
    };
    const asked = Array.from({ length: 20 }, (_, i) => client.ask("same.example", types.A, { id: 1000 + i }));
    await sleep(100);
    expect(held.length).toBe(1);
    first.behaviour = good;
    const answers = await Promise.all(asked);
    expect(answers.map((a) => a.id)).toEqual(asked.map((_, i) => 1000 + i));
    expect((await dns.stats()).coalesced).toBe(19);
    await dns.updateSandbox({ sandboxId: "s", networks: [], upstreams: ["127.0.0.1:9"], links: [] });
    const failed = await Promise.all([1, 2, 3].map((i) => client.ask("same.example", types.A, { id: 2000 + i })));
    expect(failed.map((a) => [a.id, a.rcode])).toEqual([1, 2, 3].map((i) => [2000 + i, 2]));
  });

  it("bounds what is under way for one sandbox", async () => {
    await start([addresses[0]!]);
    first.behaviour = () => undefined;
    let refused = 0;
    client.socket.setRecvBufferSize(1 << 20);
    const count = (bytes: Buffer) => {
      if ((bytes[3]! & 15) === 2) refused++;
    };
    client.socket.on("message", count);
    for (let i = 0; i < 300; i++) {
      client.socket.send(question(`q${i}.example`, types.A, { id: i }), 53, "127.0.0.11");
      if (i % 50 === 0) await sleep(5);
    }
    await sleep(300);
    client.socket.off("message", count);
    expect(refused).toBe(300 - 256);
    expect((await dns.stats()).inFlight).toBe(256);
  });

  it("never forwards to 127.0.0.11, nor for a sandbox that may not", async () => {
    await start(["127.0.0.11", addresses[0]!]);
    expect((await client.ask("a.example", types.A)).rcode).toBe(0);
    await dns.updateSandbox({ sandboxId: "s", networks: [], upstreams: addresses, links: [], forward: false });
    expect((await client.ask("b.example", types.A)).rcode).toBe(5);
    expect(first.seen.length).toBe(1);
  });
});
