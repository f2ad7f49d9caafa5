import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks } from "../lib/checks.js";
import { Lab } from "../lib/lab.js";
import { eventually, sleep } from "../lib/run.js";

let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open({ images: ["web"] });
});
afterAll(() => lab?.close());

/** What a network must not lose. */
const identity = async (network: string) => {
  const { Id, IPAM } = await lab.inspectNetwork(network);
  return { Id, IPAM };
};
let kept: object;
/** A clean stop of the engine gives each process its grace; these ignore SIGTERM. */
const brief = ["--stop-timeout", "1"];
const names = (text: string) =>
  text
    .split("\n")
    .filter((name) => name !== "")
    .sort();
const linkNames = async () =>
  [...(await lab.host.out("ip -o link")).matchAll(/^\d+: ([^@:]+)/gm)].map((match) => match[1]!).sort();
const mounts = () =>
  readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .filter((line) => line.includes(`${lab.engine.root}/`)).length;
const rules = async () =>
  (await lab.host.out("nft list ruleset")).replace(/comment "linkspan [^"]*"/, "").replace(/ counter packets \d+ bytes \d+/g, "");
/** Paths below the two roots with one of the ids in their names. */
const remains = (ids: readonly string[]) =>
  [lab.engine.dataRoot, lab.engine.execRoot]
    .flatMap((root) => readdirSync(root, { recursive: true, encoding: "utf8" }))
    .filter((path) => ids.some((id) => path.includes(id)));
const cgroups = (id: string) => {
  const found: string[] = [];
  const look = (directory: string, depth: number) => {
    for (const each of readdirSync(directory, { withFileTypes: true })) {
      if (!each.isDirectory()) continue;
      if (each.name.includes(id)) found.push(join(directory, each.name));
      else if (depth > 0) look(join(directory, each.name), depth - 1);
    }
  };
  look("/sys/fs/cgroup", 3);
  return found;
};

describe("prune", () => {
  beforeAll(async () => {
    for (const name of ["p1", "p2"]) await lab.out("network", "create", name);
    await lab.sleeper("pc", "--network", "p2");
  });
  it("takes unused networks, keeps those in use", async () => {
    const said = (await lab.out("network", "prune", "-f")).split("\n");
    expect(said.slice(0, 2)).toEqual(["Deleted Networks:", "p1"]);
    expect(said).not.toContain("p2");
  });
  it("a stopped container does not hold its network", async () => {
    await lab.out("stop", "-t", "0", "pc");
    expect((await lab.api("POST", "/networks/prune")).json).toEqual({ NetworksDeleted: ["p2"] });
  });
  checks(
    ["nothing left to prune: null", async () => (await lab.api("POST", "/networks/prune")).json, { NetworksDeleted: null }],
    ["containers", () => lab.out("container", "prune", "-f"), /^Deleted Containers:\n[0-9a-f]{64}$/m],
  );
});

describe("twelve containers at once", () => {
  let started: string[];
  beforeAll(async () => {
    started = await Promise.all(Array.from({ length: 12 }, (_, n) => lab.sleeper(`many${n}`)));
  });
  afterAll(() => lab.out("rm", "-f", ...started));
  it("get the twelve lowest addresses, each one its own", async () => {
    const addresses = await Promise.all(started.map((id) => lab.address(id)));
    expect(addresses.sort()).toEqual(Array.from({ length: 12 }, (_, n) => `172.17.0.${n + 2}`).sort());
  });
});

describe("a restart of the engine", () => {
  let before: Record<"keep" | "host" | "bridge", object>;
  beforeAll(async () => {
    await lab.out("network", "create", "keep");
    await lab.start("k1", ...brief, "--restart", "always", "--network", "keep", "-p", "8095:80", "web");
    await lab.sleeper("k2", ...brief, "--network", "keep");
    before = { keep: await identity("keep"), host: await identity("host"), bridge: await identity("bridge") };
    kept = before.keep;
    await lab.engine.restart();
  });
  checks(
    ["a network keeps id and addresses", () => identity("keep"), () => before.keep],
    ["host keeps its id", () => identity("host"), () => before.host],
    ["bridge keeps its id: what refers to it stays valid", () => identity("bridge"), () => before.bridge],
    ["--restart always runs", () => lab.column("k1", "Status"), /^Up/],
    ["without a policy it has ended", () => lab.column("k2", "Status"), /^Exited/],
    [
      "the published port is open",
      () => eventually(async () => (await lab.outside.fetch(`http://${lab.host.ip}:8095/`, 1)) !== ""),
      true,
    ],
    [
      "names work",
      async () => {
        await lab.out("start", "k2");
        return lab.pings("k2", "k1");
      },
      true,
    ],
  );
});

