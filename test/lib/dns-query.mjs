// node dns-query.mjs SERVER udp|tcp NAME [a|aaaa]: one question, and what came back as JSON: {rcode, authoritative, recursive, truncated, ttls, addresses}.
import { createSocket } from "node:dgram";
import { createConnection } from "node:net";

const [server, transport, name, type = "a"] = process.argv.slice(2);
const labels = name.split(".").flatMap((label) => [label.length, ...Buffer.from(label)]);
const query = Buffer.from([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, type === "aaaa" ? 28 : 1, 0, 1]);

setTimeout(() => process.exit(1), 3000).unref();
if (transport === "udp") {
  const socket = createSocket("udp4", (reply) => {
    socket.close();
    tell(reply);
  });
  socket.send(query, 53, server);
} else {
  let received = Buffer.alloc(0);
  const connection = createConnection(53, server, () => connection.write(Buffer.concat([Buffer.from([0, query.length]), query])));
  connection.on("data", (chunk) => {
    received = Buffer.concat([received, chunk]);
    if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
    connection.destroy();
    tell(received.subarray(2));
  });
}

function tell(reply) {
  const flags = reply.readUInt16BE(2);
  const answer = { rcode: flags & 15, authoritative: (flags & 0x400) !== 0, recursive: (flags & 0x80) !== 0, truncated: (flags & 0x200) !== 0, ttls: [], addresses: [] };
  let at = query.length; // the question is sent back as it came
  for (let n = reply.readUInt16BE(6); n > 0; n--) {
    while (reply[at] !== 0 && reply[at] < 0xc0) at += reply[at] + 1;
    at += reply[at] === 0 ? 1 : 2;
    const data = reply.subarray(at + 10, at + 10 + reply.readUInt16BE(at + 8));
    answer.ttls.push(reply.readUInt32BE(at + 4));
    if (reply.readUInt16BE(at) === 1) answer.addresses.push(data.join("."));
    at += 10 + data.length;
  }
  console.log(JSON.stringify(answer));
}
