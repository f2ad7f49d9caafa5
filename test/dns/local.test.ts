import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DnsService } from "../../src/dns/contract.js";
import { startDns } from "../../src/dns/server.js";
import { silentLog } from "../lib/log.js";
import { sleep } from "../lib/run.js";
import { type Client, FakeUpstream, Space } from "./space.js";
import { question, types } from "./wire.js";

const texts = (answers: readonly { text: string }[]) => answers.map((a) => a.text).sort();

describe("the names of containers, asked for inside a namespace", () => {
  const space = new Space("l");
  const other = new Space("o");
  const upstream = new FakeUpstream();
  let dns: DnsService;
  let client: Client;
  let stranger: Client;

  beforeAll(async () => {
    dns = await startDns({ log: silentLog });
    await dns.setHostUpstreams([await upstream.start()]);
    await dns.putNetwork({ networkId: "n1", name: "my-bridge", subnets: ["172.18.0.0/16", "fd00:18::/64"] });
    await dns.putEndpoint("n1", "my-bridge", {
      endpointId: "e1",
      name: "test03",
      aliases: ["web", "0123456789ab"],
      ipv4: "172.18.0.2",
    });
    await dns.putEndpoint("n1", "my-bridge", {
      endpointId: "e2",
      name: "test02",
      aliases: ["web"],
      ipv4: "172.18.0.3",
      ipv6: "fd00:18::3",
    });
    await dns.putEndpoint("n2", "other", { endpointId: "e3", name: "secret", aliases: [], ipv4: "172.19.0.2" });
    await dns.addSandbox({
      sandboxId: "s1",
      ...space.resolverSockets(),
      networks: ["n1"],
      upstreams: [],
      links: [{ networkId: "n1", alias: "clickhouse-server", name: "test03" }],
    });
    await dns.addSandbox({ sandboxId: "s2", ...other.resolverSockets(), networks: ["n2"], upstreams: [], links: [] });
    client = space.client();
    stranger = other.client();
  });
  afterAll(async () => {
    await dns.close();
    upstream.close();
    space.remove();
    other.remove();
  });

  it("answers names, short ids, aliases and name.network, whatever the letters' case, and keeps the question's", async () => {
    for (const name of ["test03", "TEST03", "Test03.My-Bridge", "0123456789ab", "test03."]) {
      const answer = await client.ask(name, types.A);
      expect(answer.rcode).toBe(0);
      expect(texts(answer.answers)).toEqual(["172.18.0.2"]);
      expect(answer.question[0]!.name).toBe(name.replace(/\.$/, ""));
      expect(answer.answers[0]!.ttl).toBe(5);
    }
    expect(upstream.seen).toEqual([]);
  });

  it("says that recursion is available and claims no authority", async () => {
    const { flags } = await client.ask("test03", types.A);
    expect(flags & 0x8000).toBe(0x8000);
    expect(flags & 0x0400).toBe(0);
    expect(flags & 0x0180).toBe(0x0180);
    expect((await client.ask("test03", types.A, { rd: false })).flags & 0x0100).toBe(0);
  });

  it("answers an alias of several containers with all of them, in turn", async () => {
    const firsts = new Set<string>();
    for (let i = 0; i < 4; i++) {
      const { answers } = await client.ask("web", types.A);
      expect(texts(answers)).toEqual(["172.18.0.2", "172.18.0.3"]);
      firsts.add(answers[0]!.text);
    }
    expect(firsts.size).toBe(2);
  });

  it("answers NOERROR and nothing where only the other family exists, or for another type", async () => {
    for (const type of [types.AAAA, types.MX, types.TXT, types.SOA]) {
      const answer = await client.ask("test03", type);
      expect([answer.rcode, answer.answers.length]).toEqual([0, 0]);
    }
    expect((await client.ask("test02", types.AAAA)).answers[0]!.data.toString("hex")).toBe("fd000018000000000000000000000003");
    expect((await client.ask("test02", types.ANY)).answers.length).toBe(2);
    expect(upstream.seen).toEqual([]);
  });

  it("answers PTR for both families", async () => {
    expect((await client.ask("2.0.18.172.in-addr.arpa", types.PTR)).answers[0]!.text).toBe("test03.my-bridge");
    const v6 = [..."fd000018000000000000000000000003"].reverse().join(".");
    expect((await client.ask(`${v6}.ip6.arpa`, types.PTR)).answers[0]!.text).toBe("test02.my-bridge");
    expect((await client.ask("9.0.18.172.in-addr.arpa", types.PTR)).rcode).toBe(3);
    expect(upstream.seen).toEqual([]);
  });

  it("answers NXDOMAIN for what is not there in the network's scope, and for names that are others' business", async () => {
    for (const name of ["nosuch.my-bridge", "a.b.my-bridge", "secret", "secret.other", "nosuch.MY-bridge"])
      expect((await client.ask(name, types.A)).rcode, name).toBe(3);
    for (const name of ["test03", "test03.my-bridge", "web", "clickhouse-server"])
      expect((await stranger.ask(name, types.A)).rcode, name).toBe(3);
    expect((await client.ask("my-bridge", types.A)).rcode).toBe(0);
    expect(upstream.seen).toEqual([]);
  });

  it("shows a link's alias to the one that has it, and only while the target is there", async () => {
    for (const name of ["clickhouse-server", "clickhouse-server.my-bridge"])
      expect(texts((await client.ask(name, types.A)).answers)).toEqual(["172.18.0.2"]);
    await dns.removeEndpoint("e1");
    expect((await client.ask("clickhouse-server", types.A)).rcode).toBe(3);
    expect((await client.ask("test03", types.A)).rcode).toBe(3);
    expect(texts((await client.ask("web", types.A)).answers)).toEqual(["172.18.0.3"]);
    await dns.putEndpoint("n1", "my-bridge", {
      endpointId: "e1",
      name: "test03",
      aliases: ["web", "0123456789ab"],
      ipv4: "172.18.0.2",
    });
    expect(texts((await client.ask("web", types.A)).answers)).toEqual(["172.18.0.2", "172.18.0.3"]);
    expect(upstream.seen).toEqual([]);
  });

  it("follows a rename, a network that is joined or left, and reserved names", async () => {
    await dns.putEndpoint("n1", "my-bridge", {
      endpointId: "e2",
      name: "renamed",
      aliases: ["web"],
      ipv4: "172.18.0.3",
      ipv6: "fd00:18::3",
    });
    expect((await client.ask("test02", types.A)).rcode).toBe(3);
    expect(texts((await client.ask("renamed", types.A)).answers)).toEqual(["172.18.0.3"]);
    await dns.updateSandbox({ sandboxId: "s1", networks: ["n1", "n2"], upstreams: [], links: [] });
    expect(texts((await client.ask("secret", types.A)).answers)).toEqual(["172.19.0.2"]);
    expect((await client.ask("clickhouse-server", types.A)).rcode).toBe(3);
    await dns.updateSandbox({ sandboxId: "s1", networks: ["n1"], upstreams: [], links: [] });
    expect((await client.ask("secret", types.A)).rcode).toBe(3);
    await dns.reserveNames("c9", ["sleeper"]);
    expect((await client.ask("sleeper", types.A)).rcode).toBe(3);
    expect(upstream.seen).toEqual([]);
  });

  it("puts endpoints of hosts that are away behind the others", async () => {
    await dns.putEndpoint("n1", "my-bridge", { endpointId: "a1", name: "r1", aliases: ["far"], ipv4: "172.18.1.1", away: true });
    expect(texts((await client.ask("far", types.A)).answers)).toEqual(["172.18.1.1"]);
    await dns.removeEndpoint("a1");
  });

  it("answers localhost by itself", async () => {
    expect(texts((await client.ask("localhost", types.A)).answers)).toEqual(["127.0.0.1"]);
    expect(upstream.seen).toEqual([]);
  });

  it("speaks EDNS: size, DO, and only version 0", async () => {
    const plain = await client.ask("test03", types.A);
    expect(plain.additional).toEqual([]);
    const edns = await client.ask("test03", types.A, { edns: { size: 1232, do: true } });
    expect(edns.additional.map((r) => [r.type, r.ttl])).toEqual([[types.OPT, 0x8000]]);
    const future = await client.ask("test03", types.A, { edns: { size: 1232, version: 1 } });
    expect(future.additional[0]!.ttl >>> 24).toBe(1);
    expect(future.answers).toEqual([]);
  });

  it("truncates what is too large for the client's buffer, and gives all of it over TCP", async () => {
    for (let i = 0; i < 60; i++)
      await dns.putEndpoint("n1", "my-bridge", { endpointId: `m${i}`, name: `m${i}`, aliases: ["many"], ipv4: `172.18.2.${i}` });
    const plain = await client.ask("many", types.A);
    expect(plain.tc).toBe(true);
    expect(plain.answers.length).toBe(Math.floor((512 - 22) / 16));
    const edns = await client.ask("many", types.A, { edns: { size: 4096 } });
    expect([edns.tc, edns.answers.length]).toEqual([false, 60]);
    const [tcp] = await space.askTcp([question("many", types.A)]);
    expect([tcp!.tc, new Set(texts(tcp!.answers)).size]).toEqual([false, 60]);
  });

  it("answers many questions on one TCP connection, also when they come in pieces", async () => {
    const queries = Array.from({ length: 100 }, (_, i) => question(i % 2 ? "test03" : "nosuch.my-bridge", types.A, { id: i }));
    const answers = await space.askTcp(queries);
    expect(answers.map((a) => [a.id, a.rcode])).toEqual(queries.map((_, i) => [i, i % 2 ? 0 : 3]));
    const socket = space.connect();
    const q = question("test03", types.A);
    const frame = Buffer.concat([Buffer.of(0, q.length), q]);
    const got = new Promise<Buffer>((resolve) => socket.once("data", resolve));
    for (const byte of frame) {
      socket.write(Buffer.of(byte));
      await sleep(1);
    }
    expect((await got).length).toBeGreaterThan(q.length);
    socket.destroy();
  });

  it("refuses what it does not do, and does not answer answers", async () => {
    expect((await client.ask("test03", types.AXFR)).rcode).toBe(5);
    expect((await client.ask("version.bind", types.TXT, { class: 3 })).rcode).toBe(5);
    const notify = question("test03", types.A, { id: 77 });
    notify[2] = 0x20;
    expect((await client.send(notify)).rcode).toBe(4);
    const two = question("test03", types.A, { id: 78 });
    two[5] = 2;
    await expect(client.send(two)).resolves.toMatchObject({ rcode: 1 });
    const reply = question("test03", types.A, { id: 79 });
    reply[2] = 0x81;
    await expect(client.send(reply, 200)).rejects.toThrow("no answer");
  });

  it("closes its sockets with the sandbox", async () => {
    await dns.removeSandbox("s2");
    await dns.removeSandbox("s2");
    const again = other.resolverSockets();
    await dns.addSandbox({ sandboxId: "s2", ...again, networks: ["n1"], upstreams: [], links: [] });
    expect(texts((await stranger.ask("test03", types.A)).answers)).toEqual(["172.18.0.2"]);
    expect((await dns.stats()).sandboxes).toBe(2);
  });
});
