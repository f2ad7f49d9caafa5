import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { importBusybox } from "./image.js";
import { type BenchEngine, type Lab, median, run, withLab } from "./lab.js";

/**
 * The resolver beside dnsmasq and Docker's, in turn in one run, by dnsperf: a container's name and forwarded names, over UDP and TCP; queries per second with
 * 100 under way, and the latency at 1,000 a second. 1,000 different names each. All forward to a dnsmasq on their own host.
 * Linkspan's is the engine's resolver thread without the rest of the engine; dnsmasq is asked on its host's loopback.
 */
const seconds = Number(process.env.SECONDS_EACH ?? 2);
const rounds = Number(process.env.ROUNDS ?? 3);
const upstreamPort = 5353;
const children: ChildProcess[] = [];
/** What an upstream says to everything below fwd.lab. */
const answering = ["--address=/fwd.lab/192.0.2.1", "--no-resolv"];
const numbers = Array.from({ length: 1000 }, (_, i) => i);
const addressOf = (i: number) => `10.9.${i >> 8}.${i & 255}`;

interface Figures {
  readonly qps: number;
  readonly latencyUs: number;
  readonly lost: number;
}

if (process.argv[2] === "serve") await serve(process.argv[3]!);
else await main();

/** The resolver as a process in the host's namespace, with its sockets in the container's: what the engine does. */
async function serve(ns: string): Promise<void> {
  // this file runs as dist/bench/dns.js, beside the compiled folders of src
  const load = <T>(path: string): Promise<T> => import(new URL(`../${path}`, import.meta.url).href) as Promise<T>;
  const { createLogger } = await load<typeof import("../src/base/log.js")>("base/log.js");
  const { startDns } = await load<typeof import("../src/dns/server.js")>("dns/server.js");
  const { AF_INET, check, libc, SOCK_DGRAM, SOCK_STREAM } = await load<typeof import("../src/kernel/ffi.js")>("kernel/ffi.js");
  const { inNamespace } = await load<typeof import("../src/kernel/namespaces.js")>("kernel/namespaces.js");
  const { sockaddrOf } = await load<typeof import("../src/kernel/sockaddr.js")>("kernel/sockaddr.js");
  const log = createLogger({ level: "info", write: (line) => process.stderr.write(line), now: () => new Date().toISOString() });
  const dns = await startDns({ log });
  const open = (type: number) =>
    inNamespace(`/run/netns/${ns}`, () => {
      const fd = check(libc.socket(AF_INET, type | 0o2004000, 0), "socket");
      const address = sockaddrOf("127.0.0.11", 53);
      check(libc.bind(fd, address, address.length), "bind");
      return fd;
    });
  const tcpFd = open(SOCK_STREAM);
  check(libc.listen(tcpFd, 128), "listen");
  await dns.setHostUpstreams([`127.0.0.1:${upstreamPort}`]);
  for (const i of numbers)
    await dns.putEndpoint("n", "bench", {
      endpointId: `e${i}`,
      name: `c${i}`,
      aliases: [`alias${i % 10}`],
      ipv4: addressOf(i),
    });
  await dns.addSandbox({ sandboxId: "s", udpFd: open(SOCK_DGRAM), tcpFd, networks: ["n"], upstreams: [], links: [] });
  // an orderly end, so that `node --cpu-prof` can write what it has
  process.once("SIGTERM", () => void dns.close().then(() => process.exit(0)));
  console.log("ready");
}

interface Target {
  readonly name: string;
  readonly ns: string[];
  readonly address: string;
  readonly port: number;
}

async function main(): Promise<void> {
  try {
    await withLab(async (lab) => {
      const host = lab.host("h");
      writeFileSync(join(lab.dir, "local"), numbers.map((i) => `c${i} A\n`).join(""));
      writeFileSync(join(lab.dir, "fwd"), numbers.map((i) => `h${i}.fwd.lab A\n`).join(""));
      writeFileSync(join(lab.dir, "hosts"), numbers.map((i) => `${addressOf(i)} c${i}\n`).join(""));
      dnsmasq(lab, host.ns, "upstream", [`--port=${upstreamPort}`, "--listen-address=127.0.0.1", ...answering]);
      const peer = [
        "--listen-address=127.0.0.1",
        "--no-resolv",
        `--server=127.0.0.1#${upstreamPort}`,
        `--addn-hosts=${join(lab.dir, "hosts")}`,
        "--dns-forward-max=1000",
      ];
      dnsmasq(lab, host.ns, "peer", ["--port=53", ...peer]);
      dnsmasq(lab, host.ns, "peer-no-cache", ["--port=54", "--cache-size=0", ...peer]);
      const targets: Target[] = [
        await linkspan(lab, host.ns),
        { name: "dnsmasq", ns: [`--net=/run/netns/${host.ns}`], address: "127.0.0.1", port: 53 },
        { name: "dnsmasq without cache", ns: [`--net=/run/netns/${host.ns}`], address: "127.0.0.1", port: 54 },
        ...(await dockers(lab)),
      ];
      console.log(`${seconds} s each, median of ${rounds}, in turn`);
      for (const [file, what] of [
        ["local", "a container's name"],
        ["fwd", "forwarded names"],
      ] as const)
        for (const mode of ["udp", "tcp"] as const) {
          compare(`${what}, ${mode}`, targets, "q/s", (target) =>
            dnsperf(target, ["-d", join(lab.dir, file), "-m", mode, "-q", "100", "-c", mode === "tcp" ? "10" : "4"]),
          );
          compare(`${what}, ${mode}, latency`, targets, "µs", (target) =>
            dnsperf(target, ["-d", join(lab.dir, file), "-m", mode, "-Q", "1000", "-q", "100", "-c", "1", "-v"]),
          );
        }
    });
  } finally {
    for (const child of children) child.kill("SIGKILL");
  }
}

