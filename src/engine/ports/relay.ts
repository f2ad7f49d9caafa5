import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { connect, Socket } from "node:net";
import { parsePrefix, prefixContains } from "../../base/ip.js";
import type { Logger } from "../../base/log.js";
import {
  acceptConnection,
  closeDescriptor,
  type DatagramPeer,
  Epoll,
  type Peer,
  receiveDatagram,
  sendDatagram,
  wantDatagramAddress,
} from "../../kernel/epoll.js";

/** Where a published port leads: the container's addresses on the network that publishes it. */
export interface PortTarget {
  readonly ipv4?: string;
  readonly ipv6?: string;
}

export interface Listener {
  readonly proto: "tcp" | "udp";
  readonly containerPort: number;
  readonly target: PortTarget;
  /** Source prefixes; empty: everybody. The host itself is always let in. */
  readonly allow: readonly string[];
}

/** One place for the limits; what comes above them is refused, as a server under load would. */
const MAX_CONNECTIONS = 4096;
const MAX_UDP_SESSIONS = 2048;
/** Docker's proxy forgets a UDP client after the same time. */
const UDP_IDLE_MS = 90_000;
const MAX_ACCEPTS_PER_TURN = 64;
const PAUSE_MS = 100;
const WATCH_AT_ONCE = 250;
/** A container that brings many ports is started first; what comes for the relay meanwhile waits in the kernel. */
const WATCH_AFTER_MS = 100;

interface UdpSession {
  readonly socket: UdpSocket;
  readonly listener: number;
  usedAt: number;
}

/**
 * Carries what the kernel cannot translate: what comes to ::1, and IPv6 clients of a container without IPv6. Everything else is
 * translated before it reaches the sockets that reserve the ports, so this costs nothing until it is used.
 */
export class PortRelay {
  readonly #log: Logger;
  readonly #listeners = new Map<number, Listener>();
  readonly #connections = new Set<Socket>();
  readonly #sessions = new Map<string, UdpSession>();
  #pending: [number, Listener][] = [];
  #waking: NodeJS.Timeout | undefined;
  #epoll: Epoll | undefined;
  #sweep: NodeJS.Timeout | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  /**
   * Listening TCP or bound UDP sockets for a run of ports; `listener` is of the first. They stay the caller's. What comes before they are
   * watched waits in the kernel.
   */
  add(fds: readonly number[], listener: Listener): void {
    for (const [i, fd] of fds.entries()) {
      const own = i === 0 ? listener : { ...listener, containerPort: listener.containerPort + i };
      this.#listeners.set(fd, own);
      this.#pending.push([fd, own]);
    }
    this.#waking ??= setTimeout(() => this.#watchPending(), this.#pending.length > WATCH_AT_ONCE ? WATCH_AFTER_MS : 0);
  }

