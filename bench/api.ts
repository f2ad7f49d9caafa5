import { median, report, withLab } from "./lab.js";

/**
 * What a person waits for: `network create`, `network connect` and `run -d`, ours and Docker's in turn in one run.
 * Reach (issue 2): create and connect at least 10× faster over the API, `run -d` (docker CLI to returned id) at least 2.5×.
 */
const ROUNDS = 15;
/** Rounds that do not count: a daemon is not measured in the first seconds of its life. */
const WARM_UP = 15;

await withLab(async (lab) => {
  const ours = await lab.linkspan(lab.host("a").ns);
  const docker = await lab.docker(lab.host("b").ns);
  const engines = docker ? [ours, docker] : [ours];
  const tar = await import("./image.js");
  for (const engine of engines) tar.importBusybox(engine);

  const figures = {
    create: new Map<string, number[]>(),
    connect: new Map<string, number[]>(),
    disconnect: new Map<string, number[]>(),
    remove: new Map<string, number[]>(),
    run: new Map<string, number[]>(),
    runRm: new Map<string, number[]>(),
  };
  const put = (map: Map<string, number[]>, kind: string, value: number) => map.set(kind, [...(map.get(kind) ?? []), value]);
  for (const engine of engines) engine.cli("run", "-d", "--name", "target", "busybox", "sleep", "3600");
  for (let i = 0; i < WARM_UP; i++)
    for (const engine of engines) {
      await engine.call("POST", "/networks/create", { Name: "warm" });
      await engine.call("POST", "/networks/warm/connect", { Container: "target" });
      await engine.call("POST", "/networks/warm/disconnect", { Container: "target" });
      await engine.call("DELETE", "/networks/warm");
    }
  for (let i = 0; i < ROUNDS; i++) {
    for (const engine of engines) {
      const created = await engine.call("POST", "/networks/create", { Name: `n${i}` });
      put(figures.create, engine.kind, created.ms);
      put(figures.connect, engine.kind, (await engine.call("POST", `/networks/n${i}/connect`, { Container: "target" })).ms);
      put(figures.disconnect, engine.kind, (await engine.call("POST", `/networks/n${i}/disconnect`, { Container: "target" })).ms);
      put(figures.remove, engine.kind, (await engine.call("DELETE", `/networks/n${i}`)).ms);
      const started = process.hrtime.bigint();
      engine.cli("run", "-d", "--name", `r${i}`, "busybox", "sleep", "3600");
      put(figures.run, engine.kind, Number(process.hrtime.bigint() - started) / 1e6);
      const again = process.hrtime.bigint();
      engine.cli("run", "--rm", "busybox", "true");
      put(figures.runRm, engine.kind, Number(process.hrtime.bigint() - again) / 1e6);
    }
  }
  const line = (name: string, map: Map<string, number[]>, factor?: number) => {
    const peers: Record<string, number> = docker ? { docker: median(map.get("docker")!) } : {};
    report(name, median(map.get("linkspan")!), "ms", peers, factor && docker ? { reach: { peer: "docker", factor } } : {});
  };
  console.log(`# medians of ${ROUNDS} rounds, in turn`);
  line("network create (API)", figures.create, 10);
  line("network connect (API)", figures.connect, 10);
  line("network disconnect (API)", figures.disconnect);
  line("network rm (API)", figures.remove);
  line("run -d (CLI)", figures.run, 2.5);
  line("run --rm busybox true (CLI)", figures.runRm, 2.5);
});
