import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks } from "../lib/checks.js";
import { Compose } from "../lib/compose.js";
import { Lab } from "../lib/lab.js";
import { eventually, type Ran, sleep } from "../lib/run.js";

/** How often the same file is brought up and down: COMPOSE_LOOPS, or 50 with FULL=1. */
const loops = Number(process.env.COMPOSE_LOOPS ?? (process.env.FULL === "1" ? 50 : 5));

const file = `version: "2.4"
services:
  db:
    image: busybox
    command: sh -c "mkdir -p /www; echo db >/www/index.html; httpd -p 6379 -h /www; sleep 1; touch /data/up; exec sleep 3600"
    stop_grace_period: 0s
    volumes: ["dbdata:/data", "./conf:/conf:ro"]
    networks:
      back:
        aliases: [database, store]
        ipv4_address: 10.77.0.10
    healthcheck: {test: ["CMD", "test", "-e", "/data/up"], interval: 0.5s, timeout: 2s, retries: 20}
  web:
    build: {context: ./web, args: {GREETING: hello-compose}}
    stop_grace_period: 0s
    depends_on: {db: {condition: service_healthy}}
    ports: ["8080:80", "9000-9001:80"]
    environment: [REDIS_HOST=database]
    env_file: web.env
    networks: [front, back]
    restart: always
  worker:
    image: busybox
    command: sh -c "while true; do echo tick; sleep 0.3; done"
    stop_grace_period: 0s
    depends_on: [db]
    networks: [back]
    links: ["db:linked"]
    labels: {role: worker}
    mem_limit: 64m
  inner:
    image: busybox
    command: sleep 3600
    stop_grace_period: 0s
    networks: [hidden]
  fails:
    image: busybox
    command: sh -c "sleep 0.3; exit 3"
    restart: on-failure:2
    network_mode: none
networks:
  front: {}
  back: {ipam: {config: [{subnet: 10.77.0.0/24, gateway: 10.77.0.1}]}}
  hidden: {internal: true}
  given: {external: true}
volumes:
  dbdata: {labels: {kept: "no"}}
`;
const webDockerfile = `FROM busybox
ARG GREETING=none
RUN mkdir -p /www && echo "$GREETING" > /www/index.html
CMD ["httpd","-f","-p","80","-h","/www"]
`;

let lab: Lab;
let compose: Compose;
beforeAll(async () => {
  lab = await Lab.open();
  compose = new Compose(lab, "shop", {
    "docker-compose.yml": file,
    "web/Dockerfile": webDockerfile,
    "web.env": "FROM_FILE=yes\n",
    "conf/x": "configured\n",
  });
});
afterAll(() => lab?.close());

const inside = (service: string, ...command: string[]) => lab.inside(`shop_${service}_1`, ...command);
const names = async (...flags: string[]) =>
  (await lab.out("ps", "--format", "{{.Names}}", ...flags))
    .split("\n")
    .filter((n) => n !== "")
    .sort();

