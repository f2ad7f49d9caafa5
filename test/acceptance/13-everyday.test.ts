import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks } from "../lib/checks.js";
import { Lab } from "../lib/lab.js";
import { eventually, run, sleep } from "../lib/run.js";

/** What is done with containers, images and volumes from day to day, by the docker CLI. */
let lab: Lab;
beforeAll(async () => {
  lab = await Lab.open({ images: ["tools"] });
  await lab.out("run", "--rm", "busybox", "true");
});
afterAll(() => lab?.close());

const once = (...args: string[]) => lab.out("run", "--rm", ...args);
const path = (name: string) => join(lab.directory, name);

describe("build", () => {
  beforeAll(async () => {
    await lab.out("network", "create", "app");
    await lab.sleeper("named", "--network", "app");
  });
  afterAll(() => lab.clean());
  const build = (dockerfile: string, ...flags: string[]) => lab.dockerWith({ stdin: dockerfile }, "build", ...flags, "-");
  checks(
    [
      "RUN reaches the outside",
      async () => (await build(`FROM busybox\nRUN wget -qO- http://${lab.outside.ip}:8080/\n`)).stdout,
      () => new RegExp(`^peer=${lab.host.ip}`, "m"),
    ],
    [
      "RUN reaches a container of --network by its name",
      async () => (await build("FROM busybox\nRUN ping -c1 -W2 named\n", "--network", "app")).stdout,
      /1 packets received/,
    ],
    [
      "but not without it",
      async () => (await build("FROM busybox\nRUN ping -c1 -W1 named\n")).stderr,
      /returned a non-zero code: 1/,
    ],
    [
      "--network host",
      async () => (await build("FROM busybox\nRUN ip addr show eth0\n", "--network", "host")).stdout,
      () => new RegExp(`inet ${lab.host.ip}/24`),
    ],
    ["--network none", async () => (await build("FROM busybox\nRUN ip -o link | wc -l\n", "--network", "none")).stdout, /^1$/m],
    [
      "--add-host",
      async () => (await build("FROM busybox\nRUN cat /etc/hosts\n", "--add-host", "foo:1.2.3.4")).stdout,
      /^1\.2\.3\.4\s+foo$/m,
    ],
    [
      "--build-arg",
      async () => (await build("FROM busybox\nARG A=b\nRUN echo A is $A\n", "--build-arg", "A=c")).stdout,
      /^A is c$/m,
    ],
    [
      "--target",
      async () => (await build("FROM busybox AS a\nRUN echo stage-a\nFROM busybox\nRUN false\n", "--target", "a")).code,
      0,
    ],
    ["the cache", async () => (await build("FROM busybox\nRUN echo same\n")).code, 0],
    ["is used", async () => (await build("FROM busybox\nRUN echo same\n")).stdout, /---> Using cache/],
    [
      "--no-cache",
      async () => (await build("FROM busybox\nRUN echo same\n", "--no-cache")).stdout,
      expect.not.stringContaining("Using"),
    ],
    ["-q", async () => (await build("FROM busybox\nRUN echo same\n", "-q")).stdout, /^sha256:[0-9a-f]{64}\n$/],
    [
      "a command that is not there",
      async () => (await build('FROM busybox\nRUN ["nosuch"]\n')).stderr,
      /exec: "nosuch": executable file not found in \$PATH/,
    ],
    [
      "caches for RUN, tmpfs",
      async () => {
        const text = (n: number) =>
          `FROM busybox\nRUN --mount=type=cache,target=/c --mount=type=tmpfs,target=/t echo ${n} >>/c/n; cat /c/n; stat -fc %T /t\n`;
        await build(text(1));
        return (await build(text(2))).stdout;
      },
      /^1\n2\ntmpfs$/m,
    ],
    ["leaves no container and no interface", async () => (await lab.host.out("ip -o link")).match(/veth/g)?.length, 1],
  );
  it("with BuildKit asked for, says what to do", async () => {
    const ran = await lab.dockerWith({ stdin: "FROM busybox\n", env: { DOCKER_BUILDKIT: "1" } }, "build", "-");
    expect(ran.code).not.toBe(0);
    expect(ran.stderr).toMatch(/buildx|DOCKER_BUILDKIT=0/);
  });
  it("ends when the client goes", async () => {
    const building = lab.dockerWith({ stdin: "FROM busybox\nRUN sleep 3599\n", timeoutMs: 4_000 }, "build", "-");
    const runs = async () => (await run("pgrep", ["-fx", "sleep 3599"])).stdout !== "";
    expect(await eventually(runs, 3_500)).toBe(true);
    await building;
    expect(await eventually(async () => !(await runs()), 5_000)).toBe(true);
  }, 15_000);
});

