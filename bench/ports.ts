import { importBusybox } from "./image.js";
import { type BenchEngine, inNs, median, sleep, withLab } from "./lab.js";

/**
 * What published ports cost: the time that N ports add to a `run -d` without any, the helper processes and their memory, and one
 * more port when N exist. Docker is measured up to 100 ports (1,000 take it more than a minute; PORTS_DOCKER_MAX=1000 does it all the same).
 * Reach (issue 3): +100 ≤ 5 ms, +1,000 ≤ 15 ms, +10,000 ≤ 150 ms, no helper process, +1 flat from 0 to 10,000.
 */
const REACH: Readonly<Record<number, number>> = { 1: 5, 100: 5, 1000: 15, 10000: 150 };
const dockerMax = Number(process.env["PORTS_DOCKER_MAX"] ?? 100);

interface Started {
  readonly ms: number;
  readonly status: number;
}

async function startWith(engine: BenchEngine, name: string, first: number, count: number): Promise<Started> {
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {};
  for (let i = 0; i < count; i++) bindings[`${first + i}/tcp`] = [{ HostIp: "", HostPort: String(first + i) }];
  const created = await engine.call("POST", `/containers/create?name=${name}`, {
    Image: "busybox",
    Cmd: ["sleep", "3600"],
    ExposedPorts: Object.fromEntries(Object.keys(bindings).map((k) => [k, {}])),
    HostConfig: { PortBindings: bindings },
  });
  if (created.status !== 201) throw new Error(`create: ${JSON.stringify(created.body)}`);
  const started = await engine.call("POST", `/containers/${name}/start`);
  return { ms: started.ms, status: started.status };
}

await withLab(async (lab) => {
  const ours = await lab.linkspan(lab.host("a").ns);
  const docker = await lab.docker(lab.host("b").ns);
  for (const engine of docker ? [ours, docker] : [ours]) {
    importBusybox(engine);
    const limit = engine === docker ? dockerMax : 10_000;
    for (const count of [1, 100, 1000, 10_000]) {
      if (count > limit) continue;
      const rounds = engine === docker && count >= 1000 ? 1 : 5;
      const without: number[] = [];
      const withPorts: number[] = [];
      let helpers = { count: 0, pssKiB: 0 };
      for (let i = 0; i < rounds; i++) {
        without.push((await startWith(engine, "plain", 0, 0)).ms);
        await engine.call("DELETE", "/containers/plain?force=1");
        const started = await startWith(engine, "many", 10_000, count);
        if (started.status !== 204) throw new Error(`${engine.kind}: start with ${count} ports: ${started.status}`);
        withPorts.push(started.ms);
        if (i === 0) helpers = engine.helpers("docker-proxy");
        if (i < rounds - 1) await engine.call("DELETE", "/containers/many?force=1");
      }
      const added = median(withPorts) - median(without);
      const reach = engine === ours ? ` [reach ${REACH[count]} ms: ${added <= REACH[count]! ? "met" : "missed"}]` : "";
      console.log(
        `${engine.kind}: ${count} ports add ${added.toFixed(1)} ms (run without ports ${median(without).toFixed(1)} ms)${reach}, helper processes ${helpers.count}, their memory ${(helpers.pssKiB / 1024).toFixed(1)} MiB`,
      );
      // one more port while they exist; the relay takes up the sockets of a large run in the background
      await sleep(2000);
      const more: number[] = [];
      for (let i = 0; i < 7; i++) {
        more.push((await startWith(engine, "one", 9_000 + i, 1)).ms);
        await engine.call("DELETE", "/containers/one?force=1");
      }
      console.log(`${engine.kind}: one more port when ${count} exist, start of a container ${median(more).toFixed(1)} ms`);
      await engine.call("DELETE", "/containers/many?force=1");
    }
  }
  const sockets = inNs(ours.ns, "ss", "-Hltn").split("\n").filter(Boolean).length;
  console.log(`linkspan: listening sockets left on its host after all were removed: ${sockets}`);
});
