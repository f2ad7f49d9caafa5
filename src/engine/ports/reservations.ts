import { KernelError, refuse } from "../../base/errors.js";
import type { Logger } from "../../base/log.js";
import { closeDescriptor } from "../../kernel/epoll.js";
import type { PortMapping } from "../../model/network.js";
import { allocatePorts, hostPortText, type PortRequest, partOf, TakenPorts, takePorts } from "../../model/ports.js";
import { HOST_NS } from "../../plan/objects.js";
import type { KernelPort, SocketRequest } from "../../plan/port.js";
import { PortRelay, type PortTarget } from "./relay.js";

/** A random or range port that turns out to be a host process's is tried again elsewhere as often as Docker does. */
const MAX_ATTEMPTS = 10;
const BACKLOG = 128;
/** Closing a listening socket takes some µs: a container with thousands of ports must not stop the event loop. */
const CLOSE_AT_ONCE = 500;

interface Reservation {
  readonly mappings: readonly PortMapping[];
  readonly descriptors: readonly number[];
}

/** The sockets of one run of ports, in order. */
interface Opened {
  readonly fds: readonly number[];
  readonly mapping: PortMapping;
}

/** A run of sockets to open, and the mappings that it reserves: two for dual-stack ones. */
interface Wanted {
  readonly socket: SocketRequest;
  readonly mappings: readonly PortMapping[];
}

/**
 * The host's side of published ports: each is held by a bound (and, for TCP, listening) socket, so that a conflict with a process of
 * the host is an error when the container starts. Listening with SO_REUSEADDR, because a socket that is only bound either fails
 * while old connections are in TIME_WAIT or, with that option, lets another server take the port.
 */
export class PortReservations {
  /** Ports of all endpoints that hold some. */
  readonly taken = new TakenPorts();
  readonly #kernel: Pick<KernelPort, "openSockets">;
  readonly #relay: PortRelay;
  readonly #byEndpoint = new Map<string, Reservation>();
  #ipv6 = true;
  #sctp = true;

  constructor(options: { readonly kernel: Pick<KernelPort, "openSockets">; readonly log: Logger }) {
    this.#kernel = options.kernel;
    this.#relay = new PortRelay(options.log);
  }

  /**
   * Chooses host ports for the requests and reserves them. `dynamicStart` is where random ports are looked for first (any integer).
   * Rejects with Docker's 500 texts, and nothing is reserved then.
   */
  async allocate(
    endpointId: string,
    endpointName: string,
    requests: readonly PortRequest[],
    target: PortTarget,
    dynamicStart: number,
  ): Promise<readonly PortMapping[]> {
    const blocked = new TakenPorts();
    const fail = (inner: string): never => refuse(500, connectivityText(endpointId, endpointName, inner));
    for (let attempt = 1; ; attempt++) {
      const chosen = allocatePorts(requests, this.taken, { dynamicStart, blocked });
      if (!chosen.ok) return fail(chosen.error.message);
      try {
        await this.#hold(endpointId, chosen.value, target);
        return chosen.value;
      } catch (error) {
        this.taken.forget(chosen.value);
        if (!(error instanceof PortInUse)) throw error;
        const request = requests.find((r) => mayTryAnother(r, error.mapping));
        if (error.code !== "EADDRINUSE" || request === undefined || attempt >= MAX_ATTEMPTS) return fail(error.message);
        for (const hostIp of request.hostIps) blocked.add(request.proto, hostIp, error.mapping.hostPort);
      }
    }
  }

  /** Reserves what an endpoint has already: after a restart of the engine, or with ports that were chosen elsewhere. */
  async reserve(endpointId: string, endpointName: string, mappings: readonly PortMapping[], target: PortTarget): Promise<void> {
    const chosen = takePorts(mappings, this.taken);
    if (!chosen.ok) return refuse(chosen.error.status, connectivityText(endpointId, endpointName, chosen.error.message));
    try {
      await this.#hold(endpointId, mappings, target);
    } catch (error) {
      this.taken.forget(mappings);
      if (error instanceof PortInUse) return refuse(500, connectivityText(endpointId, endpointName, error.message));
      throw error;
    }
  }

