// node outside.mjs IP: a service on the outside, as the containers see it.
//   TCP 8080       HTTP, answers "peer=IP:PORT" with the address that it sees
//   UDP 5300       the same in front of what was sent
//   UDP, TCP 53    a small DNS server: outside.lab is IP, big.lab has 60 addresses (too many for UDP: truncated there), others do not exist
// Prints "ready", then one line per question: "dns FROM NAME TYPE udp|tcp".
import { createSocket } from "node:dgram";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";

const ip = process.argv[2];
const plain = (address) => address.replace(/^::ffff:/, "");

const http = createHttpServer((request, response) => {
  response.end(`peer=${plain(request.socket.remoteAddress)}:${request.socket.remotePort}\n`);
});

const echo = createSocket("udp4", (data, from) => {
  echo.send(Buffer.concat([Buffer.from(`peer=${from.address}:${from.port} `), data]), from.port, from.address);
});

const dns = createSocket("udp4", (query, from) => {
  const reply = answer(query, from.address, "udp");
  if (reply) dns.send(reply, from.port, from.address);
});

const dnsTcp = createServer((connection) => {
  let received = Buffer.alloc(0);
  connection.on("error", () => {});
  connection.on("data", (chunk) => {
    received = Buffer.concat([received, chunk]);
    if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
    const reply = answer(received.subarray(2, 2 + received.readUInt16BE(0)), plain(connection.remoteAddress), "tcp");
    if (!reply) return void connection.destroy();
    const length = Buffer.alloc(2);
    length.writeUInt16BE(reply.length);
    connection.end(Buffer.concat([length, reply]));
  });
});

/** RFC 1035, section 4: header, the question as it came, answers that point back to the name in it. */
function answer(query, from, transport) {
  const labels = [];
  let at = 12;
  while (at < query.length && query[at] !== 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + query[at]));
    at += query[at] + 1;
  }
  const end = at + 5;
  if (end > query.length) return undefined;
  const type = query.readUInt16BE(at + 1);
  const name = labels.join(".").toLowerCase();
  console.log(`dns ${from} ${name} ${type} ${transport}`);
  const addresses = type === 1 ? addressesOf(name) : [];
  const truncated = name === "big.lab" && transport === "udp";
  const known = name === "outside.lab" || name === "big.lab";
  const header = Buffer.alloc(12);
  query.copy(header, 0, 0, 2);
  header.writeUInt16BE(0x8580 | (truncated ? 0x0200 : 0) | (known ? 0 : 3), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(truncated ? 0 : addresses.length, 6);
  const records = truncated ? [] : addresses.map((a) => Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...a.split(".").map(Number)]));
  return Buffer.concat([header, query.subarray(12, end), ...records]);
}

function addressesOf(name) {
  if (name === "outside.lab") return [ip];
  return name === "big.lab" ? Array.from({ length: 60 }, (_, n) => `203.0.113.${n + 1}`) : [];
}

process.stdin.resume().on("end", () => process.exit()); // whoever has started this is no more

const opened = (open) => new Promise((resolve) => open(resolve));
await Promise.all([
  opened((done) => http.listen(8080, ip, done)),
  opened((done) => echo.bind(5300, ip, done)),
  opened((done) => dns.bind(53, ip, done)),
  opened((done) => dnsTcp.listen(53, ip, done)),
]);
console.log("ready");
