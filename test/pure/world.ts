import type { Refusal } from "../../src/base/errors.js";
import type { Result } from "../../src/base/result.js";
import {
  applyChanges,
  attach,
  type Container,
  createNetwork,
  decidePredefined,
  type Endpoint,
  type EndpointDecision,
  type EndpointRequest,
  emptyState,
  LOCAL_ADDRESS_POOLS,
  type ModelState,
  type Network,
  type NetworkRequest,
  type Sandbox,
} from "../../src/model/index.js";

/** Ids that look random but are the same in every run. */
export function hexId(n: number): string {
  let out = "";
  let x = (n * 2654435761 + 0x9e3779b9) >>> 0;
  while (out.length < 64) {
    x ^= x << 13;
    x >>>= 0;
    x ^= x >>> 17;
    x ^= x << 5;
    x >>>= 0;
    out += x.toString(16).padStart(8, "0");
  }
  return out;
}

export const CREATED = "2026-11-21T00:50:36.531816341Z";

/** An engine's model with the predefined networks, and short ways to change it. */
export class World {
  readonly state: ModelState = emptyState();
  private counter = 1;

  constructor(hostRoutes: readonly string[] = ["0.0.0.0/0", "192.168.205.0/24"]) {
    const changes = decidePredefined(this.state, {
      ids: { bridge: hexId(9001), host: hexId(9002), none: hexId(9003) },
      created: CREATED,
      hostRoutes,
      addressPools: LOCAL_ADDRESS_POOLS,
      bridge: { bridgeName: "docker0", ipv6: false, mtu: 1500, icc: true, ipMasq: true, hostBindingIp: "0.0.0.0" },
    });
    applyChanges(this.state, must(changes));
    this.hostRoutes = hostRoutes;
  }
  hostRoutes: readonly string[];

  id(): string {
    return hexId(this.counter++);
  }

  tryNetwork(request: Partial<NetworkRequest> & { Name: string }): Result<Network, Refusal> {
    const id = this.id();
    const decided = createNetwork(this.state, request, {
      id,
      created: CREATED,
      hostRoutes: this.hostRoutes,
      foreignLinks: new Set(["eth0"]),
      addressPools: LOCAL_ADDRESS_POOLS,
      drivers: new Set(["bridge", "host", "null", "macvlan"]),
    });
    if (!decided.ok) return decided;
    applyChanges(this.state, decided.value.changes);
    return { ok: true, value: decided.value.network };
  }

  network(request: Partial<NetworkRequest> & { Name: string }): Network {
    return must(this.tryNetwork(request));
  }

  byName(name: string): Network {
    const id = [...(this.state.index.networksByName.get(name) ?? [])][0];
    const network = id === undefined ? undefined : this.state.networks.get(id);
    if (network === undefined) throw new Error(`no network ${name}`);
    return network;
  }

  sandbox(containerName: string, extra: Partial<Sandbox> = {}): Sandbox {
    const containerId = this.id();
    const container = { id: containerId, name: containerName } as Container;
    const sandbox: Sandbox = {
      id: this.id(),
      containerId,
      netns: containerId.slice(0, 12),
      sysctls: {},
      selfManaged: false,
      nextIfindex: 0,
      ...extra,
    };
    applyChanges(this.state, [
      { kind: "container", id: containerId, value: container },
      { kind: "sandbox", id: sandbox.id, value: sandbox },
    ]);
    return sandbox;
  }

  tryJoin(
    sandboxId: string,
    joins: readonly { network: Network; request?: Partial<EndpointRequest> }[],
  ): Result<EndpointDecision, Refusal> {
    const sandbox = this.state.sandboxes.get(sandboxId);
    if (sandbox === undefined) throw new Error("no sandbox");
    const decided = attach(this.state, {
      containerId: sandbox.containerId,
      containerName: this.state.containers.get(sandbox.containerId)?.name ?? "",
      sandbox,
      sequence: this.counter * 10,
      joins: joins.map(({ network, request }) => ({
        network,
        request: { network: network.name, aliases: [], links: null, driverOpts: null, ...request },
        ports: [],
        exposedPorts: [],
        endpointId: this.id(),
        random: Uint8Array.from(this.id().match(/../g)!.slice(0, 16), (x) => Number.parseInt(x, 16)),
      })),
    });
    if (decided.ok) applyChanges(this.state, decided.value.changes);
    return decided;
  }

  join(sandboxId: string, network: Network, request: Partial<EndpointRequest> = {}): Endpoint {
    return must(this.tryJoin(sandboxId, [{ network, request }])).endpoints[0]!;
  }

  /** A container with one network. */
  run(name: string, network: Network, request: Partial<EndpointRequest> = {}): Endpoint {
    return this.join(this.sandbox(name).id, network, request);
  }

  endpoint(id: string): Endpoint {
    const endpoint = this.state.endpoints.get(id);
    if (endpoint === undefined) throw new Error(`no endpoint ${id}`);
    return endpoint;
  }
}

export function must<T>(result: Result<T, Refusal>): T {
  if (!result.ok) throw new Error(`${result.error.status} ${result.error.message}`);
  return result.value;
}

export function refused<T>(result: Result<T, Refusal>): string {
  if (result.ok) throw new Error("not refused");
  return `${result.error.status} ${result.error.message}`;
}
