import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { AF_INET, AF_UNIX, libc, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_SEQPACKET } from "../../src/kernel/ffi.js";
import { bindMount, mountOverlay, umount } from "../../src/kernel/mounts.js";
import { inNamespace, listNamespaces, makeNamespace, removeNamespace } from "../../src/kernel/namespaces.js";
import { openPidfd } from "../../src/kernel/pidfd.js";
import { closeFd, pipe } from "../../src/kernel/pipes.js";
import { SeqpacketSocket, seqpacketConnect } from "../../src/kernel/seqpacket.js";
import { readSockaddr, sockaddrOf } from "../../src/kernel/sockaddr.js";
import { UdpPort } from "../../src/kernel/udp.js";
import { sleep } from "../lib/run.js";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), "lst-kernel-"));
  cleanups.push(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test("an overlay shows the topmost layer's file and keeps the lower layers as they are", () => {
  const root = scratch();
  for (const name of ["low:er", "middle,x", "upper", "work", "merged"]) mkdirSync(join(root, name));
  writeFileSync(join(root, "low:er", "file"), "lower");
  writeFileSync(join(root, "middle,x", "file"), "middle");
  mountOverlay(join(root, "merged"), {
    lower: [join(root, "middle,x"), join(root, "low:er")],
    upper: join(root, "upper"),
    work: join(root, "work"),
  });
  cleanups.push(() => umount(join(root, "merged")));
  expect(readFileSync(join(root, "merged", "file"), "utf8")).toBe("middle");
  writeFileSync(join(root, "merged", "file"), "new");
  expect(readFileSync(join(root, "upper", "file"), "utf8")).toBe("new");
  expect(readFileSync(join(root, "middle,x", "file"), "utf8")).toBe("middle");
  expect(umount(join(root, "merged"))).toBe(true);
  expect(umount(join(root, "merged"))).toBe(false);
});

test("a read-only bind mount refuses writes; a missing source names its errno", () => {
  const root = scratch();
  mkdirSync(join(root, "a"));
  mkdirSync(join(root, "b"));
  bindMount(join(root, "a"), join(root, "b"), { readOnly: true });
  cleanups.push(() => umount(join(root, "b")));
  expect(() => writeFileSync(join(root, "b", "x"), "")).toThrow(/EROFS/);
  expect(() => bindMount(join(root, "none"), join(root, "b"))).toThrow(expect.objectContaining({ code: "ENOENT", errno: 2 }));
});

test("pipe gives two ends that Node's children can take", async () => {
  const ends = pipe();
  const child = spawn("cat", { stdio: [ends.read, "pipe", "inherit"] });
  closeFd(ends.read);
  expect(libc.write(ends.write, Buffer.from("hello"), 5)).toBe(5);
  closeFd(ends.write);
  let text = "";
  for await (const chunk of child.stdout!) text += String(chunk);
  expect(text).toBe("hello");
});

test("a pidfd tells the exit, also when it has already happened", async () => {
  const child = spawn("sleep", ["30"]);
  const pidfd = openPidfd(child.pid!);
  const exited = new Promise<void>((done) => pidfd.onExit(done));
  expect(pidfd.signal(9)).toBe(true);
  await exited;
  await new Promise<void>((done) => pidfd.onExit(done));
  pidfd.close();
  expect(() => openPidfd(2 ** 22 - 1)).toThrow(expect.objectContaining({ code: "ESRCH" }));
});

/** A listening SEQPACKET socket whose accepted end is given to `serve`. */
function seqpacketServer(path: string): () => SeqpacketSocket {
  const fd = libc.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  const address = Buffer.alloc(128);
  address.writeUInt16LE(AF_UNIX, 0);
  address.write(path, 2);
  expect(libc.bind(fd, address, 2 + path.length + 1)).toBe(0);
  expect(libc.listen(fd, 1)).toBe(0);
  cleanups.push(() => libc.close(fd));
  const SYS_accept4 = process.arch === "x64" ? 288 : 242;
  return () => new SeqpacketSocket(libc.syscall(SYS_accept4, fd, 0, null, SOCK_NONBLOCK | SOCK_CLOEXEC));
}

test("a seqpacket socket keeps packet borders, waits for room, and tells the end", async () => {
  const path = join(scratch(), "attach");
  const accept = seqpacketServer(path);
  const client = seqpacketConnect(path);
  const server = accept();
  const got: number[] = [];
  const ended = new Promise<void>((done) =>
    server.onReadable(
      (bytes) => got.push(bytes.length),
      () => done(),
    ),
  );
  const writes: Promise<void>[] = [];
  for (let i = 1; i <= 500; i++) writes.push(client.write(Buffer.alloc(i)));
  client.shutdown();
  await Promise.all(writes);
  await ended;
  expect(got).toEqual(Array.from({ length: 500 }, (_, i) => i + 1));
  await server.write(Buffer.from("back"));
  expect(client.read()?.toString()).toBe("back");
  server.close();
  expect(client.read()).toBe(null);
  client.close();
  expect(() => seqpacketConnect(`${path}-none`)).toThrow(expect.objectContaining({ code: "ENOENT" }));
});

test("a seqpacket path longer than sun_path is reached", () => {
  const root = scratch();
  const deep = join(root, "d".repeat(100));
  mkdirSync(deep);
  // Bound by its short name through the directory, as conmon does it.
  const fd = libc.open(deep, 0o10000000, 0);
  cleanups.push(() => libc.close(fd));
  const accept = seqpacketServer(`/proc/self/fd/${fd}/attach`);
  const client = seqpacketConnect(join(deep, "attach"));
  accept().close();
  client.close();
});

test("inNamespace runs inside and comes back, also after an exception", () => {
  const directory = scratch();
  const path = join(directory, "ns");
  const inside = makeNamespace(path, () => readNs());
  cleanups.push(() => removeNamespace(path));
  const home = readNs();
  expect(inside).not.toBe(home);
  expect(inNamespace(path, readNs)).toBe(inside);
  expect(() =>
    inNamespace(path, () => {
      throw new Error("inside");
    }),
  ).toThrow("inside");
  expect(readNs()).toBe(home);
  writeFileSync(join(directory, "stale"), "");
  expect(listNamespaces(directory)).toEqual({ pinned: ["ns"], stale: ["stale"] });
  expect(() => makeNamespace(path, () => 0)).toThrow(expect.objectContaining({ code: "EEXIST" }));
  expect(inNamespace(path, readNs)).toBe(inside);
  expect(removeNamespace(path)).toBe(true);
  expect(removeNamespace(path)).toBe(false);
});

const readNs = (): string => readlinkSync("/proc/thread-self/ns/net");

test("a UDP port answers 2,000 datagrams in batches, in order, to the right peers", async () => {
  const fd = libc.socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  const address = sockaddrOf("127.0.0.1", 0);
  expect(libc.bind(fd, address, address.length)).toBe(0);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(16);
  expect(libc.getsockname(fd, address, size)).toBe(0);
  const { port } = readSockaddr(address);
  const server = new UdpPort(fd);
  server.onDatagrams((bytes, peer) => {
    expect(readSockaddr(peer).address).toBe("127.0.0.1");
    server.send(Buffer.from(`re:${Buffer.from(bytes)}`), peer);
  });
  const clients = [createSocket("udp4"), createSocket("udp4")];
  const got: string[][] = [[], []];
  for (const [c, client] of clients.entries()) client.on("message", (m) => got[c]!.push(String(m)));
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 50; i++)
      for (const [c, client] of clients.entries()) client.send(`${c}-${round * 50 + i}`, port, "127.0.0.1");
    const deadline = Date.now() + 2000;
    while (got.some((g) => g.length < (round + 1) * 50) && Date.now() < deadline) await sleep(1);
  }
  for (const client of clients) client.close();
  server.close();
  for (const c of [0, 1]) expect(got[c]).toEqual(Array.from({ length: 1000 }, (_, i) => `re:${c}-${i}`));
});
