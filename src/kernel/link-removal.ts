import type { NsRef } from "../plan/objects.js";
import type { ApplyContext } from "./apply.js";
import { ENODEV } from "./errno.js";
import { sendAsync } from "./ffi.js";
import { NETLINK_ROUTE } from "./netlink/constants.js";
import { NetlinkSocket, type Refused } from "./netlink/socket.js";
import { Writer } from "./netlink/writer.js";
import { writeDelete, writeSet } from "./rtnl/link.js";
import { getLinks } from "./rtnl/link-read.js";

/** How often to look whether a link is out of sight; it takes 1 to 5 ms as a rule. */
const LOOKS = 200;

/**
 * Removes links of ours by name; a name that is gone or is another's link is done. The kernel lets go of a device's name at once but
 * returns only after a grace period (16 to 20 ms for a veth pair), so the request runs on a thread of libuv's pool, and this resolves
 * when the names are free. Several go as one group, in one grace period: 100 pairs take 54 ms, one by one two seconds.
 */
export async function removeLinks(
  context: ApplyContext,
  ns: NsRef,
  names: readonly string[],
  fail: (name: string, why: Refused) => void,
): Promise<void> {
  const { pool, groups } = context;
  const route = pool.route(ns);
  const ours = getLinks(
    route,
    names.map((name) => ({ name })),
  ).filter((link) => link.group === groups.own || link.group === groups.trash);
  if (ours.length === 0) return;
  const w = new Writer(256);
  if (ours.length === 1) writeDelete(w, { name: ours[0]!.name });
  else {
    const marks = new Writer(ours.length * 48);
    for (const link of ours) writeSet(marks, link.name, { values: { IFLA_GROUP: groups.trash } });
    route.request(marks);
    writeDelete(w, { group: groups.trash });
  }
  // A socket of its own: answers of the one in the pool must not wait for this.
  const socket = pool.inside(ns, () => new NetlinkSocket(NETLINK_ROUTE));
  const seq = socket.take(1);
  let failure: Refused | undefined;
  let ended = false;
  const work = sendAsync(socket.fd, w.finish(seq)).then((sent) => {
    ended = true;
    const refused = new Map<number, Refused>();
    if (sent < 0) refused.set(0, { errno: 5 });
    else socket.readAnswers(seq, 0, refused);
    socket.close();
    const why = refused.get(0);
    if (why !== undefined && why.errno !== ENODEV) failure = why;
  });
  const settled = work.then(
    () => undefined,
    (error: unknown) => context.warn("link delete failed", { error: String(error) }),
  );
  context.background.add(settled);
  void settled.then(() => context.background.delete(settled));
  for (let look = 0; look < LOOKS && !ended; look++) {
    await Promise.race([settled, new Promise((done) => setTimeout(done, 1))]);
    if (
      getLinks(
        route,
        ours.map(({ index }) => ({ index })),
      ).length === 0
    )
      return;
  }
  await settled;
  if (failure !== undefined) for (const link of ours) fail(link.name, failure);
}
