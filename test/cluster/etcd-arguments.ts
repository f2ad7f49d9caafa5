/** An etcd of one member. The first of the client URLs is the advertised one. */
export function etcdArguments(dataDirectory: string, client: readonly string[], peer: string): string[] {
  return [
    "--name=one",
    `--data-dir=${dataDirectory}`,
    `--listen-client-urls=${client.join(",")}`,
    `--advertise-client-urls=${client[0]}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=one=${peer}`,
    "--log-level=error",
  ];
}
