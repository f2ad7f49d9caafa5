import type { Container } from "../model/container.js";

/**
 * A container that publishes ten thousand consecutive ports has ten thousand bindings, a megabyte of JSON with each change of its state.
 * In the store they are runs: "tcp 8000 100" for exposed ports, "tcp 8000 100 9000 127.0.0.1" (first container port, how many, first host
 * port, address) for bindings.
 */
interface Runs {
  readonly $runs: readonly string[];
}
type PortMap = Readonly<Record<string, unknown>>;

/** Below this many, nothing is won. */
const WORTH_IT = 64;
/** Port maps are never changed in place: what was packed once stays so. */
const packed = new WeakMap<PortMap, Runs | PortMap>();

export function packPorts(container: Container): unknown {
  const ExposedPorts = packMap(container.config?.ExposedPorts);
  const PortBindings = packMap(container.hostConfig?.PortBindings);
  if (ExposedPorts === container.config?.ExposedPorts && PortBindings === container.hostConfig?.PortBindings) return container;
  return { ...container, config: { ...container.config, ExposedPorts }, hostConfig: { ...container.hostConfig, PortBindings } };
}

/** A container record as it was before `packPorts`. */
export function unpackPorts(container: Container): Container {
  const { config, hostConfig } = container;
  const exposed: unknown = config?.ExposedPorts;
  const bindings: unknown = hostConfig?.PortBindings;
  if (!isRuns(exposed) && !isRuns(bindings)) return container;
  return {
    ...container,
    config: isRuns(exposed) ? { ...config, ExposedPorts: unpackMap(exposed, () => ({})) } : config,
    hostConfig: isRuns(bindings) ? { ...hostConfig, PortBindings: unpackMap(bindings, bindingList) } : hostConfig,
  };
}

const isRuns = (value: unknown): value is Runs =>
  typeof value === "object" && value !== null && "$runs" in value && Array.isArray(value.$runs);

function packMap<T extends PortMap | null | undefined>(map: T): T | Runs | PortMap {
  if (map === null || map === undefined) return map;
  const known = packed.get(map);
  if (known !== undefined) return known;
  const runs = runsOf(map);
  const out = runs === undefined ? map : { $runs: runs };
  packed.set(map, out);
  return out;
}

/** Undefined: too few, or something that a run cannot say. */
function runsOf(map: PortMap): string[] | undefined {
  const keys = Object.keys(map);
  if (keys.length < WORTH_IT) return undefined;
  const out: string[] = [];
  let run: { proto: string; port: number; count: number; host: number; address: string } | undefined;
  const end = () => {
    if (run !== undefined)
      out.push(
        `${run.proto} ${run.port} ${run.count}${run.host < 0 ? "" : ` ${run.host}${run.address === "" ? "" : ` ${run.address}`}`}`,
      );
  };
  for (const key of keys) {
    const slash = key.indexOf("/");
    const port = Number(key.slice(0, slash));
    const proto = key.slice(slash + 1);
    if (`${port}/${proto}` !== key || proto === "" || proto.includes(" ") || !Number.isInteger(port)) return undefined;
    const to = targetOf(map[key]);
    if (to === undefined) return undefined;
    const goesOn =
      run !== undefined &&
      run.proto === proto &&
      run.port + run.count === port &&
      run.address === to.address &&
      (run.host < 0 ? to.host < 0 : run.host + run.count === to.host);
    if (goesOn) run!.count++;
    else {
      end();
      run = { proto, port, count: 1, ...to };
    }
  }
  end();
  return out.length * 2 < keys.length ? out : undefined;
}

/** host -1: an exposed port, which has no target. */
function targetOf(value: unknown): { host: number; address: string } | undefined {
  if (!Array.isArray(value))
    return typeof value === "object" && value !== null && Object.keys(value).length === 0 ? { host: -1, address: "" } : undefined;
  const binding: Record<string, unknown> | undefined = value[0];
  if (value.length !== 1 || binding === undefined || Object.keys(binding).length !== 2) return undefined;
  const { HostIp: address, HostPort: text } = binding;
  const host = Number(text);
  if (typeof address !== "string" || address.includes(" ") || text !== String(host) || !Number.isInteger(host)) return undefined;
  return { host, address };
}

const bindingList = (host: number, address: string) => [{ HostIp: address, HostPort: String(host) }];

function unpackMap<T>({ $runs }: Runs, value: (host: number, address: string) => T): Record<string, T> {
  const out: Record<string, T> = {};
  for (const text of $runs) {
    const [proto, port, count, host, address = ""] = text.split(" ");
    for (let i = 0; i < Number(count); i++) out[`${Number(port) + i}/${proto}`] = value(Number(host) + i, address);
  }
  return out;
}
