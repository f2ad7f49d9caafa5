import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Logger } from "../src/base/log.js";
import type { JoinRequest, Sandbox } from "../src/model/index.js";
import type { ApplyResult, Batch, KernelPort } from "../src/plan/port.js";
import { importBusybox } from "./image.js";
import { type BenchEngine, type Lab, median, quantile, run, sleep, withLab } from "./lab.js";

/**
 * Attach and detach of an endpoint through the engine's own code (decide, commit, desired state, plan, kernel thread): namespace, veth pair,
 * bridge port, address, default route and anti-spoofing elements, with a growing number of endpoints present. Beside it the CNI plugins bridge
 * and host-local with as many present, and `network connect` of Docker, in turn.
 * Reach (issue 2): attach p50 ≤ 1.5 ms, with 1,000 present ≤ 1.3 × with 1, at least 10 × faster than CNI.
 */
const COUNTS = (process.env["ATTACH_COUNTS"] ?? "1,100,500,1000").split(",").map(Number);
const ROUNDS = 60;
const CNI_ROUNDS = 9;
const WARM_UP = 60;
/** Attaches follow each other, and so do detaches: the kernel clears a namespace away in the background, which is the detach's time. */
const BURSTS = 3;
const SETTLE_MS = 300;
/** ATTACH_PEERS=0: the engine alone. */
const PEERS = process.env["ATTACH_PEERS"] !== "0";

/** Compiled, this file stands in dist/bench beside dist/kernel. */
const load = async <T>(path: string): Promise<T> => (await import(new URL(`../${path}`, import.meta.url).href)) as T;
const { startKernel } = await load<typeof import("../src/kernel/index.js")>("kernel/index.js");
const model = await load<typeof import("../src/model/index.js")>("model/index.js");
const { containerSysctls } = await load<typeof import("../src/drivers/index.js")>("drivers/index.js");
const { Converger } = await load<typeof import("../src/engine/converge.js")>("engine/converge.js");
const { Committer } = await load<typeof import("../src/engine/commit.js")>("engine/commit.js");

const quiet = () => undefined;
const log: Logger = { debug: quiet, info: quiet, warn: console.error, error: console.error };
const id = () => randomBytes(32).toString("hex");

/** The engine's parts that an attach passes through. The store keeps nothing: its fsync is the disk's time, not the engine's. */
class Rig {
  readonly state = model.emptyState();
  syscalls = 0;
  readonly #committer: InstanceType<typeof Committer>;
  readonly #converger: InstanceType<typeof Converger>;
  readonly #kernel: KernelPort;
  #sequence = 0;

  constructor(kernel: KernelPort) {
    this.#kernel = kernel;
    const counting = Object.assign(Object.create(kernel) as KernelPort, {
      apply: async (batches: readonly Batch[]): Promise<ApplyResult> => {
        const result = await kernel.apply(batches);
        this.syscalls = result.syscalls;
        return result;
      },
    });
    const context = { instance: "bench", uplinkMtu: 1500, hostHasIPv6: true };
    this.#converger = new Converger({ state: this.state, kernel: counting, log, context });
    const store = {
      load: async () => ({ changes: [], damaged: [] }),
      commit: async () => undefined,
      close: async () => undefined,
    };
    this.#committer = new Committer(this.state, store, this.#converger);
  }

  async open(): Promise<void> {
    await this.#converger.convergeAll();
    const decided = model.createNetwork(
      this.state,
      { Name: "net", Driver: "bridge", IPAM: { Config: [{ Subnet: "10.44.0.0/16" }] } },
      { id: id(), created: "", hostRoutes: [], addressPools: model.LOCAL_ADDRESS_POOLS, drivers: new Set(["bridge"]) },
    );
    if (!decided.ok) throw new Error(decided.error.message);
    await this.#committer.transact(decided.value.changes, decided.value.owners);
    this.#converger.watch();
  }

