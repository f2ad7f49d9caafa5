/**
 * How an object that we made is recognised. Several engines may run on one kernel, each in a network
 * namespace of its own: what they make never lies in the same namespace.
 */

/** rtm_protocol, IFA_PROTO and NDA_PROTOCOL of what we make: a number that no routing daemon in iproute2's rt_protos has. */
export const RTPROT_LINKSPAN = 76;

/** IFLA_GROUP of links, from the engine's tag: the link itself, the far end of a veth pair, and what is about to be deleted. */
export interface LinkGroups {
  readonly own: number;
  readonly peer: number;
  readonly trash: number;
}
export const linkGroups = (group: number): LinkGroups => ({ own: group, peer: group + 1, trash: group + 2 });

/** Comment of our nftables tables: "linkspan <hash> <chains> <rules>". The counts tell a table whose rules somebody has flushed. */
export const TABLE_COMMENT = /^linkspan (\S+) (\d+) (\d+)$/;
export const tableComment = (hash: string, counts: { readonly chains: number; readonly rules: number }): string =>
  `linkspan ${hash} ${counts.chains} ${counts.rules}`;