describe("files of a container", () => {
  beforeAll(async () => {
    await lab.start("fi", "busybox", "sh", "-c", "echo new >/new; rm /etc/shadow; echo x >>/etc/group; exec sleep 3600");
    await eventually(async () => (await lab.exec("fi", "test", "-e", "/new")).code === 0);
    writeFileSync(path("in.txt"), "from outside\n");
  });
  afterAll(() => lab.clean());
  checks(
    ["diff", async () => (await lab.out("diff", "fi")).split("\n").sort(), ["A /new", "C /etc", "C /etc/group", "D /etc/shadow"]],
    ["cp in", async () => (await lab.docker("cp", path("in.txt"), "fi:/tmp/")).code, 0],
    ["is there", () => lab.inside("fi", "cat", "/tmp/in.txt"), "from outside"],
    [
      "cp out",
      async () => {
        await lab.out("cp", "fi:/new", path("out.txt"));
        return readFileSync(path("out.txt"), "utf8");
      },
      "new\n",
    ],
    [
      "cp - streams a tar",
      async () => (await run("sh", ["-c", `docker -H unix://${lab.engine.socket} cp fi:/etc - | tar -t`])).stdout,
      /^etc\/passwd$/m,
    ],
    [
      "export",
      async () => (await run("sh", ["-c", `docker -H unix://${lab.engine.socket} export fi | tar -t`])).stdout,
      /^new$/m,
    ],
    [
      "commit",
      async () => {
        await lab.out("commit", "-m", "why", "-a", "me", "-c", 'CMD ["cat","/new"]', "fi", "kept:1");
        return once("kept:1");
      },
      "new",
    ],
    ["what was deleted stays so", async () => (await lab.docker("run", "--rm", "kept:1", "cat", "/etc/shadow")).code, 1],
    ["its history", () => lab.out("history", "--format", "{{.Comment}}", "kept:1"), /^why$/m],
    ["size in ps -s", () => lab.out("ps", "-s", "--format", "{{.Size}}"), /^\d+(\.\d+)?k?B \(virtual 2\.\d+MB\)$/],
  );
});

describe("stats, update, limits", () => {
  beforeAll(async () => {
    await lab.sleeper("st", "--memory", "64m", "--cpus", "0.5", "--pids-limit", "20");
  });
  afterAll(() => lab.clean());
  const groupFile = async (v1: string, v2: string) => {
    const pid = await lab.pid("st");
    const lines = readFileSync(`/proc/${pid}/cgroup`, "utf8").trim().split("\n");
    const controller = v1.split(".")[0]!;
    const line = lines.find((l) => l.split(":")[1]!.split(",").includes(controller));
    const file =
      line === undefined
        ? `/sys/fs/cgroup${lines[0]!.split(":")[2]}/${v2}`
        : `/sys/fs/cgroup/${controller}${line.split(":")[2]}/${v1}`;
    return readFileSync(file, "utf8").trim();
  };
  checks(
    ["--memory", () => groupFile("memory.limit_in_bytes", "memory.max"), String(64 * 1024 * 1024)],
    ["--cpus", () => groupFile("cpu.cfs_quota_us", "cpu.max"), /^50000( 100000)?$/],
    ["--pids-limit", () => groupFile("pids.max", "pids.max"), "20"],
    [
      "update",
      async () => {
        await lab.out(
          "update",
          "--memory",
          "96m",
          "--memory-swap",
          "192m",
          "--pids-limit",
          "30",
          "--restart",
          "on-failure:3",
          "st",
        );
        return [
          await groupFile("memory.limit_in_bytes", "memory.max"),
          await groupFile("pids.max", "pids.max"),
          await lab.out("inspect", "-f", "{{.HostConfig.RestartPolicy}}", "st"),
        ];
      },
      [String(96 * 1024 * 1024), "30", "{on-failure 3}"],
    ],
    [
      "the limit of processes holds",
      async () => (await lab.exec("st", "sh", "-c", "for i in $(seq 40); do sleep 2 & done")).stderr,
      /can't fork|Resource temporarily unavailable/,
    ],
    [
      "too much memory: killed, and inspect says why",
      async () => {
        await lab.docker(
          "run",
          "--name",
          "oom",
          "-m",
          "16m",
          "--memory-swap",
          "16m",
          "busybox",
          "sh",
          "-c",
          "dd if=/dev/zero of=/dev/shm/x bs=1M count=60",
        );
        return lab.out("inspect", "-f", "{{.State.OOMKilled}}", "oom");
      },
      "true",
    ],
    [
      "stats",
      () => lab.out("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}"),
      /^st [0-9.]+[KM]iB \/ 96MiB \d+$/,
    ],
  );
});

