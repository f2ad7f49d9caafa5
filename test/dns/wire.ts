/** A second, independent reading of DNS messages for the tests, and questions as clients write them. */
export interface Rr {
  readonly name: string;
  readonly type: number;
  readonly ttl: number;
  readonly data: Buffer;
  readonly text: string;
}
export interface Message {
  readonly id: number;
  readonly flags: number;
  readonly rcode: number;
  readonly tc: boolean;
  readonly question: { readonly name: string; readonly type: number }[];
  readonly answers: Rr[];
  readonly additional: Rr[];
}

export const types = { A: 1, NS: 2, SOA: 6, PTR: 12, MX: 15, TXT: 16, AAAA: 28, OPT: 41, AXFR: 252, ANY: 255 } as const;

export function question(
  name: string,
  type: number,
  options: { id?: number; edns?: { size: number; do?: boolean; version?: number }; rd?: boolean; class?: number } = {},
): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt16BE(options.id ?? 0x1234, 0);
  header.writeUInt16BE(options.rd === false ? 0 : 0x0100, 2);
  header.writeUInt16BE(1, 4);
  const parts = [header, encodeName(name), Buffer.from([type >> 8, type & 255, 0, options.class ?? 1])];
  if (options.edns !== undefined) {
    header.writeUInt16BE(1, 10);
    const { size, do: dnssecOk, version } = options.edns;
    parts.push(Buffer.from([0, 0, 41, size >> 8, size & 255, 0, version ?? 0, dnssecOk ? 0x80 : 0, 0, 0, 0]));
  }
  return Buffer.concat(parts);
}

export function encodeName(name: string): Buffer {
  const labels = name === "" || name === "." ? [] : name.replace(/\.$/, "").split(".");
  return Buffer.concat([...labels.map((l) => Buffer.from([l.length, ...Buffer.from(l)])), Buffer.of(0)]);
}

/** An answer of an upstream in a test. */
export function answerTo(
  query: Buffer,
  addresses: readonly string[],
  options: { rcode?: number; tc?: boolean; ttl?: number } = {},
): Buffer {
  const end = questionEnd(query);
  const head = Buffer.from(query.subarray(0, end));
  head.writeUInt16BE(0x8080 | (query.readUInt16BE(2) & 0x0100) | (options.tc ? 0x0200 : 0) | (options.rcode ?? 0), 2);
  head.writeUInt16BE(addresses.length, 6);
  head.fill(0, 8, 12);
  const records = addresses.map((a) => {
    const rr = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...a.split(".").map(Number)]);
    rr.writeUInt32BE(options.ttl ?? 60, 6);
    return rr;
  });
  return Buffer.concat([head, ...records]);
}

export function questionEnd(message: Buffer): number {
  let at = 12;
  while (message[at] !== 0) at += message[at]! + 1;
  return at + 5;
}

export function decode(message: Buffer): Message {
  let at = 12;
  const flags = message.readUInt16BE(2);
  const readName = (): string => {
    const labels: string[] = [];
    let pos = at;
    let jumped = false;
    for (let hops = 0; hops < 130; hops++) {
      const length = message[pos]!;
      if (length === 0) {
        if (!jumped) at = pos + 1;
        return labels.join(".");
      }
      if (length >= 0xc0) {
        if (!jumped) at = pos + 2;
        jumped = true;
        pos = message.readUInt16BE(pos) & 0x3fff;
        continue;
      }
      labels.push(message.toString("latin1", pos + 1, pos + 1 + length));
      pos += length + 1;
    }
    throw new Error("pointer loop");
  };
  const qd: { name: string; type: number }[] = [];
  for (let i = 0; i < message.readUInt16BE(4); i++) {
    const name = readName();
    qd.push({ name, type: message.readUInt16BE(at) });
    at += 4;
  }
  const records = (count: number): Rr[] => {
    const list: Rr[] = [];
    for (let i = 0; i < count; i++) {
      const name = readName();
      const type = message.readUInt16BE(at);
      const ttl = message.readUInt32BE(at + 4);
      const length = message.readUInt16BE(at + 8);
      at += 10;
      const data = message.subarray(at, at + length);
      const end = at + length;
      let text = data.toString("hex");
      if (type === types.A) text = [...data].join(".");
      if (type === types.PTR) text = readName();
      at = end;
      list.push({ name, type, ttl, data, text });
    }
    return list;
  };
  const answers = records(message.readUInt16BE(6));
  records(message.readUInt16BE(8));
  const additional = records(message.readUInt16BE(10));
  if (at !== message.length) throw new Error(`${message.length - at} bytes after the message`);
  return {
    id: message.readUInt16BE(0),
    flags,
    rcode: flags & 15,
    tc: (flags & 0x0200) !== 0,
    question: qd,
    answers,
    additional,
  };
}
