import { readdirSync, statSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { KernelObject } from "../../src/plan/objects.js";
import { eventually } from "../lib/run.js";
import { type Lab, openLab } from "./lab.js";

/** Namespaces made in advance: what a container finds in one is what it finds in one that was made for it. */
const PING = "net.ipv4.ping_group_range";
const V6_OFF = "net.ipv6.conf.all.disable_ipv6";
const COUNT = 3;
let lab: Lab;

beforeAll(async () => {
  lab = await openLab({ spares: { count: COUNT, sysctls: { [PING]: "0\t2147483647", [V6_OFF]: "1" } } });
});
afterAll(() => lab?.close());

/** Network namespaces that this process has open. */
function openNamespaces(): number {
  const nsfs = statSync("/proc/self/ns/net").dev;
  const open = readdirSync("/proc/self/fd").flatMap((fd) => statSync(`/proc/self/fd/${fd}`, { throwIfNoEntry: false }) ?? []);
  return new Set(open.filter(({ dev }) => dev === nsfs).map(({ ino }) => ino)).size;
}

const container = (name: string, sysctls: Readonly<Record<string, string>>): KernelObject[] => [
  { kind: "netns", name },
  ...Object.entries(sysctls).map(([key, value]): KernelObject => ({ kind: "sysctl", ns: name, key, value })),
  { kind: "link", ns: name, type: "loopback", name: "lo", up: true },
];
const usual = { [PING]: "0\t2147483647", [V6_OFF]: "1" };
const read = (name: string, key: string) => lab.inside(name, "sysctl", "-n", key).trim();

test("closing leaves none open", async () => {
  const before = openNamespaces();
  const other = await openLab({ spares: { count: COUNT, sysctls: usual } });
  await other.put(...container("c", usual));
  // The host's, the container's, and those in store.
  expect(await eventually(() => Promise.resolve(openNamespaces() === before + 2 + COUNT))).toBe(true);
  await other.close();
  // The one that its thread had entered for good.
  expect(openNamespaces()).toBe(before + 1);
});

test("a container finds the same in one from the store as in one that was made for it", async () => {
  const made = await lab.put(...container("made", usual));
  const before = openNamespaces();
  expect(await eventually(() => Promise.resolve(openNamespaces() === before + COUNT))).toBe(true);
  const taken = await lab.put(...container("taken", usual));
  expect(taken.syscalls).toBeLessThan(made.syscalls / 2);
  for (const name of ["made", "taken"]) {
    expect(read(name, PING)).toBe("0\t2147483647");
    expect(read(name, V6_OFF)).toBe("1");
    expect(lab.inside(name, "ip", "-br", "addr", "show", "dev", "lo")).toMatch(/^lo\s+UNKNOWN\s+127\.0\.0\.1\/8\s*$/);
  }
});

test("what one container is given of its own is written, and reaches no other", async () => {
  expect(await eventually(() => Promise.resolve(openNamespaces() >= 2 + COUNT))).toBe(true);
  await lab.put(...container("own", { [PING]: "1\t0", [V6_OFF]: "0", "net.ipv4.ip_forward": "1" }));
  await lab.put(...container("next", usual));
  expect(read("own", PING)).toBe("1\t0");
  expect(read("own", V6_OFF)).toBe("0");
  expect(read("own", "net.ipv4.ip_forward")).toBe("1");
  expect(read("next", PING)).toBe("0\t2147483647");
  expect(read("next", "net.ipv4.ip_forward")).toBe("0");
});

test("a name that is taken stays what it is", async () => {
  const number = () => lab.inside("taken", "readlink", "/proc/self/ns/net");
  const before = number();
  await lab.put({ kind: "netns", name: "taken" });
  expect(number()).toBe(before);
});