describe("flags", () => {
  checks(
    [
      "--env-file",
      async () => {
        writeFileSync(path("env"), "# comment\nA=1\nB=two words\n");
        return once("--env-file", path("env"), "busybox", "sh", "-c", 'echo "$A $B"');
      },
      "1 two words",
    ],
    ["--ulimit", () => once("--ulimit", "nofile=123:456", "busybox", "sh", "-c", "ulimit -n; ulimit -Hn"), "123\n456"],
    [
      "--read-only with --tmpfs",
      () => once("--read-only", "--tmpfs", "/tmp", "busybox", "sh", "-c", "echo x >/tmp/x; cat /tmp/x"),
      "x",
    ],
    ["--device", () => once("--device", "/dev/zero:/dev/mine:r", "busybox", "sh", "-c", "head -c4 /dev/mine | wc -c"), "4"],
    ["no other device", async () => (await lab.docker("run", "--rm", "busybox", "ls", "/dev/fuse")).code, 1],
    ["--shm-size", () => once("--shm-size", "1m", "busybox", "df", "-k", "/dev/shm"), /^shm +1024 /m],
    ["--sysctl", () => once("--sysctl", "net.core.somaxconn=77", "busybox", "cat", "/proc/sys/net/core/somaxconn"), "77"],
    ["--group-add", () => once("--group-add", "1234", "busybox", "id", "-G"), /\b1234\b/],
    ["--cap-drop", async () => (await lab.docker("run", "--rm", "--cap-drop", "CHOWN", "busybox", "chown", "1", "/tmp")).code, 1],
    ["-i reads", async () => (await lab.dockerWith({ stdin: "abc" }, "run", "-i", "--rm", "busybox", "cat")).stdout, "abc"],
    [
      "--log-driver none",
      async () => {
        await lab.out("run", "--name", "nolog", "--log-driver", "none", "busybox", "echo", "x");
        return (await lab.docker("logs", "nolog")).both;
      },
      /configured logging driver does not support reading/,
    ],
    [
      "--log-driver k8s-file",
      async () => {
        await lab.out("run", "--name", "k8s", "--log-driver", "k8s-file", "busybox", "echo", "x");
        return lab.out("logs", "k8s");
      },
      "x",
    ],
    [
      "--log-driver json-file --log-opt",
      async () => {
        await lab.out("run", "--name", "json", "--log-driver", "json-file", "--log-opt", "max-size=10k", "busybox", "echo", "x");
        return lab.out("logs", "json");
      },
      "x",
    ],
    [
      "--cidfile",
      async () => {
        await lab.out("run", "--name", "cid", "--cidfile", path("cid"), "busybox", "true");
        return readFileSync(path("cid"), "utf8");
      },
      async () => (await lab.inspect("cid")).Id,
    ],
  );
  afterAll(() => lab.clean());
});

describe("healthcheck", () => {
  const health = (name: string) => lab.column(name, "Status");
  beforeAll(async () => {
    const flags = ["--health-cmd", "test -e /ok", "--health-interval", "300ms", "--health-retries", "2"];
    await lab.start("hc", ...flags, "busybox", "sleep", "3600");
  });
  afterAll(() => lab.clean());
  it("starting, unhealthy, healthy, in ps and inspect", async () => {
    expect(await eventually(async () => /\(unhealthy\)/.test(await health("hc")), 10_000)).toBe(true);
    await lab.inside("hc", "touch", "/ok");
    expect(await eventually(async () => /\(healthy\)/.test(await health("hc")), 10_000)).toBe(true);
    const state = JSON.parse(await lab.out("inspect", "-f", "{{json .State.Health}}", "hc"));
    expect(state).toMatchObject({ Status: "healthy", FailingStreak: 0 });
    expect(await lab.out("ps", "-q", "-f", "health=healthy")).not.toBe("");
  }, 25_000);
});