describe("up", () => {
  let up: Ran;
  beforeAll(async () => {
    await lab.out("network", "create", "given");
    up = await compose.run(["up", "-d"]);
  }, 120_000);
  checks(
    ["succeeds", () => up.code, 0],
    ["builds what is to be built", () => up.stdout, /Successfully tagged shop_web:latest/],
    [
      "waits for the healthy one",
      async () => {
        const [db, web] = [await lab.inspect("shop_db_1"), await lab.inspect("shop_web_1")];
        const healthy = db.State.Health?.Log.find((entry) => entry.ExitCode === 0)?.End ?? "9";
        return Date.parse(String(healthy)) <= Date.parse(web.State.StartedAt);
      },
      true,
    ],
    ["ps", () => compose.out("ps"), /shop_db_1 .* Up \(healthy\)[\s\S]*shop_web_1 .* Up .*0\.0\.0\.0:8080->80\/tcp/],
    [
      "its networks",
      () => lab.out("network", "ls", "-f", "label=com.docker.compose.project=shop", "--format", "{{.Name}}"),
      "shop_back\nshop_front\nshop_hidden",
    ],
    ["a published port, from outside", () => lab.outside.fetch(`http://${lab.host.ip}:8080/`), "hello-compose"],
    ["the first free port of a range", () => lab.outside.fetch(`http://${lab.host.ip}:9000/`), "hello-compose"],
    ["port", () => compose.out("port", "web", "80"), /^0\.0\.0\.0:(8080|9000)$/],
    ["a service by its name", () => inside("web", "wget", "-qO-", "http://db:6379/"), "db"],
    ["by its aliases", () => inside("web", "wget", "-qO-", "http://store:6379/"), "db"],
    ["by a link", () => inside("worker", "wget", "-qO-", "http://linked:6379/"), "db"],
    ["a static address", () => lab.address("shop_db_1", "shop_back"), "10.77.0.10"],
    ["an internal network leads nowhere", async () => lab.pings("shop_inner_1", lab.outside.ip, 1), false],
    ["networks are apart", async () => (await lab.resolve("shop_inner_1", "db")).length, 0],
    ["environment and env_file", () => inside("web", "env"), /^FROM_FILE=yes$[\s\S]*^REDIS_HOST=database$/m],
    ["a bind mount, relative to the file", () => inside("db", "cat", "/conf/x"), "configured"],
    ["a named volume", () => lab.out("volume", "inspect", "-f", "{{.Labels.kept}}", "shop_dbdata"), "no"],
    ["a limit", async () => (await lab.inspect("shop_worker_1")).HostConfig.Memory, 64 * 1024 * 1024],
    [
      "restart: on-failure:2",
      async () => {
        await eventually(async () => (await lab.inspect("shop_fails_1")).RestartCount === 2, 10_000);
        await eventually(async () => !(await lab.inspect("shop_fails_1")).State.Running, 5_000);
        const { RestartCount, State } = await lab.inspect("shop_fails_1");
        return [RestartCount, State.ExitCode];
      },
      [2, 3],
    ],
  );
});

describe("with what is up", () => {
  it("logs, and logs -f", async () => {
    expect(await compose.out("logs", "--tail", "1", "worker")).toMatch(/^worker_1 +\| tick$/m);
    const followed = await compose.run(["logs", "-f", "--tail", "1", "worker"], { timeoutMs: 6_000 });
    expect(followed.stdout.match(/tick/g)?.length).toBeGreaterThan(2);
  }, 20_000);
  it("run is one more container, with its exit code", async () => {
    const ran = await compose.run(["run", "--rm", "-T", "worker", "sh", "-c", "wget -qO- http://database:6379/; exit 4"]);
    expect([ran.code, ran.stdout]).toEqual([4, "db\n"]);
    expect(await names("-a", "-f", "name=worker")).toEqual(["shop_worker_1"]);
  }, 30_000);
  it("exec gives output and exit code", async () => {
    const ran = await compose.run(["exec", "-T", "worker", "sh", "-c", "echo here; exit 7"]);
    expect([ran.stdout, ran.code]).toEqual(["here\n", 7]);
  });
  it("scale", async () => {
    await compose.out("up", "-d", "--scale", "worker=3", "--no-deps", "worker");
    expect(await names("-f", "label=role=worker")).toEqual(["shop_worker_1", "shop_worker_2", "shop_worker_3"]);
    const found = await lab.resolve("shop_web_1", "worker");
    expect(new Set(found).size).toBe(3);
    await compose.out("up", "-d", "--scale", "worker=1", "--no-deps", "worker");
    expect(await names("-f", "label=role=worker")).toEqual(["shop_worker_1"]);
  }, 60_000);
  it("stop, start, restart, pause, kill, rm, top, images, events", async () => {
    await compose.out("stop", "worker");
    expect(await compose.out("ps", "worker")).toMatch(/Exit 137/);
    await compose.out("start", "worker");
    await compose.out("restart", "worker");
    await compose.out("pause", "worker");
    expect(await compose.out("ps", "worker")).toMatch(/Paused/);
    await compose.out("unpause", "worker");
    expect(await compose.out("top", "worker")).toContain("sleep 0.3");
    expect(await compose.out("images", "web")).toMatch(/shop_web_1 +shop_web +latest/);
    const events = compose.run(["events"], { timeoutMs: 8_000 });
    await sleep(2_500);
    await compose.out("kill", "worker");
    await compose.out("rm", "-f", "worker");
    expect(await names("-a", "-f", "name=worker")).toEqual([]);
    expect((await events).stdout).toMatch(/container die .*shop_worker_1/);
  }, 90_000);
  it("up again makes only what is missing", async () => {
    const id = (await lab.inspect("shop_db_1")).Id;
    await compose.out("up", "-d");
    expect((await lab.inspect("shop_db_1")).Id).toBe(id);
    expect(await names("-f", "name=worker")).toEqual(["shop_worker_1"]);
  }, 60_000);
  it("a changed file changes its service only, and keeps the volume", async () => {
    const id = (await lab.inspect("shop_db_1")).Id;
    compose.write("docker-compose.yml", file.replace("REDIS_HOST=database", "REDIS_HOST=store"));
    await compose.out("up", "-d");
    expect((await lab.inspect("shop_db_1")).Id).toBe(id);
    expect(await inside("web", "env")).toContain("REDIS_HOST=store");
    expect(await inside("db", "ls", "/data")).toBe("up");
    compose.write("docker-compose.yml", file);
  }, 60_000);
  it("down -v takes containers, networks and volumes, and leaves what is another's", async () => {
    expect((await compose.run(["down", "-v", "--rmi", "local"])).code).toBe(0);
    expect(await names("-a")).toEqual([]);
    expect(await lab.out("network", "ls", "-f", "type=custom", "--format", "{{.Name}}")).toBe("given");
    expect(await lab.out("volume", "ls", "-q")).toBe("");
    expect((await lab.docker("image", "inspect", "shop_web")).code).not.toBe(0);
  }, 60_000);
});

