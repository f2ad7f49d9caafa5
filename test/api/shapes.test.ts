import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fillHostConfig } from "../../src/api/host-config-defaults.js";
import type { Container } from "../../src/model/container.js";
import { createdState, plainConfig } from "../../src/model/container-defaults.js";
import { endpointRecord } from "../lib/records.js";
import { sleep } from "../lib/run.js";
import { type FakeEngine, fakeEngine, hexId, network } from "./fake-engine.js";
import { api, docker, INSPECT_PARTS, keysOf, type Served, serve } from "./helpers.js";

let fake: FakeEngine;
let served: Served;
const bridgeId = "b".repeat(64);
const webId = hexId(7);

const golden = (name: string): Record<string, unknown>[] =>
  JSON.parse(readFileSync(new URL(`./golden/${name}.json`, import.meta.url), "utf8")) as Record<string, unknown>[];

function webContainer(): Container {
  return {
    id: webId,
    name: "web",
    created: "2026-11-21T00:54:03.284523484Z",
    imageId: `sha256:${hexId(9)}`,
    path: "nginx",
    args: ["-g", "daemon off;"],
    config: {
      ...plainConfig(["nginx", "-g", "daemon off;"]),
      Hostname: webId.slice(0, 12),
      AttachStdout: false,
      AttachStderr: false,
      ExposedPorts: { "80/tcp": {} },
      Image: "nginx",
      OnBuild: null,
    },
    hostConfig: fillHostConfig({ PortBindings: { "80/tcp": [{ HostIp: "", HostPort: "80" }] } }, fake.engine.settings),
    networks: [{ network: "default", networkId: bridgeId, aliases: [], links: null, driverOpts: null }],
    mounts: [],
    state: { ...createdState(), status: "running", pid: 1234, startedAt: new Date(Date.now() - 7_230_000).toISOString() },
  };
}

beforeAll(async () => {
  fake = fakeEngine();
  const predefined = { predefined: true, created: "2026-11-21T00:50:36.5Z" };
  fake.networks.set("c".repeat(64), network("none", { ...predefined, id: "c".repeat(64), driver: "null" }));
  fake.networks.set("a".repeat(64), network("host", { ...predefined, id: "a".repeat(64), driver: "host" }));
  fake.networks.set(
    bridgeId,
    network("bridge", {
      ...predefined,
      id: bridgeId,
      ipamConfig: [{ Subnet: "172.17.0.0/16" }],
      pools: [{ family: 4, subnet: "172.17.0.0/16", gateway: "172.17.0.1", aux: {}, userSubnet: false }],
      options: { "com.docker.network.bridge.name": "docker0", "com.docker.network.bridge.default_bridge": "true" },
    }),
  );
  fake.containers.set(webId, webContainer());
  fake.sandboxes.set("5".repeat(64), {
    id: "5".repeat(64),
    containerId: webId,
    netns: "x",
    sysctls: {},
    selfManaged: false,
    nextIfindex: 1,
  });
  fake.endpoints.set(
    "e".repeat(64),
    endpointRecord({
      id: "e".repeat(64),
      networkId: bridgeId,
      sandboxId: "5".repeat(64),
      containerId: webId,
      name: "web",
      mac: "02:42:ac:11:00:02",
      ipv4: "172.17.0.2",
      defaultRoute4: true,
      ports: [
        { proto: "tcp", containerPort: 80, hostIp: "::", hostPort: 80 },
        { proto: "tcp", containerPort: 80, hostIp: "0.0.0.0", hostPort: 80 },
      ],
      exposedPorts: ["80/tcp", "443/tcp"],
    }),
  );
  served = await serve(fake.engine);
});
afterAll(() => served.close());

