import { randomFillSync } from "node:crypto";
import { isIP } from "node:net";
import { limits } from "./limits.js";
import { UpstreamSocket } from "./upstream-socket.js";

/** One question on its way to one upstream. */
export interface Attempt {
  readonly socket: UpstreamSocket;
  readonly id: number;
}

/** Who is told about what an upstream says. */
export interface Asker {
  /** `answer` is only valid during the call; its id is the attempt's. Returns false if it is no answer to the question: then the attempt stays open. */
  onAnswer(upstream: Upstream, answer: Uint8Array): boolean;
  /** The upstream cannot be reached. */
  onUnreachable(upstream: Upstream): void;
}

/** "10.0.0.53", "fd00::53", "10.0.0.53:5353" or "[fd00::53]:5353"; undefined if it is none of these. */
export function parseUpstream(text: string): { readonly address: string; readonly port: number } | undefined {
  if (isIP(text.replace(/%[\w.-]+$/, "")) !== 0) return { address: text, port: 53 };
  const match = /^(?:\[([^\]]+)\]|([^:]+)):([0-9]{1,5})$/.exec(text);
  const address = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (address === undefined || isIP(address) === 0 || port < 1 || port > 65_535) return undefined;
  return { address, port };
}

/**
 * A resolver that questions are forwarded to. It has a few connected sockets, each on a random port and in use for a limited number of questions;
 * a question goes out by a random one of them under a random id: an off-path forger has to guess both, and the kernel
 * hands us only what comes from the upstream's address and port.
 */
export class Upstream {
  readonly address: string;
  readonly port: number;
  #sockets: (UpstreamSocket | undefined)[] = [];
  #failedUntil = 0;
  #lastUse = 0;
  #slot = 0;

  constructor(address: string, port: number) {
    this.address = address;
    this.port = port;
  }

  ask(query: Uint8Array, asker: Asker, when: { readonly now: number; readonly atOnce: boolean }): Attempt {
    const { now } = when;
    // Questions of one millisecond go by one socket: they leave, and their answers come, in one system call.
    if (now !== this.#lastUse) this.#slot = randomUint16() % limits.upstreamSockets;
    this.#lastUse = now;
    const socket = this.#socket();
    return { socket, id: socket.send(query, asker, when.atOnce) };
  }

  /** Asked last for a while. */
  failed(now: number): void {
    this.#failedUntil = now + limits.upstreamPenaltyMs;
  }
  answered(): void {
    this.#failedUntil = 0;
  }
  isFailed(now: number): boolean {
    return this.#failedUntil > now;
  }

  /** Closes sockets that are not needed any more. Returns whether any is left. */
  sweep(now: number): boolean {
    if (this.#sockets.length > 0 && now - this.#lastUse > limits.upstreamSocketIdleMs) this.close();
    return this.#sockets.length > 0;
  }

  close(): void {
    for (const socket of this.#sockets) socket?.retire();
    this.#sockets = [];
  }

  #socket(): UpstreamSocket {
    const slot = this.#slot;
    const socket = this.#sockets[slot];
    if (socket !== undefined && !socket.isWorn) return socket;
    socket?.retire();
    const made = new UpstreamSocket(this);
    this.#sockets[slot] = made;
    return made;
  }
}

const randomPool = new Uint16Array(4096);
let randomLeft = 0;

/** From the system's generator, a pool at a time: one call for each would cost more than the rest of a question. */
export function randomUint16(): number {
  if (randomLeft === 0) {
    randomFillSync(randomPool);
    randomLeft = randomPool.length;
  }
  return randomPool[--randomLeft]!;
}
