import { readFileSync, readlinkSync } from "node:fs";
import { messageOf } from "../base/errors.js";
import { parsePrefix, prefixContains, prefixText } from "../base/ip.js";
import type { DriverContext } from "../drivers/index.js";
import { HOST_NS, objectKey } from "../plan/objects.js";
import type { KernelPort } from "../plan/port.js";
import type { EngineContext } from "./context.js";
import { makePredefined } from "./startup.js";

/** The uplink's MTU is looked at this often; it changes when a VPN comes up or a cloud network is reconfigured. */
const LOOK_MS = 5_000;
/** The kernel tells nobody when a sysctl changes: the two without which nothing is forwarded are read this often. */
const FORWARDING_MS = 1_000;
const DEFAULT_MTU = 1500;
/** Meta record of `closesForwarding`. */
export const FORWARDING = "forwarding";

/** What others have made of this host. */
export interface HostFacts {
  /** Of the interface with the default route, in bytes. 1500 where there is none. */
  readonly uplinkMtu: number;
  /** A bridge that is not ours has ports. */
  readonly foreignBridges: boolean;
}

export async function hostFacts(kernel: KernelPort): Promise<HostFacts> {
  const [routes, links] = await Promise.all([kernel.hostRoutes(), kernel.hostLinks()]);
  const route = routes.find((r) => !r.ours && r.dst === "0.0.0.0/0") ?? routes.find((r) => !r.ours && r.dst === "::/0");
  const link = links.find((l) => l.name === route?.dev);
  const bridges = new Set(links.filter((l) => l.type === "bridge" && !l.ours).map((l) => l.ifindex));
  return {
    uplinkMtu: link === undefined ? DEFAULT_MTU : Math.min(link.mtu, DEFAULT_MTU),
    foreignBridges: links.some((l) => l.master !== undefined && bridges.has(l.master)),
  };
}

interface SwitchedOn {
  /** The boot and the network namespace that this is about: elsewhere forwarding is as somebody else has set it. */
  readonly where: string;
  readonly closed: boolean;
}

/**
 * Was the host no router before this engine switched forwarding on? Then it becomes none for others. Asked once per boot, before the first
 * network exists, and remembered: a later start finds forwarding on, by our own doing. `record` is what is kept for it.
 */
export function closesForwarding(known: unknown): { readonly closed: boolean; readonly record?: SwitchedOn } {
  const where = `${readText("/proc/sys/kernel/random/boot_id")} ${readlinkSync("/proc/self/ns/net")}`;
  if (isSwitchedOn(known) && known.where === where) return { closed: known.closed };
  const on = ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"].some((key) => readText(`/proc/sys/${key}`) === "1");
  return { closed: !on, record: { where, closed: !on } };
}

const isSwitchedOn = (value: unknown): value is SwitchedOn =>
  typeof value === "object" && value !== null && "where" in value && "closed" in value && typeof value.closed === "boolean";

const isClosing = (known: unknown): boolean => isSwitchedOn(known) && known.closed;

/** "" where there is no such file. */
function readText(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

/** What tunnels need to know of the link that carries this host's underlay address. */
export async function underlayOf(
  kernel: KernelPort,
  address: string,
): Promise<Pick<DriverContext, "underlayAddress" | "underlayMtu" | "connectedSubnets" | "deviceTowards">> {
  const links = (await kernel.hostLinks()).filter((l) => !l.ours);
  const prefixes = links.flatMap((l) =>
    l.addresses.flatMap((a) => parsePrefix(a) ?? []).map((prefix) => ({ prefix, name: l.name })),
  );
  const subnets = prefixes.filter((p) => p.name !== "lo");
  const carrier = links.find((l) => l.addresses.some((a) => a.split("/")[0] === address));
  return {
    underlayAddress: address,
    ...(carrier === undefined ? {} : { underlayMtu: carrier.mtu }),
    connectedSubnets: subnets.map((s) => prefixText(s.prefix)),
    deviceTowards: (ip) => subnets.find((s) => prefixContains(s.prefix, ip))?.name,
  };
}

/** Networks without an MTU of their own follow the uplink's (unless the engine was given one); foreign bridges come and go. Returns the stop function. */
export function followHost(ctx: EngineContext, options: { readonly fixedMtu: boolean }): () => void {
  let busy = false;
  const look = async () => {
    const before = ctx.converger.context;
    const { foreignBridges, ...facts } = await hostFacts(ctx.kernel);
    const mtu = options.fixedMtu ? before.uplinkMtu : facts.uplinkMtu;
    // Forwarding is not closed beside a foreign bridge: with br_netfilter its own frames pass our chain.
    const closeForeignForwarding = !foreignBridges && isClosing(ctx.state.meta.get(FORWARDING));
    if (mtu === before.uplinkMtu && foreignBridges === before.foreignBridges) return;
    if (mtu !== before.uplinkMtu) {
      ctx.log.info("uplink MTU changed", { from: before.uplinkMtu, to: mtu });
      await makePredefined({ ...ctx, options: { ...ctx.options, bridge: { ...ctx.options.bridge, mtu } } });
    }
    await ctx.converger.setContext({ ...before, uplinkMtu: mtu, foreignBridges, closeForeignForwarding });
  };
  const alone = (work: () => Promise<void>) => () => {
    if (busy) return;
    busy = true;
    work()
      .catch((error: unknown) => ctx.log.error("uplink", { error: messageOf(error) }))
      .finally(() => {
        busy = false;
      });
  };
  const timers = [
    setInterval(alone(look), LOOK_MS),
    setInterval(
      alone(() => keepForwarding(ctx)),
      FORWARDING_MS,
    ),
  ];
  for (const timer of timers) timer.unref();
  return () => {
    for (const timer of timers) clearInterval(timer);
  };
}

/** Somebody switched forwarding off (a firewall's reload, sysctl --system): nothing would leave the host any more. */
async function keepForwarding(ctx: EngineContext): Promise<void> {
  for (const key of ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"]) {
    if (!ctx.converger.holds(objectKey({ kind: "sysctl", ns: HOST_NS, key, value: "1" }))) continue;
    if (readText(`/proc/sys/${key.replaceAll(".", "/")}`) !== "0") continue;
    ctx.log.warn("forwarding was switched off by somebody else: switched on again", { sysctl: key });
    await ctx.converger.convergeAll();
  }
}
