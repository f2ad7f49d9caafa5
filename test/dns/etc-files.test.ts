import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  hostnameFile,
  hostsFile,
  hostsFileOfHost,
  parseExtraHost,
  parseResolvConf,
  type ResolvConfInput,
  resolvConfFile,
} from "../../src/dns/etc-files.js";
import { type HostResolvPaths, readHostResolv, watchHostResolv } from "../../src/dns/host-resolv.js";
import { linkEnvironment } from "../../src/dns/link-env.js";
import { writeEtcFile } from "../../src/dns/write-etc.js";
import { sleep } from "../lib/run.js";

const directory = mkdtempSync(join(tmpdir(), "lst-dns-"));
afterAll(() => rmSync(directory, { recursive: true }));

const head = `127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
`;

describe("/etc/hosts and /etc/hostname", () => {
  const plain = { hostname: "e3e1a7069324", domainname: "", extraHosts: [], links: [], addresses: [{ ipv4: "172.17.0.2" }] };

  it("is what Docker writes for one network, several, and none", () => {
    expect(hostsFile(plain)).toBe(`${head}172.17.0.2\te3e1a7069324\n`);
    expect(hostsFile({ ...plain, addresses: [{ ipv4: "172.17.0.2" }, { ipv4: "172.18.0.4", ipv6: "fd00::4" }] })).toBe(
      `${head}172.17.0.2\te3e1a7069324\n172.18.0.4\te3e1a7069324\nfd00::4\te3e1a7069324\n`,
    );
    expect(hostsFile({ ...plain, addresses: [] })).toBe(head);
    expect(hostnameFile("e3e1a7069324")).toBe("e3e1a7069324\n");
  });

  it("has a link's alias, host name and name, each once, before the own lines", () => {
    const links = [
      { ip: "172.17.0.4", alias: "db", hostname: "12f18f5c8d3f", name: "mydatabases" },
      { ip: "172.17.0.2", alias: "test01", hostname: "e3e1a7069324", name: "test01" },
    ];
    expect(hostsFile({ ...plain, links, extraHosts: [{ name: "foo", ip: "1.2.3.4" }] })).toBe(
      `${head}1.2.3.4\tfoo\n172.17.0.4\tdb 12f18f5c8d3f mydatabases\n172.17.0.2\ttest01 e3e1a7069324\n172.17.0.2\te3e1a7069324\n`,
    );
  });

  it("has the domain before the host name", () => {
    expect(hostsFile({ ...plain, hostname: "web", domainname: "x.lab" })).toBe(`${head}172.17.0.2\tweb.x.lab web\n`);
  });

  it("is the host's own in host mode", () => {
    expect(hostsFileOfHost("127.0.0.1 localhost", [{ name: "foo", ip: "1.2.3.4" }])).toBe("127.0.0.1 localhost\n1.2.3.4\tfoo\n");
  });

  it("takes every form of --add-host", () => {
    expect(parseExtraHost("foo:1.2.3.4", undefined)).toEqual({ name: "foo", ip: "1.2.3.4" });
    expect(parseExtraHost("foo:fd00::1", undefined)).toEqual({ name: "foo", ip: "fd00::1" });
    expect(parseExtraHost("foo:[fd00::1]", undefined)).toEqual({ name: "foo", ip: "fd00::1" });
    expect(parseExtraHost("h:host-gateway", "172.17.0.1")).toEqual({ name: "h", ip: "172.17.0.1" });
    for (const bad of ["foo", ":1.2.3.4", "foo:", "foo:1.2.3", "a b:1.2.3.4", "h:host-gateway"])
      expect(parseExtraHost(bad, undefined), bad).toBeUndefined();
  });
});

describe("/etc/resolv.conf", () => {
  const conf = (host: string, more: Partial<ResolvConfInput> = {}) =>
    resolvConfFile({
      host: parseResolvConf(host),
      mode: "default",
      dns: [],
      dnsSearch: [],
      dnsOptions: [],
      ipv6: false,
      ...more,
    });

  it("is the host's on the default bridge, comments and all", () => {
    expect(conf("# by hand\nnameserver 10.255.255.53\n")).toBe("# by hand\nnameserver 10.255.255.53\n");
    expect(conf("nameserver 10.255.255.53")).toBe("nameserver 10.255.255.53\n");
  });

  it("leaves out what a container cannot reach, and falls back when nothing is left", () => {
    expect(conf("nameserver 127.0.0.1\nnameserver 10.0.0.53\nsearch a.lab\n")).toBe("search a.lab\nnameserver 10.0.0.53\n");
    expect(conf("nameserver 127.0.0.53\noptions edns0\n")).toBe("nameserver 8.8.8.8\nnameserver 8.8.4.4\noptions edns0\n");
    expect(conf("nameserver fd00::53\nnameserver 10.0.0.53\n")).toBe("nameserver 10.0.0.53\n");
    expect(conf("nameserver fd00::53\nnameserver 10.0.0.53\n", { ipv6: true })).toBe(
      "nameserver fd00::53\nnameserver 10.0.0.53\n",
    );
    expect(conf("", { ipv6: true })).toContain("nameserver 2001:4860:4860::8888\n");
  });

  it("takes --dns, --dns-search and --dns-option", () => {
    const host = "search host.lab\nnameserver 10.0.0.53\noptions rotate\n";
    expect(conf(host, { dns: ["9.9.9.9"], dnsSearch: ["x.lab"], dnsOptions: ["ndots:2"] })).toBe(
      "search x.lab\nnameserver 9.9.9.9\noptions ndots:2\n",
    );
    expect(conf(host, { dns: ["9.9.9.9"] })).toBe("search host.lab\nnameserver 9.9.9.9\noptions rotate\n");
    expect(conf(host, { dnsSearch: ["."] })).toBe("nameserver 10.0.0.53\noptions rotate\n");
    expect(conf("nameserver 127.0.0.1\n", { mode: "host", dnsSearch: ["x.lab"] })).toBe("search x.lab\nnameserver 127.0.0.1\n");
  });

  it("points to the embedded resolver on a user-defined network", () => {
    expect(conf("nameserver 10.255.255.53\n", { mode: "user" })).toBe("nameserver 127.0.0.11\noptions ndots:0\n");
    expect(conf("search a.lab b.lab\nnameserver 10.0.0.53\noptions edns0 trust-ad\n", { mode: "user" })).toBe(
      "search a.lab b.lab\nnameserver 127.0.0.11\noptions edns0 trust-ad ndots:0\n",
    );
    expect(conf("nameserver 10.0.0.53\n", { mode: "user", dns: ["9.9.9.9"], dnsOptions: ["ndots:2"] })).toBe(
      "nameserver 127.0.0.11\noptions ndots:2\n",
    );
  });

  it("is the host's, loopback resolvers and all, in host mode", () => {
    expect(conf("nameserver 127.0.0.53\n", { mode: "host" })).toBe("nameserver 127.0.0.53\n");
  });

  it("reads resolv.conf as the C library does", () => {
    const parsed = parseResolvConf(
      "domain a.lab\nsearch b.lab c.lab # here\n; nameserver 1.1.1.1\n\tnameserver  2.2.2.2 \noptions ndots:3\noptions rotate\nnonsense\n",
    );
    expect(parsed).toMatchObject({ nameservers: ["2.2.2.2"], search: ["b.lab", "c.lab"], options: ["ndots:3", "rotate"] });
  });
});

