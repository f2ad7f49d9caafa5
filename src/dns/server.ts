import type { Logger } from "../base/log.js";
import type { DnsService } from "./contract.js";

export interface DnsOptions {
  readonly log: Logger;
  /** The thread is gone although nobody closed it: containers have no resolver until the service is started anew with new sockets. */
  readonly onDown?: (error: Error) => void;
}

/** Starts the resolver's thread. */
export async function startDns(options: DnsOptions): Promise<DnsService> {
  void options;
  throw new Error("the resolver's thread is not built yet");
}
