// Runs in the engine's network namespace, so that published ports are reachable on its localhost. Prints one JSON object.
import { once } from "node:events";
import { createRequire } from "node:module";

// testcontainers 12 brings an undici that looks for two functions of Node 22 when it is loaded; neither is used here.
const require = createRequire(import.meta.url);
require("node:zlib").createZstdDecompress ??= () => {
  throw new Error("no zstd in this Node");
};
require("node:worker_threads").markAsUncloneable ??= () => {};
const { GenericContainer, Network, Wait } = await import("testcontainers");

const out = {};
const network = await new Network().start();
const web = await new GenericContainer("busybox")
  .withCommand(["sh", "-c", "mkdir -p /www; cp /tmp/index.html /www/; echo ready; exec httpd -f -p 80 -h /www"])
  .withCopyContentToContainer([{ content: "hello from the container\n", target: "/tmp/index.html" }])
  .withNetwork(network)
  .withNetworkAliases("web")
  .withExposedPorts(80)
  .withWaitStrategy(Wait.forAll([Wait.forLogMessage("ready"), Wait.forListeningPorts()]))
  .start();
out.http = await (await fetch(`http://${web.getHost()}:${web.getMappedPort(80)}/`)).text();

const client = await new GenericContainer("busybox").withCommand(["sleep", "600"]).withNetwork(network).withEnvironment({ FOO: "bar" }).start();
out.alias = (await client.exec(["wget", "-qO-", "http://web/"])).output;
const failed = await client.exec(["sh", "-c", "echo $FOO; exit 3"]);
out.exec = [failed.output.trim(), failed.exitCode];
await client.copyContentToContainer([{ content: "x", target: "/tmp/later" }]);
out.copied = (await client.exec(["cat", "/tmp/later"])).output;
// The client lets go of the log's socket: without something else to wait for, Node would end here.
const alive = setInterval(() => {}, 1000);
const logs = await web.logs();
out.log = String((await once(logs, "data"))[0]);
logs.destroy();
clearInterval(alive);
await client.restart({ timeout: 1 });
out.restarted = (await client.exec(["cat", "/tmp/later"])).output;
await client.stop({ timeout: 1 });
await web.stop({ timeout: 1 });
await network.stop();
console.log(JSON.stringify(out));
process.exit(0);