describe("variables of links", () => {
  it("are Docker's, in Docker's order", () => {
    expect(
      linkEnvironment({
        alias: "db",
        parentName: "myweb",
        ip: "172.17.0.4",
        ports: ["3306/tcp"],
        env: ["PATH=/bin", "HOME=/", "PW=secret=1", "odd"],
      }),
    ).toEqual([
      "DB_PORT=tcp://172.17.0.4:3306",
      "DB_PORT_3306_TCP=tcp://172.17.0.4:3306",
      "DB_PORT_3306_TCP_ADDR=172.17.0.4",
      "DB_PORT_3306_TCP_PORT=3306",
      "DB_PORT_3306_TCP_PROTO=tcp",
      "DB_NAME=/myweb/db",
      "DB_ENV_PW=secret=1",
    ]);
    expect(linkEnvironment({ alias: "test01", parentName: "test02", ip: "172.17.0.2", ports: [], env: [] })).toEqual([
      "TEST01_NAME=/test02/test01",
    ]);
  });

  it("name the lowest port first, and the ends of a run of ports", () => {
    const env = linkEnvironment({
      alias: "my-db",
      parentName: "p",
      ip: "172.17.0.4",
      ports: ["53/udp", "7001/tcp", "53/tcp", "7000/tcp"],
      env: [],
    });
    expect(env[0]).toBe("MY_DB_PORT=tcp://172.17.0.4:53");
    expect(env).toContain("MY_DB_PORT_53_UDP=udp://172.17.0.4:53");
    expect(env).toContain("MY_DB_PORT_7000_TCP_START=tcp://172.17.0.4:7000");
    expect(env).toContain("MY_DB_PORT_7000_TCP_PORT_END=7001");
    expect(env.filter((v) => v.includes("_END=")).length).toBe(2);
  });
});

describe("files on the host", () => {
  it("are written in place: the inode stays, and nothing is written when nothing changed", () => {
    const path = join(directory, "hosts");
    expect(writeEtcFile(path, "one and two and three\n")).toBe(true);
    const { ino, mtimeMs } = statSync(path);
    expect(writeEtcFile(path, "one and two and three\n")).toBe(false);
    expect(statSync(path).mtimeMs).toBe(mtimeMs);
    expect(writeEtcFile(path, "short ü\n")).toBe(true);
    expect(readFileSync(path, "utf8")).toBe("short ü\n");
    expect(statSync(path).ino).toBe(ino);
    expect(statSync(path).mode & 0o777).toBe(0o644);
  });

  it("are read behind systemd-resolved's stub, and watched through renames and links", async () => {
    const paths: HostResolvPaths = { main: join(directory, "resolv.conf"), behindStub: join(directory, "real.conf") };
    expect(readHostResolv(paths).nameservers).toEqual([]);
    writeFileSync(paths.main!, "nameserver 127.0.0.53\n");
    expect(readHostResolv(paths).nameservers).toEqual(["127.0.0.53"]);
    writeFileSync(paths.behindStub!, "nameserver 10.0.0.53\n");
    expect(readHostResolv(paths).nameservers).toEqual(["10.0.0.53"]);
    const seen: string[] = [];
    const stop = watchHostResolv((resolv) => seen.push(resolv.nameservers.join()), paths);
    const until = async (text: string) => {
      for (let i = 0; i < 50 && seen.at(-1) !== text; i++) await sleep(40);
      expect(seen.at(-1)).toBe(text);
    };
    writeFileSync(paths.behindStub!, "nameserver 10.0.0.54\n");
    await until("10.0.0.54");
    writeFileSync(join(directory, "new"), "nameserver 10.0.0.55\n");
    renameSync(join(directory, "new"), paths.main!);
    await until("10.0.0.55");
    rmSync(paths.main!);
    writeFileSync(join(directory, "elsewhere"), "nameserver 10.0.0.56\n");
    symlinkSync("elsewhere", paths.main!);
    await until("10.0.0.56");
    stop();
  });
});
