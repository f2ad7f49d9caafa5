import { existsSync } from "node:fs";
import { flooder, nsOf, output, smallPackets as packets, tcp as stream } from "./flows.js";
import { importBusybox } from "./image.js";
import { type BenchEngine, type Lab, median, report, run, sleep, withLab } from "./lab.js";

/**
 * What packets pay: small packets and TCP between two containers of one network, beside a bare veth pair and a bridge without rules; TCP throughput and connections
 * per second through a published port from outside, from the host's address and from 127.0.0.1. Ours and Docker's in turn.
 * Reach (issue 3): localhost ≥ 2× docker-proxy's throughput; small packets ≥ 1.5× Docker's and ≥ 0.8 of a bare veth pair.
 */
const SECONDS = 3;
const ROUNDS = 3;

/** New connections per second, one after the other: made, closed by the server, closed. A server that forks would measure its forks. */
async function connections(from: string, to: string, address: string, port: number): Promise<number> {
  const serve = `
import socket,time
s=socket.create_server(("",80),backlog=128); s.settimeout(1); end=time.time()+${SECONDS + 2}
while time.time()<end:
  try: s.accept()[0].close()
  except TimeoutError: pass`;
  const ask = `
import socket,time,sys
end=time.time()+${SECONDS}; n=0
while time.time()<end and n<60000:
  s=socket.create_connection((sys.argv[1],int(sys.argv[2])),3); s.recv(1); s.close(); n+=1
print(n/${SECONDS})`;
  const server = output(to, ["/usr/bin/python3", "-c", serve]);
  await sleep(500);
  const rate = Number(await output(from, ["/usr/bin/python3", "-c", ask, address, String(port)]));
  await server;
  return rate;
}

const smallPackets = (tool: string, from: string, to: string, address: string) => packets(tool, from, to, address, SECONDS);
const tcp = (from: string, to: string, address: string, port: number) =>
  stream(from, to, address, { seconds: SECONDS, serverPort: port });
const addressOf = (engine: BenchEngine, name: string): string =>
  engine.cli("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name);

function barePair(lab: Lab): { readonly from: string; readonly to: string } {
  const a = lab.namespace("va");
  const b = lab.namespace("vb");
  run("ip", ["-n", a, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b]);
  for (const [ns, ip] of [
    [a, "10.251.0.1/24"],
    [b, "10.251.0.2/24"],
  ] as const) {
    run("ip", ["-n", ns, "addr", "add", ip, "dev", "eth0"]);
    run("ip", ["-n", ns, "link", "set", "eth0", "up"]);
  }
  return { from: `/run/netns/${a}`, to: `/run/netns/${b}` };
}

/** What a person would make for two containers: a bridge, a veth pair for each. No rules. */
function plainBridge(lab: Lab): { readonly from: string; readonly to: string } {
  const host = lab.namespace("pb");
  run("ip", ["-n", host, "link", "add", "name", "br0", "type", "bridge"]);
  run("ip", ["-n", host, "link", "set", "br0", "up"]);
  const boxes = ["pa", "pc"].map((name, i) => {
    const box = lab.namespace(name);
    run("ip", ["-n", host, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", box]);
    run("ip", ["-n", host, "link", "set", name, "master", "br0", "up"]);
    run("ip", ["-n", box, "addr", "add", `10.252.0.${i + 1}/24`, "dev", "eth0"]);
    run("ip", ["-n", box, "link", "set", "eth0", "up"]);
    return `/run/netns/${box}`;
  });
  return { from: boxes[0]!, to: boxes[1]! };
}

await withLab(async (lab) => {
  const tool = flooder(lab);
  const outside = `/run/netns/${lab.host("o").ns}`;
  const bare = barePair(lab);
  const bridge = plainBridge(lab);
  const hosts = new Map<BenchEngine, { ns: string; ip: string }>();
  const ourHost = lab.host("a");
  const dockerHost = lab.host("b");
  const ours = await lab.linkspan(ourHost.ns);
  hosts.set(ours, ourHost);
  const docker = existsSync("/usr/sbin/dockerd") ? await lab.docker(dockerHost.ns) : undefined;
  if (docker) hosts.set(docker, dockerHost);
  for (const engine of hosts.keys()) {
    importBusybox(engine);
    engine.cli("network", "create", "net");
    engine.cli("run", "-d", "--name", "one", "--network", "net", "busybox", "sleep", "3600");
    engine.cli("run", "-d", "--name", "two", "--network", "net", "-p", "5201:5201", "-p", "8080:80", "busybox", "sleep", "3600");
  }
  await sleep(500);

  const figures = new Map<string, Map<string, number[]>>();
  const put = (what: string, who: string, value: number) => {
    const row = figures.get(what) ?? new Map<string, number[]>();
    row.set(who, [...(row.get(who) ?? []), value]);
    figures.set(what, row);
  };
  for (let round = 0; round < ROUNDS; round++) {
    put("small packets between containers", "bare veth", (await smallPackets(tool, bare.from, bare.to, "10.251.0.2")) / 1000);
    put(
      "small packets between containers",
      "plain bridge",
      (await smallPackets(tool, bridge.from, bridge.to, "10.252.0.2")) / 1000,
    );
    const direct = await tcp(bare.from, bare.to, "10.251.0.2", 5201);
    put("TCP between containers", "bare veth", direct);
    put("TCP between containers", "plain bridge", await tcp(bridge.from, bridge.to, "10.252.0.2", 5201));
    // No way into a container can be faster than a veth pair with nothing around it.
    put("published port from 127.0.0.1, TCP", "bare veth", direct);
    for (const [engine, host] of hosts) {
      const a = nsOf(engine, "one");
      const b = nsOf(engine, "two");
      const hostNs = `/run/netns/${host.ns}`;
      put("small packets between containers", engine.kind, (await smallPackets(tool, a, b, addressOf(engine, "two"))) / 1000);
      put("TCP between containers", engine.kind, await tcp(a, b, addressOf(engine, "two"), 5201));
      put("published port from outside, TCP", engine.kind, await tcp(outside, b, host.ip, 5201));
      put("published port from the host's address, TCP", engine.kind, await tcp(hostNs, b, host.ip, 5201));
      put("published port from 127.0.0.1, TCP", engine.kind, await tcp(hostNs, b, "127.0.0.1", 5201));
      for (const [who, ns, address] of [
        ["outside", outside, host.ip],
        ["the host's address", hostNs, host.ip],
        ["127.0.0.1", hostNs, "127.0.0.1"],
      ] as const)
        put(`published port from ${who}, connections`, engine.kind, await connections(ns, b, address, 8080));
    }
  }
  const units = (what: string) =>
    what.startsWith("small") ? "kpps" : what.endsWith("TCP") || what.startsWith("TCP") ? "Gbit/s" : "per second";
  for (const [what, row] of figures) {
    const peers = Object.fromEntries(
      [...row].filter(([who]) => who !== "linkspan").map(([who, values]) => [who, median(values)]),
    );
    const reach =
      what.startsWith("small") && docker
        ? { peer: "docker", factor: 1.5 }
        : what.includes("127.0.0.1, TCP") && docker
          ? { peer: "docker", factor: 2 }
          : undefined;
    report(what, median(row.get("linkspan")!), units(what), peers, { higherIsBetter: true, ...(reach ? { reach } : {}) });
  }
});
