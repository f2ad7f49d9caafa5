import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { dirname, join, resolve } from "node:path";
import { checkoutUrl } from "./base/built.js";
import { createLogger, type Logger } from "./base/log.js";
import type { DaemonOptions } from "./cli/index.js";
import { type ClusterSettings, parseClusterSettings } from "./cluster/index.js";
import { createContainerRuntime } from "./containers/index.js";
import { startDns } from "./dns/index.js";
import { containerSysctls } from "./drivers/index.js";
import { type EngineParts, startEngine } from "./engine/index.js";
import { createImageStore } from "./images/index.js";
import { startKernel } from "./kernel/index.js";
import { LOCAL_ADDRESS_POOLS } from "./model/index.js";
import { openEmbeddedStore } from "./store/embedded.js";

/** So many containers in a row start without waiting for the making of a namespace; each takes some hundred KiB of the kernel's memory. */
const SPARE_NAMESPACES = 16;

/**
 * `linkspan daemon`: the composition root, the only place that constructs things. Nothing here is global to the machine: all files are below the two
 * roots, and kernel objects carry a mark that is made from the exec root, so several engines can run, each in its network namespace.
 * Resolves when the API listens.
 */
export async function startDaemon(options: DaemonOptions): Promise<void> {
  const log = createLogger({
    level: options.logLevel,
    write: (line) => void process.stderr.write(line),
    now: () => new Date().toISOString(),
  });
  const startedAt = new Date().toISOString();
  const dataRoot = resolve(options.dataRoot);
  const execRoot = resolve(options.execRoot);
  for (const directory of [dataRoot, execRoot]) mkdirSync(directory, { recursive: true, mode: 0o711 });
  const instance = createHash("sha256").update(execRoot).digest("hex").slice(0, 8);
  process.on("unhandledRejection", (reason) => {
    log.error("unhandled rejection", { error: reason instanceof Error ? (reason.stack ?? reason.message) : String(reason) });
  });
  const cluster =
    options.clusterStore === undefined
      ? undefined
      : parseClusterSettings({
          store: options.clusterStore,
          advertise: options.clusterAdvertise,
          options: options.clusterStoreOptions,
        });
  // The store's lock also says that no other engine uses these roots: nothing else is touched before it is held.
  const store = await openEmbeddedStore({ directory: join(dataRoot, "store"), log, now: () => Date.now() });
  writePidfile(options.pidfile);
  const hostHasIPv6 = existsSync("/proc/sys/net/ipv6");
  // Both threads load side by side with the rest; the resolver's is what running containers wait for.
  const firstResolver = resolverStart(log);
  const [kernel, runtime, images] = await Promise.all([
    startKernel({
      execRoot,
      instance,
      log,
      spares: { count: SPARE_NAMESPACES, sysctls: containerSysctls(hostHasIPv6) },
      // Without it nothing can be done or undone. Containers live on; whoever watches over the engine starts it anew, and it repairs.
      onDown: () => process.exit(70),
    }),
    createContainerRuntime({ dataRoot, execRoot, log, ...runtimeChoice(options.defaultRuntime) }),
    createImageStore({ dataRoot, execRoot, log, insecureRegistries: options.insecureRegistries }),
  ]);
  const parts: EngineParts = {
    settings: {
      version: packageVersion(),
      hostname: hostname(),
      dataRoot,
      execRoot,
      startedAt,
      labels: options.labels,
      ...(options.clusterStore === undefined ? {} : { clusterStore: options.clusterStore }),
      ...(cluster === undefined ? {} : { clusterAdvertise: cluster.advertise }),
      runtimeName: runtime.runtimeName,
      cgroupVersion: runtime.cgroupVersion,
    },
    options: {
      bridge: {
        bridgeName: options.bridge ?? "docker0",
        ...(options.bip === undefined ? {} : { bip: options.bip }),
        ...(options.fixedCidr === undefined ? {} : { fixedCidr: options.fixedCidr }),
        ...(options.fixedCidrV6 === undefined ? {} : { fixedCidrV6: options.fixedCidrV6 }),
        ipv6: options.ipv6,
        mtu: options.mtu,
        icc: options.icc,
        ipMasq: options.ipMasq,
        hostBindingIp: options.ip,
      },
      addressPools: options.defaultAddressPools.length > 0 ? options.defaultAddressPools : LOCAL_ADDRESS_POOLS,
      drivers: new Set([
        "bridge",
        "host",
        "null",
        "macvlan",
        ...(options.clusterStore === undefined ? [] : (["overlay", "routed"] as const)),
      ]),
      dns: options.dns,
      dnsSearch: options.dnsSearch,
      dnsOptions: options.dnsOptions,
      hostGatewayIp: options.hostGatewayIp,
      shutdownTimeoutSeconds: 15,
    },
    instance,
    hostHasIPv6,
    log,
    store,
    ...(cluster === undefined ? {} : { cluster: clusterPart(cluster, dataRoot, log) }),
    kernel,
    runtime,
    images,
    startDns: firstResolver,
  };
  const engine = await startEngine(parts);
  // The API's modules are the largest part of the program: they are loaded when names are answered again.
  const { createApiServer } = await import("./api/index.js");
  const api = createApiServer(engine, {
    log,
    insecureRegistries: options.insecureRegistries,
    liveRestore: options.liveRestore,
    debug: options.logLevel === "debug",
  });
  endOnSignals(log, async () => {
    await api.close();
    await engine.close({ stopContainers: !options.liveRestore });
    if (options.pidfile !== undefined) rmSync(options.pidfile, { force: true });
  });
  await api.listen(options.hosts);
  log.info("Daemon has completed initialization", { instance, startMs: Math.round(performance.now()) });
}

