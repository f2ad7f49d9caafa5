import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GoSyntaxError, parseFirstValue } from "../../src/api/go-json.js";
import { humanDuration } from "../../src/api/time.js";
import { splitUrl } from "../../src/api/urls.js";
import { type FakeEngine, fakeEngine } from "./fake-engine.js";
import { api, type Served, serve } from "./helpers.js";

let fake: FakeEngine;
let served: Served;
beforeAll(async () => {
  fake = fakeEngine();
  served = await serve(fake.engine);
});
afterAll(() => served.close());

describe("reading JSON as Go does", () => {
  it("reads whatever JSON.parse reads, also with something behind it", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom("", " ", "\n", " }", "x", ' {"a":1}'), (value, tail) => {
        const text = JSON.stringify(value);
        // Digits may go on behind a number: "1" + "2" is another number.
        expect(parseFirstValue(text + (typeof value === "number" ? ` ${tail}` : tail))).toEqual(JSON.parse(text));
      }),
      { numRuns: 500 },
    );
  });
  it("every damaged text gives a value or Go's error, never another exception", () => {
    fc.assert(
      fc.property(fc.json(), fc.nat(), fc.string({ maxLength: 3 }), (text, at, noise) => {
        const i = at % (text.length + 1);
        const damaged = text.slice(0, i) + noise + text.slice(i + 1);
        if (damaged.trim() === "") return;
        try {
          parseFirstValue(damaged);
        } catch (error) {
          expect(error).toBeInstanceOf(GoSyntaxError);
        }
      }),
      { numRuns: 3000 },
    );
  });
});

describe("requests", () => {
  const keys = [
    "Name",
    "Image",
    "Cmd",
    "Env",
    "HostConfig",
    "IPAM",
    "Config",
    "Subnet",
    "Labels",
    "PortBindings",
    "Memory",
    "NetworkingConfig",
  ];
  const body = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: "small" },
      fc.constant(null),
      fc.boolean(),
      fc.double({ noNaN: true }),
      fc.integer(),
      fc.string(),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom(...keys), tie("value"), { maxKeys: 5 }),
    ),
  })).value;
  it("no body makes the server fail", async () => {
    const paths = [
      "/containers/create?name=ok",
      "/networks/create",
      "/volumes/create",
      "/networks/x/connect",
      "/containers/x/exec",
      "/containers/x/update",
    ];
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), body, async (path, value) => {
        const { status, message } = await api(served.socket, "POST", path, JSON.stringify(value));
        // The test's engine has no volumes, execs and updates: only the API's own part counts here.
        if (!/is not a function/.test(message ?? "")) expect(status, message).toBeLessThan(500);
      }),
      { numRuns: 300 },
    );
    expect((await api(served.socket, "GET", "/_ping")).text).toBe("OK");
  });
  it("any path is answered with a status, never by a broken connection", async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom("GET", "POST", "DELETE", "PUT"), fc.webPath(), async (method, path) => {
        expect((await api(served.socket, method, path === "" ? "/" : path)).status).toBeGreaterThan(0);
      }),
      { numRuns: 200 },
    );
  });
  it("splits every reference into one segment", () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[a-z0-9._-]{1,8}$/), { minLength: 1, maxLength: 4 }), (parts) => {
        const ref = parts.join("/");
        fc.pre(
          !["create", "json", "prune", "load", "get", "search"].includes(ref) && !/\/(json|history|get|push|tag)$/.test(ref),
        );
        expect(splitUrl(`/v1.41/images/${ref}/json?x=1`)).toMatchObject({
          version: "1.41",
          path: `/images/${encodeURIComponent(ref)}/json`,
        });
      }),
    );
  });
});

describe("docker ps durations", () => {
  it.each([
    [900, "Less than a second"],
    [1_000, "1 second"],
    [59_000, "59 seconds"],
    [60_000, "About a minute"],
    [119_000, "About a minute"],
    [46 * 60_000, "46 minutes"],
    [61 * 60_000, "About an hour"],
    [47 * 3_600_000, "47 hours"],
    [3 * 86_400_000, "3 days"],
    [21 * 86_400_000, "3 weeks"],
    [90 * 86_400_000, "3 months"],
    [800 * 86_400_000, "2 years"],
  ])("%d ms", (ms, text) => {
    expect(humanDuration(ms)).toBe(text);
  });
});
