import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * The resolver beside dnsmasq, in turn in one run: a container's name and forwarded names, over UDP and TCP, by dnsperf over a loopback.
 * Both forward to one dnsmasq in the host's namespace, and what is forwarded is 1,000 different names.
 */
const seconds = Number(process.env.SECONDS_EACH ?? 2);
const rounds = Number(process.env.ROUNDS ?? 3);
const host = `lsb${process.pid % 10000}h`;
const container = `lsb${process.pid % 10000}c`;
const dir = mkdtempSync(join(tmpdir(), "lsb-dns-"));
const children: ChildProcess[] = [];
const upstreamPort = 5353;

interface Figures {
  readonly qps: number;
  readonly latencyMs: number;
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
  for (let i = 0; i < 1000; i++)
    await dns.putEndpoint("n", "bench", {
      endpointId: `e${i}`,
      name: `c${i}`,
      aliases: [`alias${i % 10}`],
      ipv4: `10.9.${i >> 8}.${i & 255}`,
    });
  await dns.addSandbox({ sandboxId: "s", udpFd: open(SOCK_DGRAM), tcpFd, networks: ["n"], upstreams: [], links: [] });
  // an orderly end, so that `node --cpu-prof` can write what it has
  process.once("SIGTERM", () => void dns.close().then(() => process.exit(0)));
  console.log("ready");
}

async function main(): Promise<void> {
  try {
    for (const ns of [host, container]) {
      execFileSync("ip", ["netns", "add", ns]);
      execFileSync("ip", ["-n", ns, "link", "set", "lo", "up"]);
    }
    const names = Array.from({ length: 1000 }, (_, i) => i);
    writeFileSync(join(dir, "local"), names.map((i) => `c${i} A\n`).join(""));
    writeFileSync(join(dir, "fwd"), names.map((i) => `h${i}.fwd.lab A\n`).join(""));
    writeFileSync(join(dir, "hosts"), names.map((i) => `10.9.${i >> 8}.${i & 255} c${i}\n`).join(""));
    dnsmasq("upstream", [`--port=${upstreamPort}`, "--address=/fwd.lab/192.0.2.1", "--no-resolv"]);
    const common = [
      `--server=127.0.0.1#${upstreamPort}`,
      "--no-resolv",
      `--addn-hosts=${join(dir, "hosts")}`,
      "--dns-forward-max=1000",
    ];
    dnsmasq("peer", ["--port=53", ...common]);
    dnsmasq("peer without cache", ["--port=54", "--cache-size=0", ...common]);
    await linkspan();
    await new Promise((r) => setTimeout(r, 500));
    console.log(`dnsperf, ${seconds} s each, median of ${rounds}, in turn; 1,000 names each`);
    for (const [file, what] of [
      ["local", "a container's name"],
      ["fwd", "forwarded names"],
    ] as const)
      for (const mode of ["udp", "tcp"] as const) {
        compare(`${what}, ${mode}, 100 under way`, file, ["-m", mode, "-q", "100", "-c", mode === "tcp" ? "10" : "4"]);
        compare(`${what}, ${mode}, 1,000 q/s`, file, ["-m", mode, "-Q", "1000", "-q", "100", "-c", "1"]);
      }
  } finally {
    for (const child of children) child.kill("SIGKILL");
    for (const ns of [host, container]) execFileSync("ip", ["netns", "del", ns]);
    rmSync(dir, { recursive: true, force: true });
  }
}

function dnsmasq(name: string, args: readonly string[]): void {
  const child = spawn(
    "nsenter",
    [
      `--net=/run/netns/${host}`,
      "dnsmasq",
      "--keep-in-foreground",
      "--conf-file=/dev/null",
      "--no-hosts",
      "--listen-address=127.0.0.1",
      "--bind-interfaces",
      "--user=root",
      `--pid-file=${join(dir, `${name}.pid`)}`,
      ...args,
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  children.push(child);
}

async function linkspan(): Promise<void> {
  const child = spawn(
    "nsenter",
    [`--net=/run/netns/${host}`, process.execPath, fileURLToPath(import.meta.url), "serve", container],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  children.push(child);
  await new Promise<void>((resolve, reject) => {
    child.stdout.once("data", () => resolve());
    child.once("exit", () => reject(new Error("the resolver did not start")));
  });
}

function compare(what: string, file: string, args: readonly string[]): void {
  const targets = [
    { name: "linkspan", ns: container, server: ["-s", "127.0.0.11", "-p", "53"] },
    { name: "dnsmasq", ns: host, server: ["-s", "127.0.0.1", "-p", "53"] },
    { name: "dnsmasq without cache", ns: host, server: ["-s", "127.0.0.1", "-p", "54"] },
  ];
  const results = new Map<string, Figures[]>(targets.map((t) => [t.name, []]));
  for (let round = 0; round < rounds; round++)
    for (const target of targets)
      results.get(target.name)!.push(dnsperf(target.ns, [...target.server, "-d", join(dir, file), ...args]));
  const median = (name: string, pick: (f: Figures) => number) =>
    results
      .get(name)!
      .map(pick)
      .sort((a, b) => a - b)[Math.floor(rounds / 2)]!;
  const ours = median("linkspan", (f) => f.qps);
  for (const { name } of targets) {
    const qps = median(name, (f) => f.qps);
    const ratio = name === "linkspan" ? "" : `  linkspan is ×${(ours / qps).toFixed(2)}`;
    console.log(
      `${what.padEnd(42)} ${name.padEnd(22)} ${qps.toFixed(0).padStart(8)} q/s  ${(median(name, (f) => f.latencyMs) * 1000).toFixed(0).padStart(6)} µs  lost ${median(name, (f) => f.lost)}${ratio}`,
    );
  }
}

function dnsperf(ns: string, args: readonly string[]): Figures {
  const text = execFileSync("nsenter", [`--net=/run/netns/${ns}`, "dnsperf", "-l", String(seconds), ...args], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  const number = (pattern: RegExp) => Number(pattern.exec(text)?.[1] ?? Number.NaN);
  return {
    qps: number(/Queries per second:\s+([0-9.]+)/),
    latencyMs: number(/Average Latency \(s\):\s+([0-9.]+)/) * 1000,
    lost: number(/Queries lost:\s+([0-9]+)/),
  };
}
