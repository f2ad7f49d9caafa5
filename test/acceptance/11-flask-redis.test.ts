import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checks } from "../lib/checks.js";
import { Compose } from "../lib/compose.js";
import { debianArchive } from "../lib/debian.js";
import { Lab } from "../lib/lab.js";
import { eventually, type Ran } from "../lib/run.js";

/** The seeds' application of two containers: its files word by word, built and run as in the text. */
const app = `from flask import Flask
from redis import Redis
import os
import socket

app = Flask(__name__)
redis = Redis(host=os.environ.get('REDIS_HOST', '127.0.0.1'), port=6379)


@app.route('/')
def hello():
    redis.incr('hits')
    return 'Hello Container World! I have been seen %s times and my hostname is %s.\\n' % (redis.get('hits'),socket.gethostname())

if __name__ == "__main__":
    app.run(host="0.0.0.0", port=5000, debug=True)
`;
const dockerfile = `FROM python:2.7
LABEL maintaner="stt"
COPY . /app
WORKDIR /app
RUN pip install flask redis # 安装 flask 和 redis 库
EXPOSE 5000 # 对外暴露5000端口
CMD [ "python", "app.py" ]
`;
const withoutComments = dockerfile.replaceAll(/ #.*/g, "");
const redisImage =
  'FROM python:2.7\nEXPOSE 6379\nENTRYPOINT ["docker-entrypoint.sh"]\nCMD ["redis-server", "--protected-mode", "no"]\n';

let lab: Lab;
let context: string;
beforeAll(async () => {
  const archive = await debianArchive();
  lab = await Lab.open();
  context = join(lab.directory, "flask-redis");
  mkdirSync(context);
  writeFileSync(join(context, "app.py"), app);
  writeFileSync(join(context, "Dockerfile"), dockerfile);
  const imported = await lab.dockerWith({ timeoutMs: 180_000 }, "import", "--change", 'CMD ["python"]', archive, "python:2.7");
  expect(imported.both).toMatch(/^sha256:/);
  expect((await lab.dockerWith({ stdin: redisImage }, "build", "-t", "redis", "-")).code).toBe(0);
}, 1_200_000);
afterAll(() => lab?.close());

const build = () => lab.dockerWith({ timeoutMs: 180_000 }, "build", "-t", "stt/flask-redis", context);
const seen = (times: number, hostname: string) =>
  new RegExp(`^Hello Container World! I have been seen b?'?${times}'? times and my hostname is ${hostname}\\.$`);
const shortId = async (name: string) => (await lab.inspect(name)).Id.slice(0, 12);
/** Answers, without counting: there is no such page. */
const serves = () =>
  eventually(
    async () => (await lab.host.out("curl -s -m1 -o /dev/null -w %{http_code} http://localhost:5000/x")) === "404",
    30_000,
  );
const redisAnswers = () => eventually(async () => (await lab.exec("redis", "redis-cli", "ping")).stdout === "PONG\n", 15_000);
const outsideGets = () => lab.outside.fetch(`http://${lab.host.ip}:5000/`, 8);

describe("docker build of the seed's Dockerfile", () => {
  it("as it stands in the text: the comment after EXPOSE is no port", async () => {
    const ran = await build();
    expect(ran.code).not.toBe(0);
    expect(ran.stderr).toContain("Invalid containerPort: #");
  });
  describe("without the comments", () => {
    let ran: Ran;
    beforeAll(async () => {
      writeFileSync(join(context, "Dockerfile"), withoutComments);
      ran = await build();
    }, 180_000);
    checks(
      ["succeeds", () => ran.code, 0],
      ["tells its steps", () => ran.stdout, /^Step 1\/7 : FROM python:2\.7$/m],
      ["and the name", () => ran.stdout, /^Successfully tagged stt\/flask-redis:latest$/m],
      [
        "the image's configuration",
        async () => JSON.parse(await lab.out("image", "inspect", "-f", "{{json .Config}}", "stt/flask-redis")),
        expect.objectContaining({
          Cmd: ["python", "app.py"],
          WorkingDir: "/app",
          ExposedPorts: { "5000/tcp": {} },
          Labels: { maintaner: "stt" },
        }),
      ],
      [
        "the second time all steps come from the cache",
        async () => (await build()).stdout.match(/^ ---> Using cache$/gm)?.length,
        6,
      ],
    );
  });
});

describe("by --link", () => {
  beforeAll(async () => {
    await lab.start("redis", "redis");
    await lab.start("flask-redis", "--link", "redis", "-p", "5000:5000", "-e", "REDIS_HOST=redis", "stt/flask-redis");
    expect(await redisAnswers()).toBe(true);
    expect(await serves()).toBe(true);
  }, 90_000);
  afterAll(() => lab.clean());
  checks(
    ["ps", () => lab.out("ps", "-f", "name=^redis$"), /"docker-entrypoint\.s…" .* 6379\/tcp +redis$/m],
    ["the variable of the text", () => lab.inside("flask-redis", "env"), /^REDIS_HOST=redis$/m],
    ["the variables of the link", () => lab.inside("flask-redis", "env"), /^REDIS_PORT=tcp:\/\/172\.17\.0\.2:6379$/m],
    ["pwd", () => lab.inside("flask-redis", "pwd"), "/app"],
    [
      "counts, inside",
      () => lab.inside("flask-redis", "curl", "-s", "localhost:5000"),
      async () => seen(1, await shortId("flask-redis")),
    ],
    ["counts, on the host", () => lab.host.fetch("http://localhost:5000/"), async () => seen(2, await shortId("flask-redis"))],
    ["counts, outside", outsideGets, async () => seen(3, await shortId("flask-redis"))],
    ["redis is not to be reached from outside", () => lab.outside.fetch(`http://${lab.host.ip}:6379/`, 1), ""],
    ["logs", async () => (await lab.docker("logs", "flask-redis")).both, /"GET \/ HTTP\/1\.1" 200/],
  );
  it("goes on after redis is started again with another address", async () => {
    await lab.out("stop", "-t", "5", "redis");
    await lab.sleeper("thief");
    expect(await lab.address("thief")).toBe("172.17.0.2");
    await lab.out("start", "redis");
    expect(await lab.address("redis")).toBe("172.17.0.4");
    expect(await redisAnswers()).toBe(true);
    expect(await eventually(async () => (await outsideGets()).includes("I have been seen"), 15_000)).toBe(true);
  }, 60_000);
});

describe("on a user-defined network", () => {
  beforeAll(async () => {
    await lab.out("network", "create", "app");
    await lab.start("redis", "--network", "app", "redis");
    await lab.start("flask-redis", "--network", "app", "-p", "5000:5000", "-e", "REDIS_HOST=redis", "stt/flask-redis");
    expect(await redisAnswers()).toBe(true);
    expect(await serves()).toBe(true);
  }, 90_000);
  afterAll(() => lab.clean());
  checks(["counts, outside", outsideGets, async () => seen(1, await shortId("flask-redis"))]);
  it("goes on after redis is started again with another address", async () => {
    const before = await lab.address("redis", "app");
    await lab.out("stop", "-t", "5", "redis");
    await lab.sleeper("thief", "--network", "app");
    await lab.out("start", "redis");
    expect(await lab.address("redis", "app")).not.toBe(before);
    expect(await redisAnswers()).toBe(true);
    expect(await eventually(async () => (await outsideGets()).includes("I have been seen"), 15_000)).toBe(true);
  }, 60_000);
});

describe("by docker-compose", () => {
  let compose: Compose;
  beforeAll(async () => {
    compose = new Compose(lab, "counter", {
      "docker-compose.yml":
        'version: "2.4"\nservices:\n  redis:\n    image: redis\n  web:\n    build: .\n    ports: ["5000:5000"]\n    environment: {REDIS_HOST: redis}\n    depends_on: [redis]\n',
      "app.py": readFileSync(join(context, "app.py"), "utf8"),
      Dockerfile: withoutComments,
    });
    expect((await compose.run(["up", "-d"])).both).toContain("done");
    expect(await serves()).toBe(true);
  }, 180_000);
  checks(
    ["the network is called after the project", () => lab.members("counter_default"), ["counter_redis_1", "counter_web_1"]],
    ["counts, outside", outsideGets, async () => seen(1, await shortId("counter_web_1"))],
    ["and again", outsideGets, async () => seen(2, await shortId("counter_web_1"))],
  );
  it("goes on after redis is made anew", async () => {
    await compose.out("up", "-d", "--force-recreate", "--no-deps", "-t", "3", "redis");
    expect(await eventually(async () => (await outsideGets()).includes("I have been seen"), 20_000)).toBe(true);
  }, 90_000);
  it("down takes all of it away", async () => {
    await compose.out("down", "--rmi", "local", "-t", "1");
    expect(await lab.out("ps", "-aq")).toBe("");
    expect(await lab.out("network", "ls", "-q", "-f", "type=custom")).toBe("");
  }, 60_000);
});
