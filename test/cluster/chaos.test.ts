import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { generator } from "../lib/random.js";
import { sleep } from "../lib/run.js";
import { World } from "./chaos-world.js";
import { type ClusterHost, ClusterLab } from "./lab.js";

// Random life and random death with a fixed seed. Runs when asked for, because it takes its time: CHAOS=full is eight hosts, 200 containers, ten
// minutes; `npm run chaos` (CHAOS=small) a minute with three hosts.
const FULL = process.env["CHAOS"] === "full";
const HOSTS = FULL ? 8 : 3;
const CONTAINERS = FULL ? 200 : 18;
const NETWORKS = FULL ? 10 : 4;
const OPERATIONS = FULL ? 24 : 8;
const TIME_MS = FULL ? 600_000 : 25_000;
/** After everything is whole again, so long may it take until all is as it should be. A cut connection to etcd is noticed after 8 s. */
const SETTLE_MS = FULL ? 90_000 : 25_000;
const SEED = Number(process.env["CHAOS_SEED"] ?? 20260731);

const random = generator(SEED);
const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
const chance = (p: number): boolean => random() < p;

let lab: ClusterLab;
let world: World;
let serial = 0;
const figures = {
  operations: 0,
  refused: 0,
  cut: 0,
  rounds: 0,
  engineKills: 0,
  storeKills: 0,
  cables: 0,
  settleMs: [] as number[],
};

beforeAll(async () => {
  lab = await ClusterLab.open(HOSTS);
  world = new World(lab);
}, 120_000);
afterAll(() => lab?.close(), 120_000);

/** One operation; a refusal changes nothing, a cut connection leaves it open. */
async function operate(names: readonly string[], work: () => Promise<void>): Promise<void> {
  figures.operations++;
  try {
    await work();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    if (/: [345]\d\d /.test(text)) figures.refused++;
    else figures.cut++;
    for (const name of names) {
      const e = world.expected.get(name);
      if (e) e.unsure = true;
    }
  }
}

async function create(host: ClusterHost, network: string, ip: string | undefined): Promise<void> {
  const name = `c${serial++}`;
  world.expected.set(name, { host, networks: new Set([network]), unsure: false });
  await operate([name], () => host.run(name, { network, ...(ip === undefined ? {} : { ip }) }).then(() => undefined));
}

async function remove(name: string): Promise<void> {
  const { host } = world.expected.get(name)!;
  await operate([name], async () => {
    await host.remove(name);
    world.expected.delete(name);
  });
}

async function reconnect(name: string, network: string): Promise<void> {
  const e = world.expected.get(name)!;
  await operate([name], async () => {
    const verb = e.networks.has(network) ? "disconnect" : "connect";
    await e.host.must("POST", `/networks/${network}/${verb}`, { Container: name });
    if (verb === "connect") e.networks.add(network);
    else e.networks.delete(network);
  });
}

async function makeNetwork(host: ClusterHost, name: string, i: number): Promise<void> {
  // Two kinds: overlays of which every second has a subnet of the user's (only there are addresses asked for), and routed ones.
  const driver = i % 5 === 4 ? "routed" : "overlay";
  const config = i % 2 === 0 ? { IPAM: { Config: [{ Subnet: `10.${100 + i}.0.0/22` }] } } : {};
  await host.network(name, { Driver: driver, ...config });
  world.networks.set(name, { driver });
}

/** What dies in this round, while the operations run; everything is whole again when it resolves. */
async function disturb(): Promise<void> {
  const faults: Promise<void>[] = [];
  const broken = new Set<ClusterHost>();
  for (let i = 0; i < (FULL ? 2 : 1); i++) {
    const host = pick(lab.hosts);
    const pause = 200 + random() * 2_000;
    const delay = random() * 800;
    const kind = random();
    if (kind < 0.45 && !broken.has(host)) {
      broken.add(host);
      figures.engineKills++;
      faults.push(
        sleep(delay)
          .then(() => host.engine.kill())
          .then(() => sleep(pause))
          .then(() => host.engine.start()),
      );
    } else if (kind < 0.7 && !broken.has(host)) {
      broken.add(host);
      figures.cables++;
      faults.push(
        sleep(delay)
          .then(() => lab.cable(host, "down"))
          .then(() => sleep(pause * 2))
          .then(() => lab.cable(host, "up")),
      );
    } else if (kind < 0.9 && figures.storeKills < figures.rounds) {
      figures.storeKills++;
      faults.push(
        sleep(delay)
          .then(() => lab.killStore())
          .then(() => sleep(pause))
          .then(() => lab.startStore()),
      );
      break;
    }
  }
  await Promise.all(faults);
}

