import { parsePrefix, prefixContains, prefixText } from "../base/ip.js";
import type { DriverContext } from "../drivers/index.js";
import type { KernelPort } from "../plan/port.js";
import type { EngineContext } from "./context.js";
import { textOf } from "./lifecycle.js";
import { makePredefined } from "./startup.js";

/** The uplink's MTU is looked at this often; it changes when a VPN comes up or a cloud network is reconfigured. */
const LOOK_MS = 5_000;
const DEFAULT_MTU = 1500;

/** MTU of the interface with the default route, in bytes. 1500 where there is none. */
export async function uplinkMtu(kernel: KernelPort): Promise<number> {
  const [routes, links] = await Promise.all([kernel.hostRoutes(), kernel.hostLinks()]);
  const route = routes.find((r) => !r.ours && r.dst === "0.0.0.0/0") ?? routes.find((r) => !r.ours && r.dst === "::/0");
  const link = links.find((l) => l.name === route?.dev);
  return link === undefined ? DEFAULT_MTU : Math.min(link.mtu, DEFAULT_MTU);
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

/** Networks without an MTU of their own follow the uplink's. Returns the stop function. */
export function followUplink(ctx: EngineContext): () => void {
  let busy = false;
  const look = async () => {
    const mtu = await uplinkMtu(ctx.kernel);
    if (mtu === ctx.converger.context.uplinkMtu) return;
    ctx.log.info("uplink MTU changed", { from: ctx.converger.context.uplinkMtu, to: mtu });
    await makePredefined({ ...ctx, options: { ...ctx.options, bridge: { ...ctx.options.bridge, mtu } } });
    await ctx.converger.setContext({ ...ctx.converger.context, uplinkMtu: mtu });
  };
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    look()
      .catch((error: unknown) => ctx.log.error("uplink", { error: textOf(error) }))
      .finally(() => {
        busy = false;
      });
  }, LOOK_MS);
  timer.unref();
  return () => clearInterval(timer);
}
