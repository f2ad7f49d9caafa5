import { describe, expect, it } from "vitest";
import { type DriverContext, desiredOf } from "../../src/drivers/index.js";
import { applyChanges, type Container, detach } from "../../src/model/index.js";
import { must, refused, World } from "./world.js";

const ctx: DriverContext = { instance: "t", uplinkMtu: 1500, hostHasIPv6: true };

describe("macvlan", () => {
  it("puts an interface of the container on the host's", () => {
    const w = new World();
    const lan = w.network({
      Name: "lan",
      Driver: "macvlan",
      Options: { parent: "eth0", macvlan_mode: "private" },
      IPAM: { Config: [{ Subnet: "192.168.205.0/24", Gateway: "192.168.205.1", IPRange: "192.168.205.64/26" }] },
    });
    const e = w.run("c", lan);
    const ns = w.state.sandboxes.get(e.sandboxId)!.netns;
    expect(desiredOf(`endpoint:${e.id}`, w.state, ctx)).toEqual([
      {
        kind: "link",
        ns,
        type: "macvlan",
        name: "eth0",
        mac: "02:42:c0:a8:cd:40",
        mtu: 1500,
        up: true,
        parent: "eth0",
        parentNs: "",
        mode: "private",
      },
      { kind: "addr", ns, dev: "eth0", address: "192.168.205.64/24", broadcast: "192.168.205.255" },
      { kind: "route", ns, dst: "0.0.0.0/0", via: "192.168.205.1", dev: "eth0" },
    ]);
    expect(e.hostIfname).toBe("");
    expect(desiredOf(`network:${lan.id}`, w.state, ctx)).toEqual([]);
  });

  it("needs a parent that is there, and a mode that exists", () => {
    const w = new World();
    const make = (Options: Record<string, string>) => refused(w.tryNetwork({ Name: "lan", Driver: "macvlan", Options }));
    expect(make({})).toMatch(/^400 .*parent=/);
    expect(make({ parent: "eth9" })).toBe("400 -o parent interface eth9 does not exist on the host");
    expect(make({ parent: "eth0", macvlan_mode: "x" })).toMatch(/^400 requested macvlan mode 'x' is not valid/);
  });
});

describe("configuration-only networks", () => {
  it("lend their configuration and take no containers", () => {
    const w = new World();
    const config = w.network({
      Name: "cfg",
      ConfigOnly: true,
      IPAM: { Config: [{ Subnet: "10.50.0.0/24" }] },
      Options: { "com.docker.network.driver.mtu": "1300" },
    });
    expect([config.driver, config.pools, desiredOf(`network:${config.id}`, w.state, ctx)]).toEqual(["null", [], []]);
    expect(refused(w.tryJoin(w.sandbox("c").id, [{ network: config }]))).toMatch(/^403 .*configuration-only/);
    const user = w.network({ Name: "user", ConfigFrom: { Network: "cfg" } });
    expect([user.pools[0]!.subnet, user.options["com.docker.network.driver.mtu"], user.configFrom]).toEqual([
      "10.50.0.0/24",
      "1300",
      "cfg",
    ]);
    expect(refused(w.tryNetwork({ Name: "x", ConfigFrom: { Network: "user" } }))).toMatch(/^403 .*not a configuration-only/);
    expect(refused(w.tryNetwork({ Name: "x", ConfigFrom: { Network: "cfg" }, Options: { a: "b" } }))).toMatch(
      /^403 user specified/,
    );
  });
});

describe("links where containers may not talk to each other", () => {
  const rules = (w: World, id: string) =>
    desiredOf(`endpoint:${id}`, w.state, ctx).flatMap((o) =>
      o.kind === "nftElement" && o.set === "links4" ? [o.key.map((k) => k.value).join(" ")] : [],
    );

  it("open the exposed ports of the target, and follow it", () => {
    const w = new World();
    const n = w.network({ Name: "n", Options: { "com.docker.network.bridge.enable_icc": "false" } });
    const web = w.run("web", n, { links: ["db:store"] });
    expect(rules(w, web.id)).toEqual([]);
    const decision = must(w.tryJoin(w.sandbox("db").id, [{ network: n }]));
    const db = decision.endpoints[0]!;
    expect(decision.owners).toContain(`endpoint:${web.id}`);
    applyChanges(w.state, [{ kind: "endpoint", id: db.id, value: { ...db, exposedPorts: ["5432/tcp"] } }]);
    expect(rules(w, web.id)).toEqual([`${web.ipv4} ${db.ipv4} tcp 5432`]);
    expect(rules(w, db.id)).toEqual([]);
    expect(detach(w.state, w.endpoint(db.id)).owners).toContain(`endpoint:${web.id}`);
  });

  it("of the default bridge are those of the container", () => {
    const w = new World();
    const bridge = w.byName("bridge");
    const fenced = { ...bridge, options: { ...bridge.options, "com.docker.network.bridge.enable_icc": "false" } };
    applyChanges(w.state, [{ kind: "network", id: bridge.id, value: fenced }]);
    const db = w.run("db", fenced);
    applyChanges(w.state, [{ kind: "endpoint", id: db.id, value: { ...db, exposedPorts: ["80/tcp"] } }]);
    const web = w.run("web", fenced);
    const container = {
      ...w.state.containers.get(web.containerId),
      hostConfig: { Links: ["/db:/web/store"] },
    } as unknown as Container;
    applyChanges(w.state, [{ kind: "container", id: web.containerId, value: container }]);
    expect(rules(w, web.id)).toEqual(["172.17.0.3 172.17.0.2 tcp 80"]);
  });
});
