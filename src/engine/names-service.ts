import { type DnsLink, type DnsSandbox, type DnsService, readHostResolv } from "../dns/index.js";
import { type Container, type Endpoint, endpointsOfSandbox, isUserDefined, type Network, type Sandbox } from "../model/index.js";
import { isAway } from "./cluster-link.js";
import type { EngineContext } from "./context.js";
import { upstreamsOf } from "./etc.js";
import { isRunning } from "./resolve.js";

export type StartDns = (onDown: (error: Error) => void) => Promise<DnsService>;

/** How many waiting TCP queries the kernel keeps per container. */
const TCP_BACKLOG = 32;
/** A resolver that ends more often than this within a minute stays down: something is wrong that a new start does not mend. */
const MAX_FALLS = 5;
const FALLS_WITHIN_MS = 60_000;

/** Keeps the resolver's tables what the model says: networks, endpoints, and the sandboxes that are served at 127.0.0.11. */
export class NamesService {
  readonly #ctx: EngineContext;
  readonly #start: StartDns;
  #dns: DnsService | undefined;
  #served = new Set<string>();
  #falls: number[] = [];
  #closed = false;

  constructor(ctx: EngineContext, start: StartDns) {
    this.#ctx = ctx;
    this.#start = start;
  }

  /** Starts the resolver and tells it all that the model has; `running`: the containers to be served. */
  async open(running: ReadonlySet<string>): Promise<void> {
    const { state, log } = this.#ctx;
    this.#dns = await this.#start((error) => this.#onDown(error));
    this.#served = new Set();
    await this.#dns.setHostUpstreams(readHostResolv().nameservers);
    const problem = (what: string, id: string) => (error: unknown) => log.error(what, { id, error: String(error) });
    await Promise.all([
      ...[...state.networks.values()].map((n) => this.putNetwork(n).catch(problem("names of a network", n.id))),
      ...[...state.endpoints.values()].map((e) => this.putEndpoint(e).catch(problem("names of an endpoint", e.id))),
      ...[...state.containers.values()].map((c) => this.reserve(c).catch(problem("name of a container", c.id))),
    ]);
    await Promise.all(
      [...state.sandboxes.values()].map(async (sandbox) => {
        const container = state.containers.get(sandbox.containerId);
        if (container !== undefined && running.has(container.id))
          await this.serve(sandbox, container).catch(problem("resolver", sandbox.id));
      }),
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#dns?.close();
  }

  /** The host's resolvers have changed. */
  setHostUpstreams(upstreams: readonly string[]): Promise<void> {
    return this.#service.setHostUpstreams(upstreams);
  }

  get #service(): DnsService {
    if (this.#dns === undefined) throw new Error("the resolver does not run");
    return this.#dns;
  }

  /** The resolver's thread died: a new one takes over, unless it keeps dying. */
  #onDown(error: Error): void {
    if (this.#closed) return;
    const now = Date.now();
    this.#falls = [...this.#falls.filter((t) => now - t < FALLS_WITHIN_MS), now];
    this.#ctx.log.error("the resolver ended", { error: error.message, times: this.#falls.length });
    if (this.#falls.length > MAX_FALLS) return;
    const running = new Set([...this.#ctx.state.containers.values()].filter(isRunning).map((c) => c.id));
    this.open(running).catch((e: unknown) => this.#ctx.log.error("the resolver could not be started anew", { error: String(e) }));
  }

  async putNetwork(network: Network): Promise<void> {
    if (!isUserDefined(network)) return;
    await this.#service.putNetwork({
      networkId: network.id,
      name: network.name,
      ...(network.driver === "macvlan" ? {} : { subnets: network.pools.map((p) => p.subnet) }),
    });
  }

  removeNetwork(networkId: string): Promise<void> {
    return this.#service.removeNetwork(networkId);
  }

  async putEndpoint(endpoint: Endpoint): Promise<void> {
    const network = this.#ctx.state.networks.get(endpoint.networkId);
    if (network === undefined || !isUserDefined(network)) return;
    await this.#service.putEndpoint(network.id, network.name, {
      endpointId: endpoint.id,
      name: endpoint.name,
      aliases: endpoint.aliases,
      ...(endpoint.ipv4 === undefined ? {} : { ipv4: endpoint.ipv4 }),
      ...(endpoint.ipv6 === undefined ? {} : { ipv6: endpoint.ipv6 }),
      ...(isAway(this.#ctx.state, endpoint) ? { away: true } : {}),
    });
  }

  removeEndpoint(endpointId: string): Promise<void> {
    return this.#service.removeEndpoint(endpointId);
  }

  /**
   * The name of a container, running or not, is never asked for outside. Except one with a dot: it may well be a host's, and containers on
   * other networks want that one.
   */
  reserve(container: Container): Promise<void> {
    return this.#service.reserveNames(container.id, container.name.includes(".") ? [] : [container.name]);
  }

  release(containerId: string): Promise<void> {
    return this.#service.reserveNames(containerId, []);
  }

  /** Starts, changes or ends the service of a sandbox, according to the networks that it is on. */
  serve(sandbox: Sandbox, container: Container): Promise<void> {
    return this.#serve(sandbox, upstreamsOf(this.#ctx, container));
  }

  /** The namespace of a build's RUN step: no container is behind it. */
  serveBuild(sandbox: Sandbox): Promise<void> {
    return this.#serve(sandbox, this.#ctx.options.dns);
  }

  async #serve(sandbox: Sandbox, upstreams: readonly string[]): Promise<void> {
    const description = this.#describe(sandbox, upstreams);
    if (sandbox.netns === "" || description.networks.length === 0) return this.stop(sandbox.id);
    if (this.#served.has(sandbox.id)) return this.#service.updateSandbox(description);
    const address = { ns: sandbox.netns, address: "127.0.0.11", port: 53 };
    const [udpFd, tcpFd] = await this.#ctx.kernel.openSockets([
      { ...address, type: "udp" },
      { ...address, type: "tcp", backlog: TCP_BACKLOG, reuseAddress: true },
    ]);
    this.#served.add(sandbox.id);
    // From here on the kernel keeps the queries until the resolver's thread reads them: nobody has to wait for the thread.
    this.#service.addSandbox({ ...description, udpFd: udpFd!, tcpFd: tcpFd! }).catch((error: unknown) => {
      this.#served.delete(sandbox.id);
      this.#ctx.log.error("a container's names are not answered", { sandbox: sandbox.id, error: String(error) });
    });
  }

  async stop(sandboxId: string): Promise<void> {
    if (this.#served.delete(sandboxId)) await this.#service.removeSandbox(sandboxId);
  }

  #describe(sandbox: Sandbox, upstreams: readonly string[]): DnsSandbox {
    const endpoints = [...endpointsOfSandbox(this.#ctx.state, sandbox.id).values()].sort((a, b) => a.sequence - b.sequence);
    const named = endpoints.filter((e) => isUserDefined(this.#ctx.state.networks.get(e.networkId)!));
    const links: DnsLink[] = named.flatMap((e) =>
      Object.entries(e.links).map(([alias, name]) => ({ networkId: e.networkId, alias, name: this.#targetName(name) })),
    );
    return {
      sandboxId: sandbox.id,
      networks: named.map((e) => e.networkId),
      upstreams,
      links,
      // An internal network has no way out, and names are one (a query can carry anything).
      forward: endpoints.some((e) => this.#ctx.state.networks.get(e.networkId)?.internal !== true),
    };
  }

  /** A link may name its target by id. */
  #targetName(ref: string): string {
    return this.#ctx.state.containers.get(ref)?.name ?? ref;
  }
}
