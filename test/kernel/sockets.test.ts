import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { closeFd } from "../../src/kernel/pipes.js";
import { type Lab, openLab } from "./lab.js";

let lab: Lab;
beforeEach(async () => {
  lab = await openLab();
  await lab.put({ kind: "netns", name: "c1" }, { kind: "link", ns: "c1", type: "loopback", name: "lo", up: true });
});
afterEach(async () => {
  await lab.close();
});

test("a socket opened in a namespace listens there", async () => {
  const fd = await lab.kernel.openSocket({
    ns: "c1",
    type: "tcp",
    address: "127.0.0.11",
    port: 5300,
    backlog: 16,
    reuseAddress: true,
  });
  expect(lab.inside("c1", "ss", "-ltn")).toContain("127.0.0.11:5300");
  expect(lab.host("ss", "-ltn")).not.toContain("5300");
  const server = createServer((socket) => socket.end("hello"));
  server.listen({ fd });
  await once(server, "listening");
  const script = "exec 3<>/dev/tcp/127.0.0.11/5300; cat <&3";
  const { stdout } = await promisify(execFile)("nsenter", [`--net=${lab.kernel.namespacePath("c1")}`, "bash", "-c", script]);
  expect(stdout).toBe("hello");
  server.close();
});

test("many at once: a failure tells which, and closes what was opened", async () => {
  const fds = await lab.kernel.openSockets([
    { ns: "c1", type: "udp", address: "0.0.0.0", port: 53 },
    { ns: "", type: "udp", address: "0.0.0.0", port: 53 },
    { ns: "", type: "udp", address: "::", port: 53 },
    { ns: "", type: "tcp", address: "::", port: 80, dualStack: true, backlog: 1 },
  ]);
  expect(new Set(fds).size).toBe(4);
  await expect(lab.kernel.openSocket({ ns: "", type: "tcp", address: "0.0.0.0", port: 80, backlog: 1 })).rejects.toMatchObject({
    code: "EADDRINUSE",
    operation: "listen tcp 0.0.0.0:80",
  });
  await expect(
    lab.kernel.openSockets([
      { ns: "", type: "udp", address: "0.0.0.0", port: 7000 },
      { ns: "", type: "udp", address: "192.0.2.1", port: 7000 },
    ]),
  ).rejects.toMatchObject({ code: "EADDRNOTAVAIL" });
  expect(lab.host("ss", "-lun")).not.toContain("7000");
  await expect(lab.kernel.openSocket({ ns: "c9", type: "udp", address: "0.0.0.0", port: 1 })).rejects.toMatchObject({
    code: "ENOENT",
  });
  for (const fd of fds) closeFd(fd);
});

test("conntrack entries go by address or by port", async () => {
  await lab.put({
    kind: "nftTable",
    ns: "",
    family: "inet",
    table: "track",
    hash: "h",
    text: "chain c { type filter hook output priority 0; policy accept;\n ct state new accept\n}\n",
  });
  const tracked = () => lab.host("conntrack", "-L", "-p", "udp");
  for (const n of [1, 2, 3]) lab.host("bash", "-c", `echo x >/dev/udp/127.0.0.${n}/500${n}`);
  expect(tracked()).toContain("dport=5003");
  await lab.kernel.flushConntrack({ proto: "udp", dport: 5001 });
  expect(tracked()).not.toContain("dport=5001");
  expect(tracked()).toContain("dport=5002");
  await lab.kernel.flushConntrack({ ip: "127.0.0.2" });
  expect(tracked()).not.toContain("127.0.0.2");
  await lab.kernel.flushConntrack({});
  await lab.kernel.flushConntrack({ proto: "tcp", dport: 5003 });
  expect(tracked()).toContain("dport=5003");
});
