import { attributes, be32, bytes, list, text } from "../netlink/codec.js";

/** linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h: the attributes that we write or read. */
export const NFNL_SUBSYS_CTNETLINK = 1;
export const NFNL_SUBSYS_NFTABLES = 10;
export const NFNL_MSG_BATCH_BEGIN = 16;
export const NFNL_MSG_BATCH_END = 17;
export const NFNLGRP_NFTABLES = 7;
/** sizeof(struct nfgenmsg) */
export const NFGENMSG = 4;

const nft = (message: number): number => (NFNL_SUBSYS_NFTABLES << 8) | message;
export const NFT_MSG_NEWTABLE = nft(0);
export const NFT_MSG_GETTABLE = nft(1);
export const NFT_MSG_DELTABLE = nft(2);
export const NFT_MSG_NEWCHAIN = nft(3);
export const NFT_MSG_GETCHAIN = nft(4);
export const NFT_MSG_DELCHAIN = nft(5);
export const NFT_MSG_NEWRULE = nft(6);
export const NFT_MSG_GETRULE = nft(7);
export const NFT_MSG_DELRULE = nft(8);
export const NFT_MSG_NEWSET = nft(9);
export const NFT_MSG_GETSET = nft(10);
export const NFT_MSG_DELSET = nft(11);
export const NFT_MSG_NEWSETELEM = nft(12);
export const NFT_MSG_GETSETELEM = nft(13);
export const NFT_MSG_DELSETELEM = nft(14);
export const NFT_MSG_NEWGEN = nft(15);

export const NFT_SET_ANONYMOUS = 1;
export const NFT_SET_INTERVAL = 4;
export const NFT_SET_MAP = 8;
export const NFT_SET_TIMEOUT = 16;
export const NFT_SET_EVAL = 32;
export const NFT_SET_ELEM_INTERVAL_END = 1;
/** Data type of a verdict map */
export const NFT_DATA_VERDICT = 0xffffff00;

const NFTA_DATA = attributes({
  NFTA_DATA_VALUE: [1, bytes],
  NFTA_DATA_VERDICT: [2, attributes({ NFTA_VERDICT_CODE: [1, be32], NFTA_VERDICT_CHAIN: [2, text] })],
});

/** NFTA_TABLE_*, NFTA_CHAIN_*, NFTA_RULE_* agree in the number of the table's name. */
export const NFTA_TABLE = attributes({ NFTA_TABLE_NAME: [1, text], NFTA_TABLE_USERDATA: [6, bytes] });

export const NFTA_SET = attributes({
  NFTA_SET_TABLE: [1, text],
  NFTA_SET_NAME: [2, text],
  NFTA_SET_FLAGS: [3, be32],
  NFTA_SET_KEY_TYPE: [4, be32],
  NFTA_SET_KEY_LEN: [5, be32],
  NFTA_SET_DATA_TYPE: [6, be32],
  NFTA_SET_DATA_LEN: [7, be32],
});

export const NFTA_SET_ELEM = attributes({
  NFTA_SET_ELEM_KEY: [1, NFTA_DATA],
  NFTA_SET_ELEM_DATA: [2, NFTA_DATA],
  NFTA_SET_ELEM_FLAGS: [3, be32],
  NFTA_SET_ELEM_USERDATA: [6, bytes],
  NFTA_SET_ELEM_KEY_END: [10, NFTA_DATA],
});

export const NFTA_SET_ELEM_LIST = attributes({
  NFTA_SET_ELEM_LIST_TABLE: [1, text],
  NFTA_SET_ELEM_LIST_SET: [2, text],
  NFTA_SET_ELEM_LIST_ELEMENTS: [3, list(1, NFTA_SET_ELEM)],
});

/** libnftnl's user data: type, length, value; type 0 is the comment of a table or an element, with its end mark. */
export function readComment(userdata: Uint8Array | undefined): string | undefined {
  if (userdata === undefined) return undefined;
  for (let at = 0; at + 2 <= userdata.length; ) {
    const length = userdata[at + 1]!;
    if (userdata[at] === 0)
      return Buffer.from(userdata.subarray(at + 2, at + 2 + length))
        .toString("latin1")
        .replace(/\0.*$/s, "");
    at += 2 + length;
  }
  return undefined;
}
