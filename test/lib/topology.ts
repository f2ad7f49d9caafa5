import { ip, makeSpace, removeSpace, type Space } from "./space.js";

/**
 * A small network out of namespaces whose names start with `prefix`:
 *
 *     …sw    switch and router: bridge ul0 192.168.205.1/24, and a second leg 198.51.100.1/24
 *     …n1    host 192.168.205.10, default route via the router (…n2 would be .11, and so on)
 *     …out   an outside host on the same segment, 192.168.205.20
 *     …net   "the internet", 198.51.100.10: hosts reach it only by their default route
 */
export class Topology {
  readonly prefix: string;
  readonly #made: string[] = [];

  private constructor(prefix: string) {
    this.prefix = prefix;
  }

  static async open(prefix: string): Promise<Topology> {
    const topology = new Topology(prefix);
    const router = await topology.#space("sw");
    await ip("-n", router.name, "link", "set", "lo", "up");
    await ip("-n", router.name, "link", "add", "ul0", "type", "bridge");
    await ip("-n", router.name, "addr", "add", "192.168.205.1/24", "dev", "ul0");
    await ip("-n", router.name, "link", "set", "ul0", "up");
    await router.out("sysctl -qw net.ipv4.ip_forward=1");
    return topology;
  }

  /** A machine on the segment: `host("n1", 10)`. */
  async host(suffix: string, lastOctet: number): Promise<Space> {
    const space = await this.#space(suffix, `192.168.205.${lastOctet}`);
    await this.#cable(space, "192.168.205.1");
    await ip("-n", `${this.prefix}sw`, "link", "set", `p-${suffix}`, "master", "ul0");
    return space;
  }

  async internet(): Promise<Space> {
    return this.routed("net", "198.51.100");
  }

  /** A machine on a link of its own, .10 of it; the router is .1: `routed("n4", "192.168.33")`. */
  async routed(suffix: string, net: string): Promise<Space> {
    const space = await this.#space(suffix, `${net}.10`);
    await this.#cable(space, `${net}.1`);
    await ip("-n", `${this.prefix}sw`, "addr", "add", `${net}.1/24`, "dev", `p-${suffix}`);
    return space;
  }

  /** One more namespace that goes with the others. */
  async loose(suffix: string): Promise<Space> {
    return this.#space(suffix);
  }

  remove(): void {
    for (const name of this.#made.splice(0).reverse()) removeSpace(name);
  }

  async #space(suffix: string, address = ""): Promise<Space> {
    this.#made.push(`${this.prefix}${suffix}`);
    return makeSpace(`${this.prefix}${suffix}`, address);
  }

  async #cable(space: Space, gateway: string): Promise<void> {
    const port = `p-${space.name.slice(this.prefix.length)}`;
    await ip("-n", `${this.prefix}sw`, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space.name);
    await ip("-n", `${this.prefix}sw`, "link", "set", port, "up");
    await ip("-n", space.name, "link", "set", "lo", "up");
    await ip("-n", space.name, "addr", "add", `${space.ip}/24`, "dev", "eth0");
    await ip("-n", space.name, "link", "set", "eth0", "up");
    await ip("-n", space.name, "route", "add", "default", "via", gateway);
  }
}