describe("the engine is killed", () => {
  let pid: number;
  beforeAll(async () => {
    pid = await lab.pid("k1");
    await lab.engine.kill();
  });
  it("the container goes on, and its port is served", async () => {
    expect(existsSync(`/proc/${pid}`)).toBe(true);
    expect(await lab.outside.fetch(`http://${lab.host.ip}:8095/`)).toContain("welcome");
  });
  it("what is broken meanwhile is made whole by the next start", async () => {
    const devices = (await linkNames()).filter((name) => name.startsWith("veth"));
    await lab.host.out(`ip link del ${devices[0]}`);
    await lab.host.out("nft flush ruleset");
    await lab.engine.start();
    expect(await lab.pid("k1")).toBe(pid);
    expect(await eventually(async () => (await lab.outside.fetch(`http://${lab.host.ip}:8095/`, 1)) !== "")).toBe(true);
    expect(await lab.pings("k2", "k1")).toBe(true);
  });
  it("a foreign flush of the rules is repaired within a second", async () => {
    await lab.host.out("nft flush ruleset");
    expect(await eventually(async () => (await lab.outside.fetch(`http://${lab.host.ip}:8095/`, 1)) !== "", 1_500)).toBe(true);
  });
});

describe("the power goes", () => {
  beforeAll(async () => {
    await lab.engine.powerLoss();
    await lab.engine.start();
  });
  checks(
    [
      "--restart always runs again, at its port",
      () => eventually(async () => (await lab.outside.fetch(`http://${lab.host.ip}:8095/`, 1)) !== ""),
      true,
    ],
    ["the other one has ended", () => lab.column("k2", "Status"), /^Exited/],
    [
      "and can be started",
      async () => {
        await lab.out("start", "k2");
        return lab.pings("k2", "k1");
      },
      true,
    ],
    ["a network keeps id and addresses", () => identity("keep"), () => kept],
  );
});

describe("when all is removed, nothing is left", () => {
  let empty: { links: string[]; rules: string; mounts: number };
  let ids: string[];
  beforeAll(async () => {
    await lab.clean();
    empty = { links: await linkNames(), rules: await rules(), mounts: mounts() };
    await lab.out("network", "create", "n1");
    await lab.out("network", "create", "--ipv6", "--subnet", "fd00:98::/64", "n2");
    await lab.start("full", "--network", "n1", "-p", "8096:80", "-p", "8096:80/udp", "--network-alias", "a", "web");
    await lab.out("network", "connect", "n2", "full");
    await lab.sleeper("linked", "--memory", "64m");
    await lab.sleeper("second", "--link", "linked");
    await lab.docker("run", "--rm", "--network", "container:full", "busybox", "true");
    await lab.exec("full", "true");
    ids = names(
      `${await lab.out("ps", "-aq", "--no-trunc")}\n${await lab.out("network", "ls", "-q", "--no-trunc", "-f", "type=custom")}`,
    );
    await lab.clean();
    await sleep(300);
  });
  checks(
    ["links: eth0, lo and docker0", () => linkNames(), ["docker0", "eth0", "lo"]],
    ["as before", () => linkNames(), () => empty.links],
    ["docker0 has no carrier", () => lab.host.out("ip link show docker0"), /state DOWN/],
    ["the rules are those of an empty engine", () => rules(), () => empty.rules],
    ["no mounts", () => mounts(), () => empty.mounts],
    ["no files", () => remains(ids), []],
    ["no cgroups", () => ids.flatMap(cgroups), []],
    ["no listening socket", () => lab.host.out("ss -Hlntu"), ""],
    ["no process but the engine's own", async () => conmons(), []],
    ["the three networks", () => lab.out("network", "ls", "--format", "{{.Name}}"), "bridge\nhost\nnone"],
  );
  const conmons = () =>
    readdirSync("/proc")
      .filter((pid) => /^\d+$/.test(pid) && existsSync(`/proc/${pid}/cmdline`))
      .map((pid) => cmdline(pid))
      .filter((line) => line.includes("conmon") && line.includes(lab.engine.root));
});

describe("a clean stop", () => {
  it("ends the process, its containers and its pid file", async () => {
    const sleeper = await lab.sleeper("last", ...brief).then(() => lab.pid("last"));
    await lab.engine.stop();
    expect(existsSync(join(lab.engine.root, "pid"))).toBe(false);
    expect(existsSync(`/proc/${sleeper}`)).toBe(false);
    expect(await linkNames()).not.toContainEqual(expect.stringMatching(/^veth/));
  });
});

function cmdline(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}
