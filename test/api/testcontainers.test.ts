import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EngineLab } from "../engine/harness.js";
import { run } from "./helpers.js";

const lab = new EngineLab("tc");
beforeAll(async () => {
  await lab.start();
  // The built-in image is made when it is first used; testcontainers would ask a registry for it.
  await lab.docker("run", "--rm", "busybox", "true");
}, 60_000);
afterAll(() => lab.close(), 60_000);

describe("testcontainers", () => {
  it("starts, waits, publishes, names, executes, copies, reads logs, and cleans up", async () => {
    const script = new URL("./testcontainers-client.mjs", import.meta.url).pathname;
    const ran = await run("nsenter", [`--net=/run/netns/${lab.ns}`, process.execPath, script], {
      env: {
        DOCKER_HOST: `unix://${lab.socket}`,
        TESTCONTAINERS_RYUK_DISABLED: "true",
        TESTCONTAINERS_HOST_OVERRIDE: "localhost",
      },
      timeoutMs: 60_000,
    });
    expect(ran.stderr).toBe("");
    expect(JSON.parse(ran.stdout)).toEqual({
      http: "hello from the container\n",
      alias: "hello from the container\n",
      exec: ["bar", 3],
      copied: "x",
      log: "ready\n",
      restarted: "x",
    });
    expect(await lab.docker("ps", "-aq")).toBe("");
    expect(await lab.docker("network", "ls", "-q", "-f", "type=custom")).toBe("");
    expect(lab.leftovers()).toEqual([]);
  }, 90_000);
});