describe("versions and the outer form", () => {
  it("answers ping with the headers of negotiation", async () => {
    const get = await api(served.socket, "GET", "/_ping");
    expect([get.status, get.text]).toEqual([200, "OK"]);
    expect(get.headers).toMatchObject({
      "api-version": "1.50",
      ostype: "linux",
      "docker-experimental": "false",
      "builder-version": "1",
    });
    const head = await api(served.socket, "HEAD", "/v1.24/_ping");
    expect([head.status, head.text]).toEqual([200, ""]);
  });
  it("refuses versions that it does not speak, in Docker's words", async () => {
    expect(await api(served.socket, "GET", "/v1.99/version")).toMatchObject({
      status: 400,
      message: "client version 1.99 is too new. Maximum supported API version is 1.50",
    });
    expect(await api(served.socket, "GET", "/v1.11/version")).toMatchObject({
      status: 400,
      message:
        "client version 1.11 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version",
    });
  });
  it("says page not found for paths and methods that are none", async () => {
    for (const [method, path] of [
      ["GET", "/nosuch"],
      ["PATCH", "/v1.41/containers/json"],
      ["POST", "/session"],
    ] as const)
      expect(await api(served.socket, method, path)).toMatchObject({ status: 404, message: "page not found" });
  });
  it("keeps slashes in references", async () => {
    await api(served.socket, "DELETE", "/containers/web/db?link=1");
    expect(fake.calls.at(-1)).toEqual({
      method: "containers.remove",
      args: ["web/db", { force: false, volumes: false, link: true }],
    });
    expect((await api(served.socket, "GET", "/v1.41/containers//web/json")).status).toBe(200);
    expect(await api(served.socket, "GET", "/images/docker.io/library/nosuch:1/json")).toMatchObject({
      message: "No such image: docker.io/library/nosuch:1",
    });
  });
});

describe("bodies as Go reads them", () => {
  const create = (body: string, path = "/networks/create") => api(served.socket, "POST", path, body);
  it.each([
    ["{bad", "invalid character 'b' looking for beginning of object key string"],
    ['{"Name" 1}', "invalid character '1' after object key"],
    ['{"Name":"x" "y"}', "invalid character '\"' after object key:value pair"],
    ['{"Name":tru}', "invalid character '}' in literal true (expecting 'e')"],
    ["<html>", "invalid character '<' looking for beginning of value"],
    ['{"Name":"x"', "unexpected EOF"],
    ["", "got EOF while reading request body"],
    ['{"Name":5}', "json: cannot unmarshal number into Go struct field NetworkCreateRequest.Name of type string"],
    [
      '{"Name":"x","Internal":"yes"}',
      "json: cannot unmarshal string into Go struct field NetworkCreateRequest.Internal of type bool",
    ],
    [
      '{"Name":"x","IPAM":{"Config":[{"Subnet":1}]}}',
      "json: cannot unmarshal number into Go struct field NetworkCreateRequest.IPAM.Config.Subnet of type string",
    ],
    ["[1]", "json: cannot unmarshal array into Go value of type types.NetworkCreateRequest"],
  ])("refuses %s", async (body, message) => {
    expect(await create(body)).toMatchObject({ status: 400, message });
  });
  it("takes null, unknown fields, other case, and text behind the first value", async () => {
    const answer = await create(
      '{"name":"odd","Driver":null,"Nosuch":{"a":1},"IPAM":{"config":[{"subnet":"10.1.0.0/16"}]}} trailing',
    );
    expect(answer).toMatchObject({ status: 201, json: { Warning: "" } });
    expect(fake.calls.at(-1)?.args[0]).toMatchObject({ Name: "odd", IPAM: { Config: [{ Subnet: "10.1.0.0/16" }] } });
    fake.networks.delete((answer.json as { Id: string }).Id);
  });
  it("refuses what a web page could post", async () => {
    expect(await api(served.socket, "POST", "/networks/create", '{"Name":"x"}', { "Content-Type": "text/plain" })).toMatchObject({
      status: 400,
      message: "Content-Type specified (text/plain) must be 'application/json'",
    });
  });
  it.each([
    ["w", {}, "Invalid container name (w), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"],
    ["a b", {}, "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"],
    ["ok", { HostConfig: { PortBindings: { "80/tcp": [{ HostPort: "99999" }] } } }, 'invalid port specification: "99999"'],
    ["ok", { HostConfig: { RestartPolicy: { Name: "sometimes" } } }, "invalid restart policy 'sometimes'"],
    ["ok", { HostConfig: { Memory: 4096 } }, "Minimum memory limit allowed is 6MB"],
    ["ok", { WorkingDir: "here" }, "the working directory 'here' is invalid, it needs to be an absolute path"],
    [
      "ok",
      { HostConfig: { Memory: 1.5 } },
      "json: cannot unmarshal number 1.5 into Go struct field ContainerConfigWrapper.HostConfig.Memory of type int",
    ],
    ["ok", { Cmd: 5 }, "json: cannot unmarshal number into Go struct field ContainerConfigWrapper.Cmd of type string"],
    [
      "ok",
      { NetworkingConfig: { EndpointsConfig: { a: {}, b: {} } } },
      "Container cannot be connected to network endpoints: a, b",
    ],
  ])("create %s %j", async (name, body, message) => {
    const answer = await create(
      JSON.stringify({ Image: "busybox", ...body }),
      `/containers/create?name=${encodeURIComponent(name)}`,
    );
    expect(answer).toMatchObject({ status: 400, message });
  });
  it("fills in what a create body leaves out", async () => {
    await create(
      '{"Image":"busybox","Cmd":"true","HostConfig":{"NetworkMode":""},"NetworkingConfig":{"EndpointsConfig":{"default":null}}}',
      "/containers/create",
    );
    const request = fake.calls.at(-1)?.args[0] as { hostConfig: Record<string, unknown>; config: object; endpoints: object };
    expect(request.hostConfig).toMatchObject({ NetworkMode: "default", ShmSize: 67108864, Runtime: "crun", IpcMode: "private" });
    expect(request.config).toMatchObject({ Cmd: ["true"], Env: null, Labels: {}, Tty: false });
    expect(request.endpoints).toEqual({ bridge: null });
  });
});