  /** To be called right before `fd` is closed. Connections that are relayed already go on. */
  remove(fd: number): void {
    const listener = this.#listeners.get(fd);
    this.#listeners.delete(fd);
    if (listener?.proto === "udp" && this.#sessions.size > 0)
      for (const [key, session] of this.#sessions) if (session.listener === fd) this.#endSession(key, session);
  }

  close(): void {
    this.#epoll?.close();
    this.#epoll = undefined;
    this.#listeners.clear();
    this.#pending = [];
    for (const socket of this.#connections) socket.destroy();
    for (const [key, session] of this.#sessions) this.#endSession(key, session);
    clearInterval(this.#sweep);
    this.#sweep = undefined;
    clearTimeout(this.#waking);
  }

  /** In pieces: a container with ten thousand ports must not stop the event loop. */
  #watchPending(): void {
    this.#waking = undefined;
    const some = this.#pending.splice(0, WATCH_AT_ONCE);
    for (const [fd, listener] of some) {
      if (this.#listeners.get(fd) !== listener) continue;
      this.#epoll ??= new Epoll((ready) => this.#serve(ready));
      if (listener.proto === "udp") wantDatagramAddress(fd);
      this.#epoll.add(fd);
    }
    if (this.#pending.length > 0) this.#waking = setTimeout(() => this.#watchPending(), 1);
  }

  #serve(fd: number): void {
    const listener = this.#listeners.get(fd);
    if (listener === undefined) return;
    try {
      for (let i = 0; i < MAX_ACCEPTS_PER_TURN; i++)
        if (!(listener.proto === "tcp" ? this.#accept(fd, listener) : this.#receive(fd, listener))) return;
    } catch (error) {
      this.#log.warn("cannot take a connection to a published port", { error: String(error), port: listener.containerPort });
      this.#epoll?.pause(PAUSE_MS);
    }
  }

  /** false: nothing waits any more */
  #accept(fd: number, listener: Listener): boolean {
    const accepted = acceptConnection(fd);
    if (accepted === undefined) return false;
    const host = targetFor(listener.target, accepted.peer);
    if (host === undefined || this.#connections.size >= MAX_CONNECTIONS || !isAllowed(accepted.peer.address, listener.allow)) {
      closeDescriptor(accepted.fd);
      return true;
    }
    const client = new Socket({ fd: accepted.fd, readable: true, writable: true, allowHalfOpen: true });
    const server = connect({ host, port: listener.containerPort, allowHalfOpen: true, noDelay: true });
    client.setNoDelay(true);
    this.#connections.add(client);
    client.once("close", () => {
      this.#connections.delete(client);
      server.destroy();
    });
    server.once("close", () => client.destroy());
    // What the one side suffered the other sees as a reset, not as an orderly end of the data.
    client.once("error", () => server.resetAndDestroy());
    server.once("error", () => client.resetAndDestroy());
    client.pipe(server);
    server.pipe(client);
    return true;
  }

  #receive(fd: number, listener: Listener): boolean {
    const received = receiveDatagram(fd);
    if (received === undefined) return false;
    const { bytes, peer } = received;
    const key = `${fd} ${peer.address} ${peer.port}`;
    const session = this.#sessions.get(key) ?? this.#startSession(key, fd, listener, peer);
    if (session === undefined) return true;
    session.usedAt = performance.now();
    // A copy: the bytes are only valid during this turn, and the first datagram waits for the socket to be bound.
    session.socket.send(Buffer.from(bytes), listener.containerPort, targetFor(listener.target, peer), () => undefined);
    return true;
  }

  #startSession(key: string, fd: number, listener: Listener, peer: DatagramPeer): UdpSession | undefined {
    const host = targetFor(listener.target, peer);
    if (host === undefined || this.#sessions.size >= MAX_UDP_SESSIONS || !isAllowed(peer.address, listener.allow))
      return undefined;
    const socket = createSocket(host.includes(":") ? "udp6" : "udp4").unref();
    const session: UdpSession = { socket, listener: fd, usedAt: performance.now() };
    socket.on("message", (bytes, from) => {
      if (from.address !== host || from.port !== listener.containerPort || !this.#listeners.has(fd)) return;
      session.usedAt = performance.now();
      sendDatagram(fd, bytes, peer);
    });
    socket.on("error", () => this.#endSession(key, session));
    this.#sessions.set(key, session);
    this.#sweep ??= setInterval(() => this.#endIdleSessions(), UDP_IDLE_MS / 3).unref();
    return session;
  }

  #endIdleSessions(): void {
    const before = performance.now() - UDP_IDLE_MS;
    for (const [key, session] of this.#sessions) if (session.usedAt < before) this.#endSession(key, session);
    if (this.#sessions.size > 0) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }

  #endSession(key: string, session: UdpSession): void {
    if (this.#sessions.get(key) !== session) return;
    this.#sessions.delete(key);
    session.socket.close();
  }
}

/** An IPv6 client gets the container's IPv6 address if there is one. */
function targetFor(target: PortTarget, peer: Peer): string | undefined {
  return isV4(peer.address) ? (target.ipv4 ?? target.ipv6) : (target.ipv6 ?? target.ipv4);
}

/** A dual-stack socket shows an IPv4 client as ::ffff:a.b.c.d, which canonical text writes in hexadecimal. */
const MAPPED = "::ffff:";
const isV4 = (address: string): boolean => !address.includes(":") || address.startsWith(MAPPED);

function isAllowed(address: string, allow: readonly string[]): boolean {
  const plain = plainAddress(address);
  if (allow.length === 0 || plain === "::1" || plain.startsWith("127.")) return true;
  return allow.some((text) => {
    const prefix = parsePrefix(text);
    return prefix !== undefined && prefixContains(prefix, plain);
  });
}

function plainAddress(address: string): string {
  if (!address.startsWith(MAPPED)) return address;
  const [high = "0", low = "0"] = address.slice(MAPPED.length).split(":");
  const n = (Number.parseInt(high, 16) << 16) | Number.parseInt(low, 16);
  return [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join(".");
}