  /** Gives an endpoint's ports back; resolves when they can be taken again. Unknown endpoints have none. */
  async release(endpointId: string): Promise<void> {
    const reservation = this.#byEndpoint.get(endpointId);
    if (reservation === undefined) return;
    this.#byEndpoint.delete(endpointId);
    await this.#closeAll(reservation.descriptors);
    this.taken.forget(reservation.mappings);
  }

  close(): void {
    this.#relay.close();
    for (const { descriptors } of this.#byEndpoint.values()) for (const fd of descriptors) closeDescriptor(fd);
    this.#byEndpoint.clear();
  }

  /** Throws PortInUse. `mappings` are in `taken` already. */
  async #hold(endpointId: string, mappings: readonly PortMapping[], target: PortTarget): Promise<void> {
    const wanted = this.#sockets(mappings);
    const opened = await this.#open(wanted);
    const fds = opened.flatMap((o) => o.fds);
    const before = this.#byEndpoint.get(endpointId);
    this.#byEndpoint.set(
      endpointId,
      before === undefined
        ? { mappings, descriptors: fds }
        : { mappings: before.mappings.concat(mappings), descriptors: before.descriptors.concat(fds) },
    );
    for (const { fds: run, mapping } of opened)
      if (mapping.proto !== "sctp")
        this.#relay.add(run, { proto: mapping.proto, containerPort: mapping.containerPort, target, allow: mapping.allow ?? [] });
  }

  async #closeAll(descriptors: readonly number[]): Promise<void> {
    for (const [i, fd] of descriptors.entries()) {
      this.#relay.remove(fd);
      closeDescriptor(fd);
      if (i % CLOSE_AT_ONCE === CLOSE_AT_ONCE - 1) await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** One dual-stack socket for a pair of 0.0.0.0 and ::, else one per mapping: descriptors are the scarce thing (20,000 at most). */
  #sockets(mappings: readonly PortMapping[]): readonly Wanted[] {
    const out: Wanted[] = [];
    for (let i = 0; i < mappings.length; i++) {
      const mapping = mappings[i]!;
      if (mapping.proto === "sctp" && !this.#sctp) continue;
      const next = mappings[i + 1];
      if (this.#ipv6 && next !== undefined && areBothFamilies(mapping, next)) {
        out.push({ socket: socketOf(next, true), mappings: [mapping, next] });
        i++;
      } else if (this.#ipv6 || !mapping.hostIp.includes(":")) out.push(single(mapping));
    }
    return out;
  }

  async #open(wanted: readonly Wanted[]): Promise<readonly Opened[]> {
    if (wanted.length === 0) return [];
    try {
      const fds = await this.#kernel.openSockets(wanted.map((w) => w.socket));
      let at = 0;
      return wanted.map(({ socket, mappings }) => {
        const run = fds.slice(at, at + (socket.count ?? 1));
        at += run.length;
        return { fds: run, mapping: mappings[0]! };
      });
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      if (error.code === "EAFNOSUPPORT" && this.#ipv6) {
        this.#ipv6 = false;
        return this.#open(this.#sockets(wanted.flatMap((w) => w.mappings)));
      }
      if (wanted.length > 1) return this.#openHalves(wanted);
      const [one] = wanted;
      return (one!.socket.count ?? 1) > 1 ? this.#openHalves(halvesOf(one!)) : this.#openDoubtful(one!, error);
    }
  }

  /** Finds the socket that fails: the kernel's answer is about all of them. */
  async #openHalves(wanted: readonly Wanted[]): Promise<readonly Opened[]> {
    const middle = wanted.length >> 1;
    const first = await this.#open(wanted.slice(0, middle));
    try {
      return [...first, ...(await this.#open(wanted.slice(middle)))];
    } catch (error) {
      for (const { fds } of first) for (const fd of fds) closeDescriptor(fd);
      throw error;
    }
  }

  async #openDoubtful(wanted: Wanted, error: KernelError): Promise<readonly Opened[]> {
    const [first, second] = wanted.mappings;
    if (second !== undefined) {
      // Which family is it that cannot be had? Without IPv6 on the host, IPv4 alone will do.
      const v4 = await this.#open([single(first!)]);
      try {
        return [...v4, ...(await this.#open([single(second)]))];
      } catch (reason) {
        for (const { fds } of v4) for (const fd of fds) closeDescriptor(fd);
        throw reason;
      }
    }
    const mapping = first!;
    if (mapping.hostIp === "::" && error.code === "EADDRNOTAVAIL") {
      this.#ipv6 = false;
      return [];
    }
    if (mapping.proto === "sctp" && (error.code === "EPROTONOSUPPORT" || error.code === "ESOCKTNOSUPPORT")) {
      this.#sctp = false;
      return [];
    }
    throw new PortInUse(mapping, error);
  }
}

/** As `allocatePorts` makes them: next to each other. */
const areBothFamilies = (a: PortMapping, b: PortMapping): boolean =>
  a.hostIp === "0.0.0.0" && b.hostIp === "::" && a.hostPort === b.hostPort && a.proto === b.proto && a.count === b.count;

const single = (mapping: PortMapping): Wanted => ({ socket: socketOf(mapping, false), mappings: [mapping] });

function halvesOf({ mappings }: Wanted): readonly Wanted[] {
  const count = mappings[0]!.count ?? 1;
  const middle = count >> 1;
  return [
    [0, middle],
    [middle, count - middle],
  ].map(([from, n]) => {
    const parts = mappings.map((m) => partOf(m, from!, n!));
    return parts.length === 1 ? single(parts[0]!) : { socket: socketOf(parts[1]!, true), mappings: parts };
  });
}

function socketOf(mapping: PortMapping, dualStack: boolean): SocketRequest {
  const { proto: type, hostIp: address, hostPort: port, count } = mapping;
  const run = { ns: HOST_NS, type, address, port, ...(count === undefined ? {} : { count }), dualStack };
  // UDP sockets with SO_REUSEADDR may share a port, which is what a reservation is there to prevent.
  return type === "udp" ? run : { ...run, reuseAddress: true, backlog: BACKLOG };
}

function mayTryAnother(request: PortRequest, mapping: PortMapping): boolean {
  return (
    request.proto === mapping.proto &&
    request.containerPort === mapping.containerPort &&
    request.hostIps.includes(mapping.hostIp) &&
    (request.first === 0 ||
      (request.first < request.last && mapping.hostPort >= request.first && mapping.hostPort <= request.last))
  );
}

/** Docker names its userland proxy here: it is the proxy's socket that fails there. Clients and people look for the text. */
class PortInUse extends Error {
  readonly mapping: PortMapping;
  readonly code: string;
  constructor(mapping: PortMapping, error: KernelError) {
    const network = `${mapping.proto}${mapping.hostIp.includes(":") ? 6 : 4}`;
    super(
      `Error starting userland proxy: listen ${network} ${hostPortText(mapping.hostIp, mapping.hostPort)}: bind: ${reasonText(error)}`,
    );
    this.mapping = mapping;
    this.code = error.code;
  }
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "address already in use",
  EADDRNOTAVAIL: "cannot assign requested address",
  EACCES: "permission denied",
  EMFILE: "too many open files",
  ENFILE: "too many open files in system",
};

const reasonText = (error: KernelError): string => REASONS[error.code] ?? error.code;

const connectivityText = (endpointId: string, endpointName: string, inner: string): string =>
  `driver failed programming external connectivity on endpoint ${endpointName} (${endpointId}): ${inner}`;