describe("volumes", () => {
  afterAll(async () => {
    await lab.clean();
    await lab.docker("volume", "prune", "-af");
  });
  checks(
    ["create", () => lab.out("volume", "create", "--label", "a=b", "v1"), "v1"],
    ["inspect", () => lab.out("volume", "inspect", "-f", "{{.Name}} {{.Driver}} {{.Labels.a}}", "v1"), "v1 local b"],
    ["ls, filtered", () => lab.out("volume", "ls", "-q", "-f", "label=a=b"), "v1"],
    ["written", async () => (await lab.docker("run", "--rm", "-v", "v1:/d", "busybox", "sh", "-c", "echo kept >/d/x")).code, 0],
    ["read", () => once("-v", "v1:/d:ro", "busybox", "cat", "/d/x"), "kept"],
    ["read-only", async () => (await lab.docker("run", "--rm", "-v", "v1:/d:ro", "busybox", "touch", "/d/y")).both, /Read-only/],
    ["--mount", () => once("--mount", "type=volume,src=v1,dst=/d,readonly", "busybox", "cat", "/d/x"), "kept"],
    ["--mount type=bind", () => once("--mount", `type=bind,src=${lab.directory},dst=/d`, "busybox", "ls", "/d"), /env/],
    ["--mount type=tmpfs", () => once("--mount", "type=tmpfs,dst=/d,tmpfs-size=1m", "busybox", "df", "-k", "/d"), /tmpfs +1024 /],
    [
      "--mount of what is not there",
      async () => (await lab.docker("run", "--rm", "--mount", "type=bind,src=/nosuch,dst=/d", "busybox", "true")).stderr,
      /bind source path does not exist: \/nosuch/,
    ],
    ["copy-up at first use", () => once("-v", "fresh:/etc", "busybox", "cat", "/etc/passwd"), /^root:/],
    [
      "in use: no rm",
      async () => {
        await lab.sleeper("user", "-v", "v1:/d");
        return (await lab.docker("volume", "rm", "v1")).stderr;
      },
      /volume is in use/,
    ],
    ["--volumes-from", () => once("--volumes-from", "user", "busybox", "cat", "/d/x"), "kept"],
    [
      "rm",
      async () => {
        await lab.out("rm", "-f", "user");
        return lab.out("volume", "rm", "v1");
      },
      "v1",
    ],
    [
      "an anonymous one goes with --rm",
      async () => {
        await once("-v", "/anonymous", "busybox", "true");
        return lab.out("volume", "ls", "-q");
      },
      "fresh",
    ],
    ["prune", () => lab.out("volume", "prune", "-af"), /Deleted Volumes:\nfresh/],
  );
});

describe("events, df, prune", () => {
  it("events tell all of it", async () => {
    const since = Math.floor(Date.now() / 1000);
    await lab.out("network", "create", "en");
    await lab.out("volume", "create", "ev");
    await lab.out("run", "--name", "ec", "--network", "en", "-v", "ev:/v", "busybox", "true");
    await lab.out("rename", "ec", "ed");
    await lab.out("commit", "ed", "eimage");
    await lab.out("tag", "eimage", "etag");
    await lab.out("rm", "ed");
    await lab.out("rmi", "etag", "eimage");
    await lab.out("volume", "rm", "ev");
    await lab.out("network", "rm", "en");
    await sleep(1_100);
    const text = await lab.out(
      "events",
      "--since",
      String(since),
      "--until",
      String(Math.floor(Date.now() / 1000)),
      "--format",
      "{{.Type}} {{.Action}}",
    );
    const seen = text.split("\n").filter((line) => !/exec|resize/.test(line));
    for (const event of [
      ...["network create", "volume create", "container create", "network connect", "volume mount", "container start"],
      ...["container attach", "container die", "network disconnect", "volume unmount", "container rename", "container commit"],
      ...["image tag", "container destroy", "image untag", "image delete", "volume destroy", "network destroy"],
    ])
      expect(seen).toContain(event);
  }, 30_000);
  checks(
    [
      "system df",
      () => lab.out("system", "df"),
      /^Images +\d+ +\d+ [\s\S]*^Containers +\d+[\s\S]*^Local Volumes +0[\s\S]*^Build Cache/m,
    ],
    ["system df -v", () => lab.out("system", "df", "-v"), /^busybox +latest/m],
    [
      "image prune takes the nameless ones",
      async () => {
        await lab.dockerWith({ stdin: "FROM busybox\nRUN echo 1 >/x\n" }, "build", "-");
        await lab.out("image", "prune", "-f");
        return lab.out("images", "-q", "-f", "dangling=true");
      },
      "",
    ],
    [
      "container prune",
      async () => {
        await lab.out("run", "--name", "over", "busybox", "true");
        return lab.out("container", "prune", "-f");
      },
      /Deleted Containers:\n[0-9a-f]{64}/,
    ],
    ["builder prune", async () => (await lab.docker("builder", "prune", "-f")).code, 0],
    [
      "system prune",
      async () => {
        await lab.out("network", "create", "unused");
        await lab.out("run", "--name", "over", "busybox", "true");
        return lab.out("system", "prune", "-f");
      },
      /Deleted Containers:[\s\S]*Deleted Networks:\nunused/,
    ],
    [
      "system prune -a --volumes takes what nobody uses",
      async () => {
        await lab.out("volume", "create", "lonely");
        await lab.out("system", "prune", "-af", "--volumes");
        return lab.out("images", "-q");
      },
      "",
    ],
  );
});
