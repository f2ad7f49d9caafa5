import { chmodSync, chownSync, mkdirSync, readFileSync, statSync, unlinkSync } from "node:fs";
import type { Server } from "node:http";
import { connect } from "node:net";
import { dirname } from "node:path";

/** Binds to `unix:///path` (mode 0660, group docker when there is one) or `tcp://address:port`. */
export async function bindServer(server: Server, host: string): Promise<void> {
  if (host.startsWith("unix://")) return bindUnix(server, host.slice("unix://".length));
  const m = /^tcp:\/\/(?:\[([0-9a-fA-F:.]+)\]|([^:]*)):([0-9]+)\/?$/.exec(host);
  if (m === null) throw new Error(`unable to parse docker host ${JSON.stringify(host)}: use unix:///path or tcp://address:port`);
  const address = m[1] ?? m[2] ?? "";
  await listening(server, () => server.listen({ port: Number(m[3]), host: address === "" ? "127.0.0.1" : address }));
}

async function bindUnix(server: Server, path: string): Promise<void> {
  if (!path.startsWith("/")) throw new Error(`not an absolute socket path: ${path}`);
  mkdirSync(dirname(path), { recursive: true });
  await removeStale(path);
  // The socket must never be open to everybody, not even between bind and chmod.
  await listening(server, () => {
    const umask = process.umask(0o117);
    try {
      server.listen({ path });
    } finally {
      process.umask(umask);
    }
  });
  chmodSync(path, 0o660);
  const group = groupId("docker");
  if (group !== undefined && process.getuid?.() === 0) chownSync(path, 0, group);
}

/** A socket file left by an engine that died is removed; one that somebody answers on is left alone. */
async function removeStale(path: string): Promise<void> {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return;
  if (!stat.isSocket()) throw new Error(`${path} exists and is not a socket`);
  const alive = await new Promise<boolean>((resolve) => {
    const probe = connect({ path });
    probe.once("connect", () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
  if (alive) throw new Error(`listen unix ${path}: bind: address already in use`);
  unlinkSync(path);
}

function listening(server: Server, start: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => {
      server.off("error", reject);
      resolve();
    });
    start();
  });
}

/** From /etc/group; users that come from elsewhere (LDAP) are not looked up. */
function groupId(name: string): number | undefined {
  try {
    const line = readFileSync("/etc/group", "utf8")
      .split("\n")
      .find((l) => l.startsWith(`${name}:`));
    const id = Number(line?.split(":")[2]);
    return Number.isInteger(id) ? id : undefined;
  } catch {
    return undefined;
  }
}