function operations(): Promise<void>[] {
  const names = [...world.expected.keys()];
  const touched = new Set<string>();
  const out: Promise<void>[] = [];
  const room = CONTAINERS - names.length;
  const all = [...world.networks.keys()];
  for (let i = 0; i < OPERATIONS; i++) {
    const name = names.length === 0 ? undefined : pick(names);
    const network = pick(all);
    const ip =
      chance(0.2) && /[02468]$/.test(network) && world.networks.get(network)!.driver === "overlay"
        ? `10.${100 + Number(network.slice(1))}.0.${2 + Math.floor(random() * 60)}`
        : undefined;
    if (out.length < room && (chance(0.6) || name === undefined)) out.push(create(pick(lab.hosts), network, ip));
    else if (name !== undefined && !touched.has(name)) {
      touched.add(name);
      const e = world.expected.get(name)!;
      const other = pick(all);
      if (chance(0.55)) out.push(remove(name));
      else if (!e.networks.has(other) || e.networks.size > 1) out.push(reconnect(name, other));
    }
  }
  return out;
}

/** Containers that exist without running (their start was refused) go. */
async function sweep(): Promise<void> {
  for (const host of lab.hosts) {
    const list = (await host.must("GET", "/containers/json?all=1")) as { Names: string[]; State: string }[];
    for (const c of list) {
      if (c.State === "running") continue;
      await host.remove(c.Names[0]!);
      world.expected.delete(c.Names[0]!.slice(1));
    }
  }
}

async function settled(): Promise<void> {
  const start = performance.now();
  let problems: readonly string[] = [];
  while (performance.now() - start < SETTLE_MS) {
    try {
      await sweep();
      problems = await world.problems(random, FULL ? 10 : 6);
    } catch (error) {
      problems = [error instanceof Error ? error.message : String(error)];
    }
    if (problems.length === 0) {
      figures.settleMs.push(Math.round(performance.now() - start));
      return;
    }
    await sleep(250);
  }
  const logs = FULL || problems.length === 0 ? "" : lab.hosts.map((h) => `\nhost${h.number}:\n${h.engine.logTail(12)}`).join("");
  throw new Error(
    `round ${figures.rounds}, seed ${SEED}, ${JSON.stringify(figures)}:\n${problems.slice(0, 20).join("\n")}${logs}`,
  );
}

describe.runIf(process.env["CHAOS"])("random life and death of hosts, containers, links and the store", () => {
  test(
    "after each quiet moment everything is as the store says",
    async () => {
      for (let i = 0; i < NETWORKS; i++) await makeNetwork(pick(lab.hosts), `n${i}`, i);
      while (world.expected.size < CONTAINERS * 0.8) await Promise.all(operations());
      await settled();
      const end = performance.now() + TIME_MS;
      while (performance.now() < end) {
        figures.rounds++;
        await Promise.all([disturb(), ...operations()]);
        await settled();
      }
      const sorted = figures.settleMs.toSorted((a, b) => a - b);
      console.log(
        JSON.stringify({
          ...figures,
          settleMs: { median: sorted[sorted.length >> 1], max: sorted.at(-1) },
          containers: world.expected.size,
          questions: world.pairs,
        }),
      );
      expect(figures.rounds).toBeGreaterThan(2);
    },
    TIME_MS + 300_000,
  );

  test("when all is taken away nothing remains", async () => {
    await Promise.all([...world.expected.keys()].map((name) => remove(name)));
    for (const name of [...world.networks.keys()]) await pick(lab.hosts).must("DELETE", `/networks/${name}`);
    const left = [...(await lab.stored()).keys()].filter((key) => !/\/(nodes|node|schema|pools)\b/.test(key));
    expect(left).toEqual([]);
    for (const host of lab.hosts) {
      expect(await host.differences()).toEqual([]);
      expect(host.overlayNamespaces()).toEqual([]);
    }
  }, 120_000);
});