/** The client of etcd is loaded only where there is a cluster: it is the largest of our dependencies. */
function clusterPart(settings: ClusterSettings, dataRoot: string, log: Logger): NonNullable<EngineParts["cluster"]> {
  return {
    address: settings.address,
    open: async (nodeId, events) => {
      const { openEtcdCluster } = await import("./cluster/etcd.js");
      const options = {
        ...settings,
        hostname: hostname(),
        nodeId,
        now: () => new Date().toISOString(),
        cacheFile: join(dataRoot, "cluster.json"),
        log,
      };
      return openEtcdCluster(options, events);
    },
  };
}

/** Starts the resolver's thread at once, for the first caller; later ones (when it has died) get a new one each. */
function resolverStart(log: Logger): EngineParts["startDns"] {
  let down: (error: Error) => void = () => undefined;
  let first: ReturnType<typeof startDns> | undefined = startDns({ log, onDown: (error) => down(error) });
  first.catch(() => undefined);
  return (onDown) => {
    down = onDown;
    const mine = first ?? startDns({ log, onDown });
    first = undefined;
    return mine;
  };
}

/** The first signal ends in order; a second one does not wait. */
function endOnSignals(log: Logger, end: () => Promise<void>): void {
  let ending = false;
  const onSignal = (signal: NodeJS.Signals) => {
    if (ending) process.exit(1);
    ending = true;
    log.info("Processing signal", { signal });
    end().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error("shutdown", { error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
}

function writePidfile(path: string | undefined): void {
  if (path === undefined) return;
  mkdirSync(dirname(resolve(path)), { recursive: true });
  writeFileSync(path, `${process.pid}\n`);
}

function runtimeChoice(name: string | undefined): { runtime?: "crun" | "runc" } {
  if (name === undefined) return {};
  if (name !== "crun" && name !== "runc") throw new Error(`unknown runtime ${name}: this engine runs crun and runc`);
  return { runtime: name };
}

function packageVersion(): string {
  const text = readFileSync(checkoutUrl(import.meta.url, "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