describe(`up and down ${loops} times`, () => {
  it(
    "leaves nothing behind",
    async () => {
      const round = async () => {
        expect((await compose.run(["up", "-d"])).code).toBe(0);
        expect((await compose.run(["down", "-v"])).code).toBe(0);
      };
      compose.write(
        "docker-compose.yml",
        file
          .replace(/ {2}fails:[\s\S]*?network_mode: none\n/, "")
          .replace(/\n {4}healthcheck: .*/, "")
          .replace("{db: {condition: service_healthy}}", "[db]"),
      );
      await round();
      const before = await everything();
      for (let i = 0; i < loops; i++) await round();
      expect(await everything()).toEqual(before);
    },
    60_000 + loops * 30_000,
  );
});

/** All that a container, a network or a volume leaves traces in. */
async function everything(): Promise<Record<string, unknown>> {
  const { host, engine } = lab;
  const list = (directory: string) =>
    existsSync(directory) ? readdirSync(directory, { recursive: true }).map(String).sort() : [];
  const belongs = (line: string) => line.includes(`${engine.root}/`);
  const processes = readdirSync("/proc").filter((pid) => {
    try {
      return /^\d+$/.test(pid) && belongs(readFileSync(`/proc/${pid}/cmdline`, "utf8")) && Number(pid) !== engine.pid;
    } catch {
      return false;
    }
  });
  const rules = await host.out("nft list ruleset");
  return {
    containers: await lab.out("ps", "-aq"),
    networks: await lab.out("network", "ls", "--format", "{{.Name}}"),
    volumes: await lab.out("volume", "ls", "-q"),
    images: (await lab.out("images", "-a", "--format", "{{.Repository}}")).split("\n").sort(),
    links: (await host.out("ip -o link")).split("\n").map((line) => line.split(" ")[1]),
    addresses: (await host.out("ip -o addr")).split("\n").map((line) => line.split(/\s+/).slice(1, 4).join(" ")),
    routes: await host.out("ip route show table all type unicast"),
    rules: rules.replaceAll(/counter packets \d+ bytes \d+/g, "counter"),
    listeners: (await host.out("ss -Hlntu"))
      .split("\n")
      .map((line) => line.split(/\s+/)[4])
      .sort(),
    mounts: readFileSync("/proc/self/mountinfo", "utf8")
      .split("\n")
      .filter(belongs)
      .map((line) => line.split(" ")[4])
      .sort(),
    processes: processes.length,
    run: list(engine.execRoot).filter((path) => !path.startsWith("storage/")),
    data: ["containers", "volumes", "image-tmp"].flatMap((directory) => list(join(engine.dataRoot, directory))),
    openFiles: openFiles(engine.pid!),
  };
}

/** Kinds of open files and how many of each; pooled namespaces and sockets of clients come and go by a few. */
function openFiles(pid: number): string {
  return readdirSync(`/proc/${pid}/fd`).length < 400 ? "few" : `many: ${readdirSync(`/proc/${pid}/fd`).length}`;
}
