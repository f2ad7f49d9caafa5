import { Etcd3 } from "etcd3";
import type { ClusterOptions } from "./contract.js";

/** One call to etcd may take this long. Longer than an election, shorter than a person's patience. */
const CALL_TIMEOUT_MS = 3_000;

/** Connects when it is first used, and again whenever it must. */
export function etcdClient(options: ClusterOptions): Etcd3 {
  const scheme = options.tls ? "https" : "http";
  return new Etcd3({
    hosts: options.hosts.map((h) => `${scheme}://${h}`),
    ...(options.tls?.ca
      ? {
          credentials: {
            rootCertificate: options.tls.ca,
            ...(options.tls.key && options.tls.cert ? { privateKey: options.tls.key, certChain: options.tls.cert } : {}),
          },
        }
      : {}),
    defaultCallOptions: (context) => (context.isStream ? {} : { deadline: Date.now() + CALL_TIMEOUT_MS }),
    grpcOptions: {
      "grpc.initial_reconnect_backoff_ms": 200,
      "grpc.max_reconnect_backoff_ms": 1_000,
      "grpc.keepalive_time_ms": 5_000,
      "grpc.keepalive_timeout_ms": 3_000,
    },
  });
}