function dnsmasq(lab: Lab, ns: string, name: string, args: readonly string[]): void {
  const always = [
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--no-hosts",
    "--bind-interfaces",
    "--user=root",
    `--pid-file=${join(lab.dir, `${name}.pid`)}`,
  ];
  children.push(
    spawn("nsenter", [`--net=/run/netns/${ns}`, "dnsmasq", ...always, ...args], { stdio: ["ignore", "ignore", "inherit"] }),
  );
}

async function linkspan(lab: Lab, hostNs: string): Promise<Target> {
  const container = lab.namespace("c");
  const child = spawn(
    "nsenter",
    [`--net=/run/netns/${hostNs}`, process.execPath, fileURLToPath(import.meta.url), "serve", container],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  children.push(child);
  await new Promise<void>((resolve, reject) => {
    child.stdout.once("data", () => resolve());
    child.once("exit", () => reject(new Error("the resolver did not start")));
  });
  return { name: "linkspan", ns: [`--net=/run/netns/${container}`], address: "127.0.0.11", port: 53 };
}

/** Docker's resolver in a container that has all the names as aliases; none where Docker is not installed. */
async function dockers(lab: Lab): Promise<Target[]> {
  const host = lab.host("d");
  const engine: BenchEngine | undefined = await lab.docker(host.ns);
  if (engine === undefined) return [];
  dnsmasq(lab, host.ns, "upstream-docker", ["--port=53", `--listen-address=${host.ip}`, ...answering]);
  importBusybox(engine);
  engine.cli("network", "create", "bench");
  const aliases = numbers.flatMap((i) => ["--network-alias", `c${i}`]);
  engine.cli("run", "-d", "--name", "asker", "--network", "bench", "--dns", host.ip, ...aliases, "busybox", "sleep", "3600");
  const pid = engine.cli("inspect", "-f", "{{.State.Pid}}", "asker");
  return [{ name: "docker", ns: ["-t", pid, "-n"], address: "127.0.0.11", port: 53 }];
}

function compare(what: string, targets: readonly Target[], unit: "q/s" | "µs", measure: (target: Target) => Figures): void {
  const results = targets.map((): Figures[] => []);
  for (let round = 0; round < rounds; round++) for (const [i, target] of targets.entries()) results[i]!.push(measure(target));
  const figure = (i: number) => median(results[i]!.map((f) => (unit === "q/s" ? f.qps : f.latencyUs)));
  for (const [i, { name }] of targets.entries()) {
    const ratio = unit === "q/s" ? figure(0) / figure(i) : figure(i) / figure(0);
    const lost = median(results[i]!.map((f) => f.lost));
    console.log(
      `${what.padEnd(34)} ${name.padEnd(22)} ${figure(i).toFixed(0).padStart(8)} ${unit}, lost ${lost}${i === 0 ? "" : ` (${ratio.toFixed(2)}×) [reach 1×: ${ratio >= 1 ? "met" : "missed"}]`}`,
    );
  }
}

function dnsperf(target: Target, args: readonly string[]): Figures {
  const text = run(
    "nsenter",
    [...target.ns, "dnsperf", "-l", String(seconds), "-s", target.address, "-p", String(target.port), ...args],
    { quiet: true },
  );
  const number = (pattern: RegExp) => Number(pattern.exec(text)?.[1] ?? Number.NaN);
  return {
    qps: number(/Queries per second:\s+([0-9.]+)/),
    // the median, where -v prints each: the mean is made by the few that a busy machine held up
    latencyUs: median([...text.matchAll(/^> .* ([0-9.]+)$/gm)].map((line) => Number(line[1]) * 1e6)),
    lost: number(/Queries lost:\s+([0-9]+)/),
  };
}
