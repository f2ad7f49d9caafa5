import { describe, expect, it } from "vitest";
import { limits } from "../../src/dns/limits.js";
import { answersQuestion, nameKey, parseQuery } from "../../src/dns/message.js";
import { NameTables } from "../../src/dns/names.js";
import { respond } from "../../src/dns/respond.js";
import { decode, question, types } from "./wire.js";

/** A fixed sequence of numbers, so that a failure can be had again. (mulberry32, public domain) */
function randomizer(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const rounds = Number(process.env.FUZZ ?? 1_000_000);

describe("malformed messages", () => {
  const tables = new NameTables();
  tables.putNetwork({ networkId: "n", name: "net", subnets: ["10.0.0.0/24"] });
  for (let i = 0; i < 50; i++)
    tables.putEndpoint("n", "net", { endpointId: `e${i}`, name: `c${i}`, aliases: ["web"], ipv4: `10.0.0.${i}` });
  const view = tables.view("s", ["n"], [{ networkId: "n", alias: "db", name: "c1" }]);
  const out = Buffer.alloc(65_536 + 512);
  const seeds = [
    question("c1.net", types.A),
    question("web", types.A, { edns: { size: 512, do: true } }),
    question("1.0.0.10.in-addr.arpa", types.PTR),
    question("www.example.com", types.AAAA, { edns: { size: 4096 } }),
    question("x".repeat(63), types.A),
    question(Array.from({ length: 120 }, () => "a").join("."), types.ANY),
    question("", types.NS),
  ];

  it(`${rounds} of them: no crash, no loop, and the memory stays flat`, { timeout: 120_000 }, () => {
    const random = randomizer(20_240_611);
    const buffer = Buffer.alloc(700);
    const seen = { answered: 0, forwarded: 0, dropped: 0, believed: 0 };
    const reference = seeds[1]!;
    let before = 0;
    let slowest = 0;
    for (let i = 0; i < rounds; i++) {
      if (i === Math.floor(rounds / 10)) before = memory();
      let length: number;
      if (random(4) === 0) {
        length = random(random(8) === 0 ? 700 : 80);
        for (let j = 0; j < length; j++) buffer[j] = random(256);
      } else {
        const seed = seeds[random(seeds.length)]!;
        length = Math.max(0, seed.length - (random(3) === 0 ? random(seed.length) : 0) + (random(6) === 0 ? random(40) : 0));
        buffer.fill(random(256), 0, length);
        seed.copy(buffer, 0, 0, length);
        for (let n = 1 + random(4); n > 0; n--) {
          const at = random(length + 1);
          buffer[at] = random(3) === 0 ? 0xc0 + random(64) : random(256);
        }
      }
      const message = buffer.subarray(0, length);
      const start = i % 1000 === 0 ? performance.now() : 0;
      const result = respond(out, message, { tables, view, tcp: (i & 1) === 0, forward: (i & 6) !== 0 });
      if (start > 0) slowest = Math.max(slowest, performance.now() - start);
      if (typeof result !== "number") seen.forwarded++;
      else if (result === 0) seen.dropped++;
      else {
        seen.answered++;
        if (result > limits.maxMessage) throw new Error(`an answer of ${result} bytes`);
        if ((out[2]! & 0x80) === 0 || out[0] !== message[0] || out[1] !== message[1])
          throw new Error("not an answer to the message");
        if (i % 64 === 0) decode(out.subarray(0, result));
      }
      if (answersQuestion(message, reference, reference.length - 11)) seen.believed++;
    }
    const growth = memory() - before;
    console.log(
      `${rounds} messages: ${JSON.stringify(seen)}, slowest of each thousandth ${slowest.toFixed(2)} ms, memory ${(growth / 1024).toFixed(0)} KiB`,
    );
    expect(seen.answered).toBeGreaterThan(rounds / 20);
    expect(seen.forwarded).toBeGreaterThan(rounds / 50);
    expect(slowest).toBeLessThan(50);
    expect(growth).toBeLessThan(16 * 1024 * 1024);
  });

  it("reads every prefix of a proper question as none", () => {
    for (const seed of seeds)
      for (let n = 0; n < seed.length; n++) {
        const result = parseQuery(seed.subarray(0, n));
        expect(result === undefined || "error" in result).toBe(true);
      }
  });

  it("takes no name that DNS cannot carry", () => {
    for (const name of ["", ".", "a..b", `${"x".repeat(64)}.a`, "a.".repeat(128)]) expect(nameKey(name)).toBeUndefined();
    expect(nameKey("Web.My-Net")).toBe("\x03web\x06my-net");
  });
});

/** What is held after a collection (when one can be asked for). */
function memory(): number {
  const collect = (globalThis as { gc?: () => void }).gc;
  collect?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
