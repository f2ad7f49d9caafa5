import type { DnsEndpoint, DnsNetwork, DnsSandbox } from "./contract.js";

/** What the engine's thread tells the resolver's thread; each call is answered by its number. */
export type Call =
  | { readonly op: "addSandbox"; readonly sandbox: DnsSandbox & { readonly udpFd: number; readonly tcpFd: number } }
  | { readonly op: "updateSandbox"; readonly sandbox: DnsSandbox }
  | { readonly op: "removeSandbox"; readonly sandboxId: string }
  | { readonly op: "putNetwork"; readonly network: DnsNetwork }
  | { readonly op: "removeNetwork"; readonly networkId: string }
  | {
      readonly op: "putEndpoint";
      readonly networkId: string;
      readonly networkName: string;
      readonly endpoint: DnsEndpoint;
    }
  | { readonly op: "removeEndpoint"; readonly endpointId: string }
  | { readonly op: "reserveNames"; readonly ownerId: string; readonly names: readonly string[] }
  | { readonly op: "setHostUpstreams"; readonly upstreams: readonly string[] }
  | { readonly op: "stats" }
  | { readonly op: "close" };

export interface CallMessage {
  readonly number: number;
  readonly call: Call;
}
export interface ReplyMessage {
  readonly number: number;
  readonly value?: unknown;
  readonly error?: string;
}
