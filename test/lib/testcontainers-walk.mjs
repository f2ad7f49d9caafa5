// node testcontainers-walk.mjs: runs in the engine's network namespace, where published ports are on localhost, and prints what it saw as one JSON object.
// DOCKER_HOST names the engine; the images "tools" and "busybox" must be there.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

// testcontainers 12 brings an undici that, when it is loaded, looks for two functions of Node 22; neither is used here.
const require = createRequire(import.meta.url);
require("node:zlib").createZstdDecompress ??= () => {
  throw new Error("no zstd in this Node");
};
require("node:worker_threads").markAsUncloneable ??= () => {};
const { GenericContainer, Network, Wait } = await import("testcontainers");

const seen = {};
const directory = mkdtempSync(join(tmpdir(), "lst-tc-"));
const alive = setInterval(() => {}, 1000);
try {
  const network = await new Network().start();
  const httpd = ["httpd", "-f", "-v", "-p", "80", "-h", "/www"];

  const byHttp = await new GenericContainer("tools")
    .withCommand(httpd)
    .withNetwork(network)
    .withNetworkAliases("web", "www")
    .withExposedPorts(80)
    .withCopyContentToContainer([{ content: "copied before the start\n", target: "/www/early.txt" }])
    .withWaitStrategy(Wait.forHttp("/index.html", 80).forStatusCode(200))
    .withStartupTimeout(20_000)
    .start();
  const get = async (path) => (await fetch(`http://${byHttp.getHost()}:${byHttp.getMappedPort(80)}${path}`)).text();
  seen.http = (await get("/index.html")).includes("welcome");
  seen.early = await get("/early.txt");

  writeFileSync(join(directory, "late.txt"), "copied while it runs\n");
  await byHttp.copyFilesToContainer([{ source: join(directory, "late.txt"), target: "/www/late.txt" }]);
  seen.late = await get("/late.txt");

  const byPort = await new GenericContainer("tools").withCommand(httpd).withExposedPorts(80).withWaitStrategy(Wait.forListeningPorts()).start();
  seen.twoPorts = byPort.getMappedPort(80) !== byHttp.getMappedPort(80);

  const byLog = await new GenericContainer("busybox")
    .withCommand(["sh", "-c", "for i in 1 2 3; do echo line $i; sleep 0.1; done; echo to-err >&2; exec sleep 600"])
    .withNetwork(network)
    .withEnvironment({ COLOUR: "green" })
    .withTmpFs({ "/scratch": "rw" })
    .withExtraHosts([{ host: "elsewhere", ipAddress: "203.0.113.7" }])
    .withWaitStrategy(Wait.forLogMessage(/line \d/, 3))
    .start();
  seen.alias = (await byLog.exec(["wget", "-qO-", "http://www/early.txt"])).output;
  const failed = await byLog.exec(["sh", "-c", "echo $COLOUR; echo bad >&2; exit 3"]);
  seen.exec = { stdout: failed.stdout.trim(), stderr: failed.stderr.trim(), exitCode: failed.exitCode };
  seen.workdir = (await byLog.exec(["pwd"], { workingDir: "/tmp" })).output.trim();
  seen.tmpfs = (await byLog.exec(["stat", "-fc", "%T", "/scratch"])).output.trim();
  seen.hosts = (await byLog.exec(["cat", "/etc/hosts"])).output.includes("203.0.113.7\telsewhere");
  seen.address = /^172\.\d+\.\d+\.\d+$/.test(byLog.getIpAddress(network.getName()));

  const lines = [];
  const logs = await byLog.logs();
  await new Promise((done) => {
    logs.on("data", (line) => {
      lines.push(...String(line).split("\n").filter((each) => each !== ""));
      if (lines.length >= 4) done();
    });
  });
  logs.destroy();
  seen.logs = lines.sort();

  const byHealth = await new GenericContainer("busybox")
    .withCommand(["sh", "-c", "sleep 0.5; touch /tmp/well; exec sleep 600"])
    .withHealthCheck({ test: ["CMD", "test", "-f", "/tmp/well"], interval: 200, retries: 20, startPeriod: 100, timeout: 2000 })
    .withWaitStrategy(Wait.forHealthCheck())
    .start();
  seen.healthy = (await byHealth.exec(["true"])).exitCode === 0;

  const byCommand = await new GenericContainer("busybox")
    .withCommand(["sh", "-c", "sleep 0.3; touch /tmp/done; exec sleep 600"])
    .withWaitStrategy(Wait.forSuccessfulCommand("test -f /tmp/done"))
    .start();
  await byCommand.restart({ timeout: 0 });
  seen.restarted = (await byCommand.exec(["ls", "/tmp/done"])).exitCode;

  for (const container of [byCommand, byHealth, byLog, byPort, byHttp]) await container.stop({ timeout: 0 });
  await network.stop();
} finally {
  clearInterval(alive);
  rmSync(directory, { recursive: true });
}
console.log(JSON.stringify(seen));
process.exit(0);
