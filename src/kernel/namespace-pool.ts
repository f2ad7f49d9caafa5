import { join } from "node:path";
import type { NsRef } from "../plan/objects.js";
import { HOST_NS } from "../plan/objects.js";
import { EEXIST, ENOENT, kernelError } from "./errno.js";
import { libc } from "./ffi.js";
import {
  homeNamespace,
  inNamespace,
  isPinned,
  listNamespaces,
  namespaceDirectory,
  openNamespace,
  pinNamespace,
  removeNamespace,
  unnamedNamespace,
} from "./namespaces.js";
import { NETLINK_NETFILTER, NETLINK_ROUTE } from "./netlink/constants.js";
import { NetlinkSocket } from "./netlink/socket.js";
import type { SpareOptions } from "./protocol.js";
import { SpareNamespaces } from "./spare-namespaces.js";

/** Namespaces that are kept open. Three descriptors each at most, of the 20,000 that a process may have. */
const OPEN_LIMIT = 256;

interface OpenNamespace {
  readonly fd: number;
  route: NetlinkSocket | undefined;
  netfilter: NetlinkSocket | undefined;
}

/**
 * The host's and our pinned namespaces by name, with one rtnetlink and one nfnetlink socket each, opened when first used and
 * kept while among the most recently used. Throws KernelError ENOENT for a namespace that is not there.
 */
export class NamespacePool {
  readonly directory: string;
  readonly spares: SpareNamespaces;
  readonly #template: string;
  readonly #open = new Map<NsRef, OpenNamespace>();

  constructor(execRoot: string, spares: SpareOptions = { count: 0, sysctls: {} }) {
    this.directory = namespaceDirectory(execRoot);
    this.#template = join(execRoot, "netns.pin");
    this.spares = new SpareNamespaces(spares);
    this.#open.set(HOST_NS, { fd: homeNamespace(), route: undefined, netfilter: undefined });
  }

  /**
   * Makes and pins a namespace, unless it is there. "fresh": its lo is down, its sysctls are the kernel's; "prepared": a spare, with lo up and
   * the sysctls that the pool was given.
   */
  make(name: NsRef): "there" | "fresh" | "prepared" {
    const path = this.path(name);
    const spare = this.spares.take();
    const made = spare ?? newNamespace();
    try {
      try {
        pinNamespace(made.fd, path, this.#template);
      } catch (error) {
        if ((error as { errno?: number }).errno !== EEXIST || isPinned(path)) throw error;
        // A crash came between the making of the file and the mount.
        removeNamespace(path);
        pinNamespace(made.fd, path, this.#template);
      }
    } catch (error) {
      made.route.close();
      libc.close(made.fd);
      if ((error as { errno?: number }).errno === EEXIST) return "there";
      throw error;
    }
    this.#add(name, { fd: made.fd, route: made.route, netfilter: undefined });
    return spare === undefined ? "fresh" : "prepared";
  }

  /** Our sockets would keep the namespace alive, so they are closed first. */
  remove(name: NsRef): void {
    this.#forget(name);
    removeNamespace(this.path(name));
  }

  /** Names of the pinned namespaces. A file without a mount is what a crash in the middle of `make` has left: it goes. */
  list(): NsRef[] {
    const { pinned, stale } = listNamespaces(this.directory);
    for (const name of stale) libc.unlink(join(this.directory, name));
    return pinned;
  }

  /** A descriptor of the namespace, for IFLA_NET_NS_FD and setns; the pool's own. */
  fd(name: NsRef): number {
    return this.#get(name).fd;
  }

  route(name: NsRef): NetlinkSocket {
    const entry = this.#get(name);
    entry.route ??= this.inside(name, () => new NetlinkSocket(NETLINK_ROUTE));
    return entry.route;
  }

  netfilter(name: NsRef): NetlinkSocket {
    const entry = this.#get(name);
    entry.netfilter ??= this.inside(name, () => new NetlinkSocket(NETLINK_NETFILTER));
    return entry.netfilter;
  }

  /** Runs `fn` inside the namespace, synchronously. */
  inside<T>(name: NsRef, fn: () => T): T {
    return name === HOST_NS ? fn() : inNamespace(this.fd(name), fn);
  }

  close(): void {
    this.spares.close();
    for (const name of [...this.#open.keys()]) this.#forget(name);
  }

  path(name: NsRef): string {
    if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/.test(name)) throw kernelError(`netns ${JSON.stringify(name)}`, ENOENT);
    return join(this.directory, name);
  }

  #get(name: NsRef): OpenNamespace {
    const entry = this.#open.get(name);
    if (entry === undefined)
      return this.#add(name, { fd: openNamespace(this.path(name)), route: undefined, netfilter: undefined });
    // The order of the map is the order of use.
    if (name !== HOST_NS) {
      this.#open.delete(name);
      this.#open.set(name, entry);
    }
    return entry;
  }

  #add(name: NsRef, entry: OpenNamespace): OpenNamespace {
    this.#open.set(name, entry);
    if (this.#open.size > OPEN_LIMIT)
      for (const oldest of this.#open.keys())
        if (oldest !== HOST_NS) {
          this.#forget(oldest);
          break;
        }
    return entry;
  }

  #forget(name: NsRef): void {
    const entry = this.#open.get(name);
    if (entry === undefined) return;
    entry.route?.close();
    entry.netfilter?.close();
    if (name !== HOST_NS) libc.close(entry.fd);
    this.#open.delete(name);
  }
}

function newNamespace(): { readonly fd: number; readonly route: NetlinkSocket } {
  const { fd, result } = unnamedNamespace(() => new NetlinkSocket(NETLINK_ROUTE));
  return { fd, route: result };
}