  async attach(): Promise<string> {
    const sandboxId = id();
    const sandbox: Sandbox = {
      id: sandboxId,
      containerId: sandboxId,
      netns: sandboxId.slice(0, 12),
      sysctls: {},
      selfManaged: false,
      nextIfindex: 0,
    };
    const network = [...this.state.networks.values()][0]!;
    const join: JoinRequest = {
      network,
      request: { network: "net", aliases: [], links: null, driverOpts: null },
      ports: [],
      exposedPorts: [],
      endpointId: id(),
      random: randomBytes(16),
    };
    const request = {
      containerId: sandboxId,
      containerName: sandboxId.slice(0, 12),
      sandbox,
      joins: [join],
      sequence: this.#sequence++,
    };
    const decision = model.attach(this.state, request);
    if (!decision.ok) throw new Error(decision.error.message);
    await this.#committer.transact(decision.value.changes, decision.value.owners);
    return sandboxId;
  }

  async detach(sandboxId: string): Promise<void> {
    const decision = model.removeSandbox(this.state, sandboxId);
    await this.#committer.transact(decision.changes, decision.owners);
  }

  async close(): Promise<void> {
    const all = [...this.state.sandboxes.keys()].map((sandbox) => model.removeSandbox(this.state, sandbox));
    await this.#committer.transact(
      all.flatMap((d) => d.changes),
      all.flatMap((d) => d.owners),
    );
    this.#converger.stop();
    await this.#kernel.close();
  }
}

/** The plugins as podman or Kubernetes call them: one process for each, a namespace made beforehand. */
class Cni {
  readonly #ns: string;
  readonly #config: string;
  readonly #lab: Lab;
  #made = 0;

