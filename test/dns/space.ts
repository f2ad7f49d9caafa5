import { createSocket, type Socket } from "node:dgram";
import { createServer, Socket as TcpSocket } from "node:net";
import { AF_INET, check, libc, SOCK_DGRAM, SOCK_STREAM } from "../../src/kernel/ffi.js";
import { inNamespace } from "../../src/kernel/namespaces.js";
import { sockaddrOf } from "../../src/kernel/sockaddr.js";
import { addNamespace, removeSpace } from "../lib/space.js";
import { answerTo, decode, type Message, question } from "./wire.js";

/** A container's namespace, as far as DNS goes: a loopback, the resolver's sockets, and clients. */
export class Space {
  readonly path: string;
  readonly #name: string;
  readonly #clients: Socket[] = [];

  constructor(name: string) {
    this.#name = `lst${process.pid}${name}`;
    this.path = `/run/netns/${this.#name}`;
    addNamespace(this.#name);
  }

  remove(): void {
    for (const client of this.#clients) client.close();
    removeSpace(this.#name);
  }

  /** As the engine opens them. */
  resolverSockets(): { udpFd: number; tcpFd: number } {
    const udpFd = this.#bound(SOCK_DGRAM, "127.0.0.11", 53);
    const tcpFd = this.#bound(SOCK_STREAM, "127.0.0.11", 53);
    check(libc.listen(tcpFd, 128), "listen");
    return { udpFd, tcpFd };
  }

  #bound(type: number, address: string, port: number): number {
    return inNamespace(this.path, () => {
      const fd = check(libc.socket(AF_INET, type | 0o2004000, 0), "socket");
      const on = Buffer.alloc(128);
      on.writeInt32LE(1, 0);
      libc.setsockopt(fd, 1, 2, on, 4);
      const sockaddr = sockaddrOf(address, port);
      check(libc.bind(fd, sockaddr, sockaddr.length), "bind");
      return fd;
    });
  }

  /** A UDP client in the namespace. */
  client(): Client {
    const socket = createSocket("udp4");
    socket.bind({ fd: this.#bound(SOCK_DGRAM, "127.0.0.1", 0) });
    this.#clients.push(socket);
    return new Client(socket);
  }

  /** A TCP connection to the resolver. */
  connect(): TcpSocket {
    const fd = inNamespace(this.path, () => {
      const made = check(libc.socket(AF_INET, SOCK_STREAM | 0o2000000, 0), "socket");
      const sockaddr = sockaddrOf("127.0.0.11", 53);
      check(libc.connect(made, sockaddr, sockaddr.length), "connect");
      return made;
    });
    return new TcpSocket({ fd, readable: true, writable: true });
  }

  /** Questions over one TCP connection, all sent at once. */
  async askTcp(queries: readonly Buffer[], timeoutMs = 6000): Promise<Message[]> {
    const socket = this.connect();
    try {
      return await exchangeTcp(socket, queries, timeoutMs);
    } finally {
      socket.destroy();
    }
  }
}

export function exchangeTcp(socket: TcpSocket, queries: readonly Buffer[], timeoutMs: number): Promise<Message[]> {
  return new Promise((resolve, reject) => {
    const answers: Message[] = [];
    let input = Buffer.alloc(0);
    const timer = setTimeout(() => reject(new Error(`${answers.length} of ${queries.length} answers over TCP`)), timeoutMs);
    socket.on("error", reject);
    socket.on("close", () => reject(new Error("closed")));
    socket.on("data", (chunk) => {
      input = Buffer.concat([input, chunk]);
      while (input.length >= 2 && input.length >= 2 + input.readUInt16BE(0)) {
        const length = input.readUInt16BE(0);
        answers.push(decode(input.subarray(2, 2 + length)));
        input = input.subarray(2 + length);
      }
      if (answers.length < queries.length) return;
      clearTimeout(timer);
      resolve(answers);
    });
    socket.write(Buffer.concat(queries.map((q) => Buffer.concat([Buffer.of(q.length >> 8, q.length & 255), q]))));
  });
}

let nextId = 1;

export class Client {
  readonly socket: Socket;
  constructor(socket: Socket) {
    this.socket = socket;
  }

  ask(name: string, type: number, options: Parameters<typeof question>[2] = {}): Promise<Message> {
    const id = options.id ?? nextId++ & 0xffff;
    return this.send(question(name, type, { ...options, id }));
  }

  /** Sends a message and waits for one of the same id. */
  send(query: Buffer, timeoutMs = 6000): Promise<Message> {
    return new Promise((resolve, reject) => {
      const onMessage = (bytes: Buffer) => {
        if (bytes.readUInt16BE(0) !== query.readUInt16BE(0)) return;
        clearTimeout(timer);
        this.socket.off("message", onMessage);
        resolve(decode(bytes));
      };
      const timer = setTimeout(() => {
        this.socket.off("message", onMessage);
        reject(new Error("no answer"));
      }, timeoutMs);
      this.socket.on("message", onMessage);
      this.socket.send(query, 53, "127.0.0.11");
    });
  }
}

export type Behaviour = (query: Buffer, tcp: boolean) => Buffer | undefined;

/** A resolver on the loopback of the engine's namespace. */
export class FakeUpstream {
  readonly seen: {
    readonly name: string;
    readonly type: number;
    readonly tcp: boolean;
    readonly port: number;
    readonly message: Buffer;
  }[] = [];
  behaviour: Behaviour;
  readonly #udp = createSocket("udp4");
  readonly #tcp = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => {
      const answer = this.#take(chunk.subarray(2), true, socket.remotePort ?? 0);
      if (answer !== undefined) socket.write(Buffer.concat([Buffer.of(answer.length >> 8, answer.length & 255), answer]));
    });
  });

  constructor(behaviour: Behaviour = (query) => answerTo(query, ["192.0.2.1"])) {
    this.behaviour = behaviour;
    this.#udp.on("message", (bytes, peer) => {
      const answer = this.#take(bytes, false, peer.port);
      if (answer !== undefined) this.#udp.send(answer, peer.port, peer.address);
    });
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#udp.bind(0, "127.0.0.1", resolve));
    const { port } = this.#udp.address();
    await new Promise<void>((resolve, reject) => this.#tcp.once("error", reject).listen(port, "127.0.0.1", resolve));
    return `127.0.0.1:${port}`;
  }

  #take(bytes: Buffer, tcp: boolean, port: number): Buffer | undefined {
    const { question: asked } = decode(bytes);
    this.seen.push({ ...asked[0]!, tcp, port, message: Buffer.from(bytes) });
    return this.behaviour(bytes, tcp);
  }

  close(): void {
    this.#udp.close();
    this.#tcp.close();
  }
}
