import type { Etcd3, IKeyValue } from "etcd3";

/** Keys per request. gRPC takes messages of 4 MiB by default, and an endpoint's value is about 1.2 KiB. */
const PAGE = 1_000;

/** Everything below `/<root>/` as it was at one revision, page by page. */
export async function readAll(
  client: Etcd3,
  root: string,
): Promise<{ readonly revision: number; readonly kvs: readonly IKeyValue[] }> {
  const kvs: IKeyValue[] = [];
  // "0" comes after "/": the end of the range of all keys with the prefix.
  const end = `${root}0`;
  let start = `${root}/`;
  let revision: string | undefined;
  for (;;) {
    const request = client.getAll().inRange({ start, end }).limit(PAGE).sort("Key", "Ascend");
    const response = await (revision === undefined ? request : request.revision(revision)).exec();
    revision ??= String(response.header.revision);
    kvs.push(...response.kvs);
    if (!response.more || response.kvs.length === 0) return { revision: Number(revision), kvs };
    start = `${response.kvs.at(-1)!.key.toString()}\0`;
  }
}
