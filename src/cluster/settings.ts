import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { messageOf } from "../base/errors.js";

/** What --cluster-store, --cluster-store-opt and --cluster-advertise say, checked. */
export interface ClusterSettings {
  readonly hosts: readonly string[];
  readonly prefix: string;
  /** "192.168.205.10:2375" */
  readonly advertise: string;
  /** The address of `advertise` alone */
  readonly address: string;
  readonly tls?: { readonly ca?: Buffer; readonly cert?: Buffer; readonly key?: Buffer };
}

const DEFAULT_PREFIX = "docker";
const DEFAULT_PORT = 2375;

/** Throws an Error whose text names the flag and what to write. */
export function parseClusterSettings(flags: {
  readonly store: string;
  readonly advertise: string | undefined;
  readonly options: Readonly<Record<string, string>>;
}): ClusterSettings {
  const match = /^etcd:\/\/([^/]+)(?:\/(.*))?$/.exec(flags.store);
  if (match === null)
    throw new Error(`--cluster-store ${flags.store}: only etcd is supported, as etcd://host:port[,host:port…][/prefix]`);
  const hosts = match[1]!.split(",").map((h) => (/:[0-9]+$/.test(h) ? h : `${h}:2379`));
  const prefix = (match[2] ?? "").replace(/^\/+|\/+$/g, "") || DEFAULT_PREFIX;
  const tls = tlsOf(flags.options);
  return { hosts, prefix, ...advertiseOf(flags.advertise), ...(tls === undefined ? {} : { tls }) };
}

function advertiseOf(text: string | undefined): { readonly advertise: string; readonly address: string } {
  if (text === undefined)
    throw new Error(
      "--cluster-store needs --cluster-advertise: the address (or interface) of this host that the others reach, as 192.168.205.10:2375",
    );
  const match = /^(\[[^\]]+\]|[^:]+)(?::([0-9]{1,5}))?$/.exec(text) ?? /^([0-9a-fA-F:]+)()$/.exec(text);
  const host = match?.[1]?.replace(/^\[|\]$/g, "");
  if (host === undefined) throw new Error(`--cluster-advertise ${text}: write ADDRESS[:PORT] or INTERFACE[:PORT]`);
  const port = match?.[2] ? Number(match[2]) : DEFAULT_PORT;
  const address = /^[0-9.]+$/.test(host) || host.includes(":") ? host : addressOfInterface(host, text);
  return { advertise: address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`, address };
}

function addressOfInterface(name: string, text: string): string {
  const found = networkInterfaces()[name];
  if (found === undefined) throw new Error(`--cluster-advertise ${text}: there is no interface ${name} with an address here`);
  return (found.find((a) => a.family === "IPv4") ?? found.find((a) => !a.address.startsWith("fe80")) ?? found[0]!).address;
}

function tlsOf(options: Readonly<Record<string, string>>): ClusterSettings["tls"] {
  const read = (key: string) => {
    const path = options[key];
    if (path === undefined) return undefined;
    try {
      return readFileSync(path);
    } catch (error) {
      throw new Error(`--cluster-store-opt ${key}=${path}: ${messageOf(error)}`);
    }
  };
  const ca = read("kv.cacertfile");
  const cert = read("kv.certfile");
  const key = read("kv.keyfile");
  if (ca === undefined && cert === undefined && key === undefined) return undefined;
  if ((cert === undefined) !== (key === undefined))
    throw new Error("--cluster-store-opt: kv.certfile and kv.keyfile go together");
  return { ...(ca ? { ca } : {}), ...(cert ? { cert } : {}), ...(key ? { key } : {}) };
}
