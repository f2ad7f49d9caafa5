import type { DnsLink, DnsSandbox } from "../dns/index.js";
import { type Container, type Endpoint, endpointsOfSandbox, isUserDefined, type Network, type Sandbox } from "../model/index.js";
import type { EngineContext } from "./context.js";
import { upstreamsOf } from "./etc.js";

/** How many waiting TCP queries the kernel keeps per container. */
const TCP_BACKLOG = 32;

/** Keeps the resolver's tables what the model says: networks, endpoints, and the sandboxes that are served at 127.0.0.11. */
export class NamesService {
  readonly #ctx: EngineContext;
  readonly #served = new Set<string>();

  constructor(ctx: EngineContext) {
    this.#ctx = ctx;
  }

  async putNetwork(network: Network): Promise<void> {
    if (!isUserDefined(network)) return;
    await this.#ctx.dns.putNetwork({
      networkId: network.id,
      name: network.name,
      ...(network.driver === "macvlan" ? {} : { subnets: network.pools.map((p) => p.subnet) }),
    });
  }

  removeNetwork(networkId: string): Promise<void> {
    return this.#ctx.dns.removeNetwork(networkId);
  }

  async putEndpoint(endpoint: Endpoint): Promise<void> {
    const network = this.#ctx.state.networks.get(endpoint.networkId);
    if (network === undefined || !isUserDefined(network)) return;
    await this.#ctx.dns.putEndpoint(network.id, network.name, {
      endpointId: endpoint.id,
      name: endpoint.name,
      aliases: endpoint.aliases,
      ...(endpoint.ipv4 === undefined ? {} : { ipv4: endpoint.ipv4 }),
      ...(endpoint.ipv6 === undefined ? {} : { ipv6: endpoint.ipv6 }),
    });
  }

  removeEndpoint(endpointId: string): Promise<void> {
    return this.#ctx.dns.removeEndpoint(endpointId);
  }

  /** The name of a container, running or not, is never asked for outside. */
  reserve(container: Container): Promise<void> {
    return this.#ctx.dns.reserveNames(container.id, [container.name]);
  }

  release(containerId: string): Promise<void> {
    return this.#ctx.dns.reserveNames(containerId, []);
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
    if (this.#served.has(sandbox.id)) return this.#ctx.dns.updateSandbox(description);
    const address = { ns: sandbox.netns, address: "127.0.0.11", port: 53 };
    const [udpFd, tcpFd] = await this.#ctx.kernel.openSockets([
      { ...address, type: "udp" },
      { ...address, type: "tcp", backlog: TCP_BACKLOG, reuseAddress: true },
    ]);
    this.#served.add(sandbox.id);
    await this.#ctx.dns.addSandbox({ ...description, udpFd: udpFd!, tcpFd: tcpFd! });
  }

  async stop(sandboxId: string): Promise<void> {
    if (this.#served.delete(sandboxId)) await this.#ctx.dns.removeSandbox(sandboxId);
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
