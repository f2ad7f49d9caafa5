import { type FSWatcher, readFileSync, watch } from "node:fs";
import { basename, dirname } from "node:path";
import { type HostResolv, parseResolvConf } from "./etc-files.js";

const stub = "127.0.0.53";
const behindStub = "/run/systemd/resolve/resolv.conf";

export interface HostResolvPaths {
  readonly main?: string;
  /** Read instead when the main file names only systemd-resolved's stub. */
  readonly behindStub?: string;
}

/**
 * The host's resolvers. Where /etc/resolv.conf names only systemd-resolved's stub, the file with the real ones is read instead, if there is one.
 * A file that cannot be read counts as empty: containers then get Docker's fallback.
 */
export function readHostResolv(paths: HostResolvPaths = {}): HostResolv {
  const main = readResolv(paths.main ?? "/etc/resolv.conf");
  if (main.nameservers.length === 1 && main.nameservers[0] === stub) {
    const real = readResolv(paths.behindStub ?? behindStub);
    if (real.nameservers.length > 0) return real;
  }
  return main;
}

function readResolv(path: string): HostResolv {
  try {
    return parseResolvConf(readFileSync(path, "utf8"));
  } catch {
    return parseResolvConf("");
  }
}

/**
 * Calls back when the host's resolvers have changed. The directories are watched, because resolv.conf is usually replaced by rename; and looked at
 * once a minute, because a change may come about by a link to elsewhere. Returns the stop function.
 */
export function watchHostResolv(onChange: (resolv: HostResolv) => void, paths: HostResolvPaths = {}): () => void {
  let last = readHostResolv(paths).text;
  let timer: NodeJS.Timeout | undefined;
  const check = () => {
    timer = undefined;
    const now = readHostResolv(paths);
    if (now.text === last) return;
    last = now.text;
    onChange(now);
  };
  const watchers: FSWatcher[] = [];
  for (const path of [paths.main ?? "/etc/resolv.conf", paths.behindStub ?? behindStub]) {
    try {
      const watcher = watch(dirname(path), { persistent: false }, (_event, name) => {
        // writers truncate and then write: wait for them to be done
        if (name === null || name === basename(path)) timer ??= setTimeout(check, 100).unref();
      });
      watcher.on("error", () => watcher.close());
      watchers.push(watcher);
    } catch {
      // no such directory: the minute's look finds it
    }
  }
  const interval = setInterval(check, 60_000).unref();
  return () => {
    for (const watcher of watchers) watcher.close();
    clearInterval(interval);
    clearTimeout(timer);
  };
}