describe("Docker's shapes", () => {
  it("inspect has exactly the keys of real Docker, in its order", async () => {
    const mine = (await api(served.socket, "GET", "/containers/web/json")).json as Record<string, unknown>;
    const real = golden("docker-inspect")[0]!;
    for (const path of [...INSPECT_PARTS, ["GraphDriver"]])
      expect(keysOf(mine, ...path), path.join(".")).toEqual(keysOf(real, ...path));
    const {
      SandboxID: _1,
      SandboxKey: _2,
      EndpointID: _3,
      Networks: _4,
      Ports,
      ...rest
    } = mine["NetworkSettings"] as Record<string, unknown>;
    const {
      SandboxID: _5,
      SandboxKey: _6,
      EndpointID: _7,
      Networks: _8,
      Ports: realPorts,
      ...realRest
    } = real["NetworkSettings"] as Record<string, unknown>;
    expect(rest).toEqual(realRest);
    expect(Ports).toEqual({ ...(realPorts as object), "443/tcp": null });
    expect({ ...(mine["HostConfig"] as object), Runtime: "runc" }).toEqual(real["HostConfig"]);
  });
  it("networks: keys, order, and the address with its prefix", async () => {
    const mine = (await api(served.socket, "GET", "/networks/bridge")).json as Record<string, unknown>;
    expect(Object.keys(mine).join(",")).toBe(
      "Name,Id,Created,Scope,Driver,EnableIPv6,IPAM,Internal,Attachable,Ingress,ConfigFrom,ConfigOnly,Containers,Options,Labels",
    );
    expect(mine["IPAM"]).toEqual({ Driver: "default", Options: null, Config: [{ Subnet: "172.17.0.0/16" }] });
    expect(mine["Containers"]).toEqual({
      [webId]: {
        Name: "web",
        EndpointID: "e".repeat(64),
        MacAddress: "02:42:ac:11:00:02",
        IPv4Address: "172.17.0.2/16",
        IPv6Address: "",
      },
    });
    const list = (await api(served.socket, "GET", "/networks")).json as { Name: string; Containers: object }[];
    expect(list.map((n) => n.Name)).toEqual(["bridge", "host", "none"]);
    expect(list[0]?.Containers).toEqual({});
  });
  it("a row of the container list equals real Docker's but for ids and times", async () => {
    const [mine] = (await api(served.socket, "GET", "/containers/json")).json as Record<string, unknown>[];
    const real = golden("api-containers")[0]!;
    expect(Object.keys(mine!)).toEqual(Object.keys(real));
    for (const key of ["Names", "Command", "Labels", "State", "HostConfig", "Mounts", "Created"])
      expect(mine![key], key).toEqual(real[key]);
    expect(mine!["Status"]).toBe("Up 2 hours");
    expect(mine!["Ports"]).toEqual([...(real["Ports"] as object[]), { PrivatePort: 443, Type: "tcp" }]);
  });
  it.each([
    ['{"name":["^/web$"]}', 1],
    ['{"name":{"we":true}}', 1],
    ['{"name":["nope"]}', 0],
    ['{"id":["0007"],"status":["running"]}', 1],
    ['{"publish":["80"]}', 1],
    ['{"publish":["81-90/tcp"]}', 0],
    ['{"expose":["80"]}', 1],
    ['{"network":["bridge"]}', 1],
    [`{"network":["${bridgeId.slice(0, 12)}"]}`, 1],
    ['{"health":["none"]}', 1],
    ['{"is-task":["true"]}', 0],
  ])("ps -f %s", async (filters, count) => {
    const list = (await api(served.socket, "GET", `/containers/json?filters=${encodeURIComponent(filters)}`)).json as unknown[];
    expect(list).toHaveLength(count);
  });
  it.each([
    ["/containers/json", '{"nosuch":["x"]}', "invalid filter 'nosuch'"],
    ["/containers/json", '{"status":["odd"]}', "invalid filter 'status=odd'"],
    ["/networks", '{"nosuch":["x"]}', "invalid filter 'nosuch'"],
    ["/networks", '{"type":["odd"]}', "invalid filter: 'type'='odd'"],
    ["/volumes", "{bad", "invalid character 'b' looking for beginning of object key string"],
  ])("bad filter %s %s", async (path, filters, message) => {
    expect(await api(served.socket, "GET", `${path}?filters=${encodeURIComponent(filters)}`)).toMatchObject({
      status: 400,
      message,
    });
  });
  it("knows no swarm and no plugins", async () => {
    for (const path of ["/swarm", "/nodes", "/services", "/secrets", "/configs/x"])
      expect(await api(served.socket, "GET", path)).toMatchObject({
        status: 503,
        message: expect.stringMatching(/^This node is not a swarm manager\. Use "docker swarm init"/),
      });
    expect((await api(served.socket, "GET", "/plugins")).json).toEqual([]);
  });
});

