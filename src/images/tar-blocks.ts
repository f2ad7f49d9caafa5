import type { Readable } from "node:stream";

/**
 * A tar archive read block by block, as GNU tar writes it with --format=pax. Unlike tar-stream it keeps pax values as bytes:
 * extended attributes such as security.capability are binary (pax(1); SCHILY.xattr.* are star's keywords).
 */
export interface TarEntry {
  readonly path: string;
  readonly linkPath: string;
  /** "0" file, "1" hard link, "2" symbolic link, "3" character device, "4" block device, "5" directory, "6" fifo */
  readonly type: string;
  readonly mode: number;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  readonly size: number;
  readonly pax: ReadonlyMap<string, Buffer>;
  /** The 512 bytes as they came. */
  readonly header: Buffer;
  /** The content with its padding. Must be read to the end before the next entry is asked for; it is skipped otherwise. */
  content(): AsyncIterable<Buffer>;
}

const block = 512;

export async function* readTar(source: Readable): AsyncGenerator<TarEntry> {
  const bytes = byteReader(source);
  let pax = new Map<string, Buffer>();
  for (;;) {
    const header = await bytes.take(block);
    if (header === undefined || header.every((byte) => byte === 0)) break;
    const type = String.fromCharCode(header[156] ?? 0);
    const size = pax.has("size") && type !== "x" ? Number(pax.get("size")?.toString()) : numberAt(header, 124, 12);
    const padded = Math.ceil(size / block) * block;
    if (type === "x" || type === "g") {
      const data = (await bytes.take(padded)) ?? Buffer.alloc(0);
      if (type === "x") pax = parsePax(data.subarray(0, size));
      continue;
    }
    let remaining = padded;
    async function* content(): AsyncGenerator<Buffer> {
      while (remaining > 0) {
        const chunk = await bytes.some(remaining);
        if (chunk === undefined) throw new Error("unexpected end of the archive");
        remaining -= chunk.length;
        yield chunk;
      }
    }
    const prefix = textAt(header, 345, 155);
    const name = textAt(header, 0, 100);
    yield {
      path: pax.get("path")?.toString() ?? (prefix === "" ? name : `${prefix}/${name}`),
      linkPath: pax.get("linkpath")?.toString() ?? textAt(header, 157, 100),
      type: type === "\0" ? "0" : type,
      mode: numberAt(header, 100, 8),
      deviceMajor: numberAt(header, 329, 8),
      deviceMinor: numberAt(header, 337, 8),
      size,
      pax,
      header,
      content,
    };
    for await (const _ of content());
    pax = new Map();
  }
  source.resume();
}

function byteReader(source: Readable) {
  const iterator = source[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let held: Buffer = Buffer.alloc(0);
  const some = async (limit: number): Promise<Buffer | undefined> => {
    if (held.length === 0) {
      const next = await iterator.next();
      if (next.done === true) return undefined;
      held = next.value;
    }
    const chunk = held.subarray(0, limit);
    held = held.subarray(chunk.length);
    return chunk;
  };
  return {
    some,
    async take(length: number): Promise<Buffer | undefined> {
      const parts: Buffer[] = [];
      let missing = length;
      while (missing > 0) {
        const chunk = await some(missing);
        if (chunk === undefined) {
          if (parts.length === 0) return undefined;
          throw new Error("unexpected end of the archive");
        }
        missing -= chunk.length;
        parts.push(chunk);
      }
      return parts.length === 1 ? (parts[0] ?? Buffer.alloc(0)) : Buffer.concat(parts, length);
    },
  };
}

function textAt(header: Buffer, offset: number, length: number): string {
  const field = header.subarray(offset, offset + length);
  const end = field.indexOf(0);
  return field.toString("utf8", 0, end < 0 ? length : end);
}

/** Octal text, or big-endian binary when the first bit is set (GNU's base-256). */
function numberAt(header: Buffer, offset: number, length: number): number {
  if (((header[offset] ?? 0) & 0x80) === 0) return Number.parseInt(textAt(header, offset, length).trim() || "0", 8);
  let value = (header[offset] ?? 0) & 0x7f;
  for (let i = 1; i < length; i++) value = value * 256 + (header[offset + i] ?? 0);
  return value;
}

/** Records "LENGTH KEY=VALUE\n"; the length counts itself. */
function parsePax(data: Buffer): Map<string, Buffer> {
  const records = new Map<string, Buffer>();
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(0x20, at);
    const length = Number.parseInt(data.toString("latin1", at, space), 10);
    if (space < 0 || !(length > 0)) break;
    const equal = data.indexOf(0x3d, space);
    records.set(data.toString("utf8", space + 1, equal), Buffer.from(data.subarray(equal + 1, at + length - 1)));
    at += length;
  }
  return records;
}

/** The pax header and the header of one entry. `name` ≤ 100 bytes goes into the header, longer ones into a pax record. */
export function writeHeader(entry: {
  readonly path: string;
  readonly type: string;
  readonly header: Buffer;
  readonly size: number;
  readonly pax: ReadonlyMap<string, Buffer>;
}): Buffer {
  const header = Buffer.from(entry.header);
  const pax = new Map(entry.pax);
  const name = Buffer.from(entry.path);
  header.fill(0, 345, 500);
  header.fill(0, 0, 100);
  if (name.length <= 100 && name.every((byte) => byte < 0x80)) {
    pax.delete("path");
    name.copy(header, 0);
  } else {
    pax.set("path", name);
    name.copy(header, 0, 0, 100);
  }
  header[156] = entry.type.charCodeAt(0);
  // 12 octal digits at most 8 GiB: larger ones have a pax record already.
  header.write(`${(entry.size % 8 ** 11).toString(8).padStart(11, "0")}\0`, 124, "latin1");
  seal(header);
  if (pax.size === 0) return header;
  const data = Buffer.concat([...pax].map(([key, value]) => paxRecord(key, value)));
  const extended = Buffer.alloc(block);
  extended.write("PaxHeaders/entry", 0, "latin1");
  extended.write("0000644\0", 100, "latin1");
  extended.write("0000000\0", 108, "latin1");
  extended.write("0000000\0", 116, "latin1");
  extended.write(`${data.length.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  extended.write("00000000000\0", 136, "latin1");
  extended.write("x", 156, "latin1");
  extended.write("ustar\x0000", 257, "latin1");
  seal(extended);
  return Buffer.concat([extended, data, Buffer.alloc((block - (data.length % block)) % block), header]);
}

function seal(header: Buffer): void {
  header.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
}

function paxRecord(key: string, value: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from("\n")]);
  let length = body.length + 1;
  while (String(length).length + body.length !== length) length = String(length).length + body.length;
  return Buffer.concat([Buffer.from(String(length)), body]);
}

/** Two empty blocks end an archive. */
export const endOfArchive: Buffer = Buffer.alloc(2 * block);
