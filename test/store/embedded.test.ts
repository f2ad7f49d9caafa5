import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createLogger } from "../../src/base/log.js";
import { openEmbeddedStore } from "../../src/store/embedded.js";
import { encodeRecord } from "../../src/store/record.js";
import { byId, meta, storeContract } from "./contract.js";

const root = mkdtempSync(join(tmpdir(), "lst-store-"));
const lines: string[] = [];
const log = createLogger({ level: "debug", write: (l) => void lines.push(l), now: () => "t" });
const openAt = (directory: string) => openEmbeddedStore({ directory, log, now: () => 1234 });
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe("embedded store", () => {
  const directory = join(root, "contract", "store");
  storeContract(
    () => openAt(directory),
    async () => rmSync(directory, { recursive: true, force: true }),
  );
});

describe("a damaged embedded store", () => {
  it("leaves out records that fail their checksum, and says which", async () => {
    const directory = join(root, "checksum");
    const store = await openAt(directory);
    await store.commit([meta("good", 1), meta("bad", 2), meta("future", 3), meta("torn", 4)]);
    await store.close();
    const db = new ClassicLevel<string, string>(directory);
    await db.put("meta/bad", encodeRecord({ id: "bad", value: 2 }).replace('"value":2', '"value":3'));
    await db.put("meta/future", encodeRecord({ id: "future", value: 3 }).replace(/^1/, "99"));
    await db.put("meta/torn", "1 00");
    await db.put("nonsense/x", "1 00000000 {}");
    await db.close();
    const again = await openAt(directory);
    const { changes, damaged } = await again.load();
    await again.close();
    expect(byId(changes)).toEqual({ good: 1 });
    expect(damaged).toHaveLength(4);
    expect(damaged.join("\n")).toMatch(/meta\/bad: checksum mismatch/);
    expect(damaged.join("\n")).toMatch(/meta\/future: schema version 99/);
  });

  for (const [name, spoil] of Object.entries({
    "CURRENT points nowhere": (d: string) => writeFileSync(join(d, "CURRENT"), "MANIFEST-999999\n"),
    "every file is noise": (d: string) => {
      for (const f of readdirSync(d)) if (f !== "LOCK") writeFileSync(join(d, f), Buffer.alloc(3000, 0xa5));
    },
    "the log is cut short": (d: string) => {
      for (const f of readdirSync(d)) if (f.endsWith(".log")) writeFileSync(join(d, f), readFileSync(join(d, f)).subarray(0, -9));
    },
  }))
    it(`starts although ${name}`, async () => {
      const directory = join(root, `spoilt-${name.replaceAll(" ", "-")}`);
      const store = await openAt(directory);
      await store.commit([meta("first", 1)]);
      await store.commit([meta("last", 2)]);
      await store.close();
      spoil(directory);
      const again = await openAt(directory);
      const { changes } = await again.load();
      for (const [id, value] of Object.entries(byId(changes))) expect({ first: 1, last: 2 }).toMatchObject({ [id]: value });
      await again.commit([meta("new", 3)]);
      await again.close();
      const third = await openAt(directory);
      expect(byId((await third.load()).changes)["new"]).toBe(3);
      await third.close();
    });

  it("is kept aside when it cannot be repaired", async () => {
    const directory = join(root, "is-a-file");
    writeFileSync(directory, "not a database");
    const store = await openAt(directory);
    expect((await store.load()).changes).toEqual([]);
    await store.close();
    expect(readFileSync(`${directory}.damaged-1234`, "utf8")).toBe("not a database");
  });
});

describe("a full disk", () => {
  const disk = join(root, "disk");
  const filler = join(disk, "filler");
  const fill = () => {
    for (const size of [1 << 16, 1 << 10, 1])
      try {
        for (let i = 0; i < 1000; i++) writeFileSync(filler, Buffer.alloc(size), { flag: "a" });
      } catch {
        // full
      }
  };
  const big = "x".repeat(3000);

  it("refuses what does not fit, keeps what came before and what comes after, and no start replaces the database", async () => {
    mkdirSync(disk);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "lst-store", disk]);
    try {
      const directory = join(disk, "store");
      const store = await openAt(directory);
      await store.commit([meta("before", 1)]);
      fill();
      let refused = 0;
      for (let i = 0; i < 20; i++) await store.commit([meta(`big${i}`, big)]).catch(() => refused++);
      expect(refused).toBeGreaterThan(10);
      rmSync(filler);
      await store.commit([meta("after", 2)]);
      await store.close();
      fill();
      await expect(openAt(directory)).rejects.toThrow(/is left as it is: .*No space left on device/);
      rmSync(filler);
      const again = await openAt(directory);
      const { changes, damaged } = await again.load();
      await again.close();
      expect(damaged).toEqual([]);
      expect(byId(changes)).toMatchObject({ before: 1, after: 2 });
    } finally {
      execFileSync("umount", [disk]);
    }
  });
});

describe("the lock", () => {
  const directory = join(root, "lock");
  let holder: ReturnType<typeof spawn>;
  beforeAll(async () => {
    holder = spawn(
      process.execPath,
      [
        "-e",
        `const{ClassicLevel}=require("classic-level");const d=new ClassicLevel(${JSON.stringify(directory)});d.open().then(()=>{console.log("open");setTimeout(()=>{},60000)})`,
      ],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    await once(holder.stdout!, "data");
  });
  afterAll(() => void holder.kill("SIGKILL"));

  it("keeps a second engine out with a clear message, and is free after SIGKILL", async () => {
    await expect(openAt(directory)).rejects.toThrow(/another engine uses this data root .*--data-root/);
    holder.kill("SIGKILL");
    await once(holder, "exit");
    const store = await openAt(directory);
    await store.commit([meta("a", 1)]);
    await store.close();
  });
});
