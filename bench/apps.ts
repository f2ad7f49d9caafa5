import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { importBusybox } from "./image.js";
import { type BenchEngine, has, median, report, run, withLab } from "./lab.js";

/**
 * What an application of several containers costs: `run --rm`, `compose up` and `down` of five services, `build` of a Dockerfile with and
 * without cache. Ours and Docker's in turn. Reach (issue 4): none slower, `run` at least 2.5× faster.
 */
const ROUNDS = 5;

const COMPOSE = `version: "2.4"
services:
${[1, 2, 3, 4, 5].map((i) => `  s${i}:\n    image: busybox\n    command: sleep 3600\n    stop_grace_period: 0s\n`).join("")}`;
const DOCKERFILE = `FROM busybox
LABEL maintainer="bench"
COPY . /app
WORKDIR /app
RUN echo built > /app/built
EXPOSE 5000
CMD ["httpd", "-f", "-p", "5000"]
`;

function timed(body: () => void): number {
  const started = process.hrtime.bigint();
  body();
  return Number(process.hrtime.bigint() - started) / 1e6;
}

await withLab(async (lab) => {
  const ours = await lab.linkspan(lab.host("a").ns);
  const docker = await lab.docker(lab.host("b").ns);
  const engines: BenchEngine[] = docker ? [ours, docker] : [ours];
  const project = join(lab.dir, "project");
  const context = join(lab.dir, "context");
  mkdirSync(project);
  mkdirSync(context);
  writeFileSync(join(project, "docker-compose.yml"), COMPOSE);
  writeFileSync(join(context, "Dockerfile"), DOCKERFILE);
  writeFileSync(join(context, "app.txt"), "application\n");
  for (const engine of engines) importBusybox(engine);

  const figures = new Map<string, Map<string, number[]>>();
  const put = (what: string, engine: BenchEngine, value: number) => {
    const row = figures.get(what) ?? new Map<string, number[]>();
    row.set(engine.kind, [...(row.get(engine.kind) ?? []), value]);
    figures.set(what, row);
  };
  const compose = (engine: BenchEngine, ...args: string[]) =>
    run(
      "env",
      [
        `DOCKER_HOST=unix://${engine.socket}`,
        "docker-compose",
        "-p",
        "bench",
        "-f",
        join(project, "docker-compose.yml"),
        ...args,
      ],
      { timeoutMs: 180_000 },
    );
  for (let i = 0; i < ROUNDS; i++) {
    for (const engine of engines) {
      put(
        "run --rm busybox true",
        engine,
        timed(() => engine.cli("run", "--rm", "busybox", "true")),
      );
      put(
        "build, nothing cached",
        engine,
        timed(() => engine.cli("build", "--no-cache", "-t", "bench", context)),
      );
      put(
        "build, all cached",
        engine,
        timed(() => engine.cli("build", "-t", "bench", context)),
      );
      if (has("docker-compose")) {
        put(
          "compose up, five services",
          engine,
          timed(() => compose(engine, "up", "-d")),
        );
        put(
          "compose down, five services",
          engine,
          timed(() => compose(engine, "down", "-t", "0")),
        );
      }
    }
  }
  console.log(`# medians of ${ROUNDS} rounds, in turn`);
  for (const [what, row] of figures) {
    const peers: Record<string, number> = docker ? { docker: median(row.get("docker")!) } : {};
    report(
      what,
      median(row.get("linkspan")!),
      "ms",
      peers,
      docker ? { reach: { peer: "docker", factor: what.startsWith("run") ? 2.5 : 1 } } : {},
    );
  }
});
