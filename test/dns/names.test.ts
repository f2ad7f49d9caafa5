import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { limits } from "../../src/dns/limits.js";
import { nameKey, rcode, rrType } from "../../src/dns/message.js";
import { NameTables } from "../../src/dns/names.js";

const key = (name: string) => nameKey(name)!;

describe("the tables of names", () => {
  it("know a former name for a while, and not more of them than they may", () => {
    let now = 0;
    const tables = new NameTables(() => now);
    const view = tables.view("s", ["n"], []);
    tables.putEndpoint("n", "net", { endpointId: "e", name: "db", aliases: [], ipv4: "10.0.0.2" });
    tables.removeEndpoint("e");
    expect(tables.resolve(view, key("db"), rrType.a)?.rcode).toBe(rcode.nxDomain);
    now = limits.formerNameMs + 1;
    expect(tables.resolve(view, key("db"), rrType.a)).toBeUndefined();
    for (let i = 0; i < limits.formerNames; i++) {
      tables.putEndpoint("n", "net", { endpointId: "e", name: `c${i}`, aliases: [], ipv4: "10.0.0.2" });
      tables.removeEndpoint("e");
    }
    expect(tables.resolve(view, key("c0"), rrType.a)).toBeUndefined();
    expect(tables.resolve(view, key(`c${limits.formerNames - 1}`), rrType.a)?.rcode).toBe(rcode.nxDomain);
  });

  it("ask upstream for another network's alias that may be a public name, but not for its name.network", () => {
    const tables = new NameTables();
    tables.putEndpoint("other", "priv", { endpointId: "e", name: "api", aliases: ["api.example.com"], ipv4: "10.0.0.2" });
    const view = tables.view("s", ["n"], []);
    expect(tables.resolve(view, key("api.example.com"), rrType.a)).toBeUndefined();
    expect(tables.resolve(view, key("example.com"), rrType.a)).toBeUndefined();
    expect(tables.resolve(view, key("api.priv"), rrType.a)?.rcode).toBe(rcode.nxDomain);
    expect(tables.resolve(view, key("api"), rrType.a)?.rcode).toBe(rcode.nxDomain);
  });

  it("forget a network with its endpoints", () => {
    const tables = new NameTables();
    tables.putNetwork({ networkId: "n", name: "net", subnets: ["10.0.0.0/24"] });
    tables.putEndpoint("n", "net", { endpointId: "e", name: "db", aliases: [], ipv4: "10.0.0.2" });
    const view = tables.view("s", ["n"], []);
    expect(tables.resolve(view, key("2.0.0.10.in-addr.arpa"), rrType.ptr)?.records.length).toBe(1);
    tables.removeNetwork("n");
    expect(tables.endpointCount).toBe(0);
    for (const name of ["nosuch.net", "2.0.0.10.in-addr.arpa"]) expect(tables.resolve(view, key(name), rrType.a)).toBeUndefined();
  });

  it("answer, after any sequence of changes, with exactly the endpoints that are there", () => {
    const change = fc.record({
      id: fc.integer({ min: 0, max: 5 }),
      name: fc.constantFrom("a", "b", "A", "c.d"),
      alias: fc.constantFrom("web", "b", "x"),
      network: fc.constantFrom("n1", "n2"),
      remove: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
        const tables = new NameTables();
        const views = new Map(["n1", "n2"].map((n) => [n, tables.view(`s${n}`, [n], [])]));
        const model = new Map<number, { names: string[]; network: string }>();
        for (const { id, name, alias, network, remove } of changes) {
          if (remove) {
            tables.removeEndpoint(`e${id}`);
            model.delete(id);
          } else {
            tables.putEndpoint(network, network, { endpointId: `e${id}`, name, aliases: [alias], ipv4: `10.0.0.${id}` });
            model.set(id, { names: [name.toLowerCase(), alias], network });
          }
        }
        for (const [network, view] of views)
          for (const name of ["a", "b", "c.d", "web", "x"]) {
            const want = [...model].filter(([, m]) => m.network === network && m.names.includes(name)).map(([id]) => id);
            for (const asked of [name, `${name}.${network}`]) {
              const answer = tables.resolve(view, key(asked), rrType.a);
              expect((answer?.records ?? []).map((r) => r.at(-1)).sort()).toEqual(want.sort());
            }
          }
      }),
      { numRuns: 200 },
    );
  });
});
