import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sleep, until } from "../lib/run.js";
import { EngineLab } from "./harness.js";

const lab = new EngineLab("drift");
const d = (...args: string[]) => lab.docker(...args);
const clean = async () => (await lab.verify()).length === 0;
/** Milliseconds until nothing differs any more. */
async function repaired(): Promise<number> {
  const began = performance.now();
  await until("repaired", clean, 5000);
  return performance.now() - began;
}
const vethOf = (address: string): string => {
  const mac = `02:42:${address
    .split(".")
    .map((n) => Number(n).toString(16).padStart(2, "0"))
    .join(":")}`;
  const port = lab
    .host("bridge", "fdb", "show", "br", "docker0")
    .split("\n")
    .find((l) => l.startsWith(mac));
  return port!.split(" ")[2]!;
};

beforeAll(async () => {
  await lab.start();
  await d(
    "run",
    "-d",
    "--name",
    "da",
    "-p",
    "8090:80",
    "busybox",
    "sh",
    "-c",
    "mkdir /w; echo hi >/w/index.html; httpd -f -p 80 -h /w",
  );
  await d("run", "-d", "--name", "db", "busybox", "sleep", "600");
  await d("exec", "db", "ping", "-c1", "-W2", "172.17.0.2");
  expect(await lab.verify()).toEqual([]);
});
afterAll(async () => {
  await lab.close();
}, 60_000);

describe("what somebody else takes away comes back", () => {
  it("the whole firewall, within a second, published ports included", async () => {
    expect(lab.host("curl", "-sf", "-m2", "http://192.168.77.10:8090/")).toBe("hi\n");
    lab.host("nft", "flush", "ruleset");
    const ms = await repaired();
    expect(ms).toBeLessThan(1500);
    expect(lab.host("curl", "-sf", "-m2", "http://192.168.77.10:8090/")).toBe("hi\n");
    console.log(`flushed ruleset repaired in ${Math.round(ms)} ms`);
  });

  it("a veth, with the interface inside the container", async () => {
    lab.host("ip", "link", "del", vethOf("172.17.0.3"));
    await repaired();
    expect(await d("exec", "db", "ping", "-c1", "-W2", "172.17.0.2")).toContain("1 packets received");
  });

  it("docker0 with all its ports", async () => {
    lab.host("ip", "link", "del", "docker0");
    await repaired();
    expect(await d("exec", "db", "ping", "-c1", "-W2", "172.17.0.2")).toContain("1 packets received");
    expect(await d("exec", "db", "ping", "-c1", "-W2", "192.168.77.10")).toContain("1 packets received");
  });

  it("an address and a port that was put down", async () => {
    lab.host("ip", "addr", "flush", "dev", "docker0");
    lab.host("ip", "link", "set", vethOf("172.17.0.2"), "down");
    await repaired();
    expect(await d("exec", "db", "ping", "-c1", "-W2", "172.17.0.2")).toContain("1 packets received");
  });

  it("forwarding that was switched off", async () => {
    lab.host("sysctl", "-qw", "net.ipv4.ip_forward=0");
    await repaired();
    expect(lab.host("sysctl", "-n", "net.ipv4.ip_forward").trim()).toBe("1");
  });

  it("and what is not ours is left alone", async () => {
    lab.host("ip", "link", "add", "mine0", "type", "bridge");
    lab.host("nft", "add table inet theirs; add chain inet theirs c");
    lab.host("ip", "link", "del", vethOf("172.17.0.3"));
    await repaired();
    expect(lab.host("ip", "-o", "link", "show", "mine0")).toContain("mine0");
    expect(lab.host("nft", "list", "tables")).toContain("theirs");
    const taken = await lab.try("network", "create", "-o", "com.docker.network.bridge.name=mine0", "clash");
    expect(taken.code).not.toBe(0);
  });

  it("a container that may configure its own interface is not corrected", async () => {
    await d("run", "-d", "--name", "own", "--cap-add", "NET_ADMIN", "busybox", "sleep", "600");
    await d("exec", "own", "ip", "addr", "add", "10.5.5.5/24", "dev", "eth0");
    await d("exec", "own", "ip", "route", "del", "default");
    await sleep(300);
    expect(await lab.verify()).toEqual([]);
    const routes = await d("exec", "own", "ip", "route");
    expect(routes).not.toContain("default");
    expect(routes).toContain("10.5.5.0/24");
    await d("rm", "-f", "own");
  });

  it("networks follow the uplink's MTU", async () => {
    lab.host("ip", "link", "set", "eth0", "mtu", "1400");
    const mtu = async () => (await d("exec", "db", "cat", "/sys/class/net/eth0/mtu")) === "1400";
    await until("eth0 of the container follows", mtu, 10_000);
    expect(lab.host("ip", "link", "show", "docker0")).toContain("mtu 1400");
    expect(await lab.verify()).toEqual([]);
  });
});