describe("events", () => {
  it("streams history and what happens, filtered, until the end asked for", async () => {
    const now = Math.floor(Date.now() / 1000);
    fake.emit({
      Action: "create",
      Actor: { ID: webId, Attributes: { image: "nginx", name: "web" } },
      time: now,
      timeNano: `${now}000000001`,
    });
    fake.emit({
      Type: "network",
      Action: "connect",
      Actor: { ID: bridgeId, Attributes: { name: "bridge" } },
      time: now,
      timeNano: `${now}000000002`,
    });
    const filters = encodeURIComponent('{"type":{"container":true}}');
    const pending = api(served.socket, "GET", `/events?since=${now}&until=${now + 2}&filters=${filters}`);
    await sleep(300);
    fake.emit({
      Action: "start",
      Actor: { ID: webId, Attributes: { image: "nginx", name: "web" } },
      time: now,
      timeNano: `${now}000000003`,
    });
    const { text, headers } = await pending;
    const lines = text.trim().split("\n");
    expect(headers["transfer-encoding"]).toBe("chunked");
    expect(lines.map((l) => (JSON.parse(l) as { Action: string }).Action)).toEqual(["create", "start"]);
    expect(lines[0]).toContain(`"status":"create","id":"${webId}","from":"nginx","Type":"container"`);
    expect(lines[0]).toContain(`"timeNano":${now}000000001}`);
  });
});

describe("the real docker CLI", () => {
  it("version, ps, network ls, inspect, info", async () => {
    const version = await docker(
      served.socket,
      "version",
      "--format",
      "{{.Server.Version}} {{.Server.APIVersion}} {{.Client.APIVersion}}",
    );
    expect(version).toMatchObject({ code: 0, stdout: "0.1.0 1.50 1.50\n" });
    const ps = await docker(served.socket, "ps", "--format", "{{.ID}}|{{.Image}}|{{.Command}}|{{.Status}}|{{.Ports}}|{{.Names}}");
    expect(ps.stdout).toBe(
      `${webId.slice(0, 12)}|sha256:${hexId(9)}|"nginx -g 'daemon of…"|Up 2 hours|0.0.0.0:80->80/tcp, [::]:80->80/tcp, 443/tcp|web\n`.replace(
        `sha256:${hexId(9)}`,
        hexId(9).slice(0, 12),
      ),
    );
    const ls = await docker(served.socket, "network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}");
    expect(ls.stdout).toBe("bridge bridge local\nhost host local\nnone null local\n");
    expect((await docker(served.socket, "port", "web")).stdout).toBe("80/tcp -> 0.0.0.0:80\n80/tcp -> [::]:80\n");
    expect((await docker(served.socket, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", "web")).stdout).toBe("172.17.0.2\n");
    const info = await docker(served.socket, "info", "--format", "{{.Containers}} {{.Swarm.LocalNodeState}} {{.ServerErrors}}");
    expect(info).toMatchObject({ code: 0, stdout: "1 inactive []\n" });
    const missing = await docker(served.socket, "inspect", "nosuch");
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringContaining("No such object: nosuch") });
  });
});
