import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { must, output, type Ran, type RunOptions, run } from "./run.js";

interface End {
  readonly ns: string;
  readonly addresses: readonly string[];
}

/** A network namespace that stands for one machine: what is run in it sees only its network. */
export class Space {
  readonly name: string;
  /** Address of eth0, "" when it has none */
  readonly ip: string;

  constructor(name: string, address: string) {
    this.name = name;
    this.ip = address;
  }

  get path(): string {
    return `/run/netns/${this.name}`;
  }

  /** Inode of the namespace: two processes share a network when theirs are equal. */
  get inode(): number {
    return statSync(this.path).ino;
  }

  run(program: string, args: readonly string[] = [], options: RunOptions = {}): Promise<Ran> {
    return run("nsenter", [`--net=${this.path}`, "--", program, ...args], options);
  }

  /** Splits at blanks: `out("ip -4 addr show docker0")`; stdout, or throws. */
  out(commandLine: string, options: RunOptions = {}): Promise<string> {
    const [program, ...args] = commandLine.split(" ");
    return must(`${commandLine} in ${this.name}`, this.run(program!, args, options));
  }

  /** A program that runs on in here until it is killed; its stdin ends when the test process does. */
  spawn(program: string, args: readonly string[]): ChildProcessWithoutNullStreams {
    return spawn("nsenter", [`--net=${this.path}`, "--", program, ...args], { stdio: "pipe" });
  }

  async pings(address: string, waitSeconds = 2): Promise<boolean> {
    return (await this.run("ping", ["-c1", `-W${waitSeconds}`, address])).code === 0;
  }

  /** The body, or "" when there is no answer in time or its status is not 2xx. */
  async fetch(url: string, timeoutSeconds = 2): Promise<string> {
    const ran = await this.run("curl", ["-gsSf", "-m", String(timeoutSeconds), url]);
    return ran.code === 0 ? ran.stdout.trimEnd() : "";
  }

  /** One datagram and the line that comes back, "" when none does within two seconds. */
  async udp(address: string, port: number, text: string): Promise<string> {
    const script = 'exec 3<>"/dev/udp/$0/$1"; echo "$2" >&3; timeout 2 head -n1 <&3';
    return (await this.run("bash", ["-c", script, address, String(port), text])).stdout.trimEnd();
  }
}

/** ip(8) outside of any namespace of ours: only for making, joining and removing namespaces. */
export async function ip(...args: string[]): Promise<string> {
  return must(`ip ${args.join(" ")}`, run("ip", args));
}

/** Nothing is in it but lo, which is down. */
export async function makeSpace(name: string, address = ""): Promise<Space> {
  await ip("netns", "add", name);
  return new Space(name, address);
}

/** Synchronous, for laboratories that are made at the top of a file; lo is up. */
export function addNamespace(name: string): void {
  output("ip", "netns", "add", name);
  output("ip", "-n", name, "link", "set", "lo", "up");
}

/** A cable between two namespaces: eth0 at both ends, with these addresses ("192.168.77.1/24"). Synchronous as well. */
export function joinNamespaces(...ends: readonly [End, End]): void {
  const [one, other] = ends;
  output("ip", "-n", one.ns, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", other.ns);
  for (const { ns, addresses } of ends) {
    for (const a of addresses) output("ip", "-n", ns, "addr", "add", a, "dev", "eth0", ...(a.includes(":") ? ["nodad"] : []));
    output("ip", "-n", ns, "link", "set", "eth0", "up");
  }
}

/** Synchronous, and silent about a namespace that is not there: it also runs when the test process ends early. */
export function removeSpace(name: string): void {
  spawnSync("ip", ["netns", "del", name], { stdio: "ignore" });
}
