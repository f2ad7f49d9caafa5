import { readFileSync, readlinkSync } from "node:fs";

/** Docker's counters of one interface: bytes and frames. */
export interface InterfaceStats {
  readonly rx_bytes: number;
  readonly rx_packets: number;
  readonly rx_errors: number;
  readonly rx_dropped: number;
  readonly tx_bytes: number;
  readonly tx_packets: number;
  readonly tx_errors: number;
  readonly tx_dropped: number;
}

/**
 * The counters of a process's interfaces, by name and without lo, from /proc/PID/net/dev, which shows the namespace of that process (proc(5)).
 * undefined where Docker shows none: on the host's network, without interfaces, when the process has gone.
 */
export function interfaceStats(pid: number): Record<string, InterfaceStats> | undefined {
  try {
    if (pid === 0 || readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync("/proc/self/ns/net")) return undefined;
    const interfaces = parseNetDev(readFileSync(`/proc/${pid}/net/dev`, "utf8")).filter(([name]) => name !== "lo");
    return interfaces.length === 0 ? undefined : Object.fromEntries(interfaces);
  } catch {
    return undefined;
  }
}

/** "  eth0: 1 2 3 4 5 6 7 8 9 …": eight columns received, then eight sent. */
function parseNetDev(text: string): [string, InterfaceStats][] {
  return text.split("\n").flatMap((line): [string, InterfaceStats][] => {
    const [, name, columns] = /^\s*([^\s:]+):\s*(.*)$/.exec(line) ?? [];
    if (name === undefined || columns === undefined) return [];
    const [
      rx_bytes = 0,
      rx_packets = 0,
      rx_errors = 0,
      rx_dropped = 0,
      ,
      ,
      ,
      ,
      tx_bytes = 0,
      tx_packets = 0,
      tx_errors = 0,
      tx_dropped = 0,
    ] = columns.split(/\s+/).map(Number);
    return [[name, { rx_bytes, rx_packets, rx_errors, rx_dropped, tx_bytes, tx_packets, tx_errors, tx_dropped }]];
  });
}
