import { afterAll, expect, it } from "vitest";
import { until } from "../lib/run.js";
import { EngineLab } from "./harness.js";

const labs: EngineLab[] = [];
const lab = (name: string, ...flags: string[]): EngineLab => {
  const made = new EngineLab(name, flags);
  labs.push(made);
  return made;
};
afterAll(async () => {
  for (const l of labs) await l.close();
}, 30_000);

const forwardChain = (l: EngineLab) => l.host("nft", "list", "chain", "inet", "linkspan", "forward");
const sysctl = (l: EngineLab, key: string) => l.host("sysctl", "-n", key).trim();
const BRIDGE_FILTER = "net.bridge.bridge-nf-call-iptables";

it("a host that was no router becomes none for others, and stays so when the engine starts again", async () => {
  const closed = lab("hsa");
  expect(sysctl(closed, "net.ipv4.ip_forward")).toBe("0");
  for (let starts = 0; starts < 2; starts++) {
    await closed.start();
    expect(sysctl(closed, "net.ipv4.ip_forward")).toBe("1");
    expect(forwardChain(closed)).toMatch(/iifname @bridges accept\s+counter packets \d+ bytes \d+ drop/);
    expect(await closed.verify()).toEqual([]);
    await closed.signal("SIGKILL");
  }
});

it("a router stays one; a foreign bridge with ports keeps its filter, also one that comes later", async () => {
  const open = lab("hsb");
  open.host("sysctl", "-qw", "net.ipv4.ip_forward=1");
  await open.start();
  expect(forwardChain(open)).not.toMatch(/drop/);
  expect(sysctl(open, BRIDGE_FILTER)).toBe("0");
  open.host("ip", "link", "add", "virbr0", "type", "bridge");
  open.host("ip", "link", "add", "tap0", "type", "veth", "peer", "name", "tap1");
  open.host("ip", "link", "set", "tap0", "master", "virbr0");
  open.host("sysctl", "-qw", `${BRIDGE_FILTER}=1`);
  await open.signal("SIGTERM");
  await open.start();
  expect(sysctl(open, BRIDGE_FILTER)).toBe("1");
  expect(await open.verify()).toEqual([]);
  open.host("ip", "link", "del", "virbr0");
  await until("the bridge is gone, its filter is ours", () => sysctl(open, BRIDGE_FILTER) === "0", 20_000);
});