  constructor(lab: Lab, ns: string) {
    this.#lab = lab;
    this.#ns = ns;
    const ipam = {
      type: "host-local",
      dataDir: join(lab.dir, "cni"),
      ranges: [[{ subnet: "10.55.0.0/16" }]],
      routes: [{ dst: "0.0.0.0/0" }],
    };
    this.#config = JSON.stringify({
      cniVersion: "0.4.0",
      name: "net",
      type: "bridge",
      bridge: "cni0",
      isGateway: true,
      ipMasq: false,
      ipam,
    });
  }

  /** A namespace with an interface in it; the time of the plugins, without the making of the namespace. */
  add(): { readonly name: string; readonly ms: number } {
    const name = this.#lab.namespace(`n${this.#made++}`);
    return { name, ms: this.#call("ADD", name) };
  }

  delete(name: string): number {
    const ms = this.#call("DEL", name);
    run("ip", ["netns", "del", name]);
    this.#lab.names.splice(this.#lab.names.indexOf(name), 1);
    return ms;
  }

  #call(command: string, name: string): number {
    const environment = [
      `CNI_COMMAND=${command}`,
      `CNI_CONTAINERID=${name}`,
      `CNI_NETNS=/run/netns/${name}`,
      "CNI_IFNAME=eth0",
      "CNI_PATH=/usr/lib/cni",
    ];
    const started = performance.now();
    run("nsenter", [`--net=/run/netns/${this.#ns}`, "env", ...environment, "/usr/lib/cni/bridge"], { input: this.#config });
    return performance.now() - started;
  }
}

async function dockers(lab: Lab): Promise<BenchEngine | undefined> {
  const docker = await lab.docker(lab.host("d").ns);
  if (docker === undefined) return undefined;
  importBusybox(docker);
  docker.cli("network", "create", "net");
  docker.cli("run", "-d", "--name", "target", "busybox", "sleep", "3600");
  return docker;
}

await withLab(async (lab) => {
  // On a tmpfs like the engine's own /run: on a disk the pins of the namespaces cost more than the namespaces.
  const root = mkdtempSync("/run/lsb-attach-");
  mkdirSync(join(root, "netns"), { recursive: true });

  const kernel = await startKernel({
    execRoot: root,
    instance: "be4c",
    hostNetns: `/run/netns/${lab.namespace("a")}`,
    log,
    spares: { count: 16, sysctls: containerSysctls(true) },
  });
  const rig = new Rig(kernel);
  const cni = new Cni(lab, lab.namespace("c"));
  const docker = PEERS ? await dockers(lab) : undefined;
  try {
    await rig.open();
    // Programs compiled while they run begin slowly: without this, growth would be measured against that.
    for (let i = 0; i < WARM_UP; i++) await rig.detach(await rig.attach());
    const firsts = new Map<string, number>();
    let present = 0;
    let cniPresent = 0;
    for (const count of COUNTS) {
      for (; present < count - 1; present++) await rig.attach();
      for (; PEERS && cniPresent < count - 1; cniPresent++) cni.add();
      const figures = { attach: [] as number[], detach: [] as number[], cpu: [] as number[], syscalls: 0 };
      const peers = { cniAdd: [] as number[], cniDel: [] as number[], connect: [] as number[] };
      for (let burst = 0; burst < BURSTS; burst++) {
        const made: string[] = [];
        for (let i = 0; i < ROUNDS / BURSTS; i++) {
          const cpu = process.cpuUsage();
          const started = performance.now();
          made.push(await rig.attach());
          figures.attach.push(performance.now() - started);
          const used = process.cpuUsage(cpu);
          figures.cpu.push((used.user + used.system) / 1000);
        }
        figures.syscalls = rig.syscalls;
        await sleep(SETTLE_MS);
        for (const sandbox of made) {
          const started = performance.now();
          await rig.detach(sandbox);
          figures.detach.push(performance.now() - started);
        }
        await sleep(SETTLE_MS);
        for (let i = 0; PEERS && i < CNI_ROUNDS / BURSTS; i++) {
          const { name, ms } = cni.add();
          peers.cniAdd.push(ms);
          peers.cniDel.push(cni.delete(name));
          if (docker === undefined || count > 1) continue;
          peers.connect.push((await docker.call("POST", "/networks/net/connect", { Container: "target" })).ms);
          await docker.call("POST", "/networks/net/disconnect", { Container: "target" });
        }
        await sleep(SETTLE_MS);
      }
      const attach = median(figures.attach);
      firsts.set("attach", firsts.get("attach") ?? attach);
      const growth = attach / firsts.get("attach")!;
      const ratio = median(peers.cniAdd) / attach;
      const met = (is: boolean) => (is ? "met" : "missed");
      console.log(
        `${count} present: attach p50 ${attach.toFixed(2)} ms [reach 1.5 ms: ${met(attach <= 1.5)}], p99 ${quantile(figures.attach, 0.99).toFixed(2)} ms, ` +
          `${growth.toFixed(2)}× of the first${count === 1000 ? ` [reach 1.3×: ${met(growth <= 1.3)}]` : ""}, ` +
          `processor ${median(figures.cpu).toFixed(2)} ms, ${figures.syscalls} system calls; detach p50 ${median(figures.detach).toFixed(2)} ms`,
      );
      if (peers.cniAdd.length > 0)
        console.log(
          `  CNI bridge + host-local: ADD p50 ${median(peers.cniAdd).toFixed(1)} ms (${ratio.toFixed(1)}×) [reach 10×: ${met(ratio >= 10)}], DEL p50 ${median(peers.cniDel).toFixed(1)} ms (${(median(peers.cniDel) / median(figures.detach)).toFixed(1)}×)`,
        );
      if (peers.connect.length > 0)
        console.log(
          `  Docker, network connect over the API: p50 ${median(peers.connect).toFixed(1)} ms (${(median(peers.connect) / attach).toFixed(1)}×)`,
        );
    }
  } finally {
    await rig.close();
    rmSync(root, { recursive: true, force: true });
  }
});
