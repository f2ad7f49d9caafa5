import { afterEach, beforeEach, expect, it } from "vitest";
import type { Change } from "../../src/model/state.js";
import type { Store } from "../../src/store/contract.js";

/** What every store must do. `open` opens the same storage again each time; `reset` removes it. */
export function storeContract(open: () => Promise<Store>, reset: () => Promise<void>): void {
  let store: Store;
  beforeEach(async () => {
    store = await open();
  });
  afterEach(async () => {
    await store.close();
    await reset();
  });
  const reopen = async () => {
    await store.close();
    store = await open();
    return store.load();
  };

  it("is empty at first", async () => {
    expect(await store.load()).toEqual({ changes: [], damaged: [] });
  });

  it("keeps what was committed and forgets what was deleted", async () => {
    await store.commit([meta("a", { n: 1 }), meta("b", "text")]);
    await store.commit([meta("a", { n: 2 }), meta("b", undefined), meta("c", [1, "ü\n"])]);
    const { changes, damaged } = await reopen();
    expect(damaged).toEqual([]);
    expect(byId(changes)).toEqual({ a: { n: 2 }, c: [1, "ü\n"] });
  });

  it("writes concurrent commits of one record in the order of the calls", async () => {
    await Promise.all(Array.from({ length: 200 }, (_, i) => store.commit([meta("x", i), meta(`k${i % 7}`, i)])));
    const { changes } = await reopen();
    expect(byId(changes)["x"]).toBe(199);
    for (let k = 0; k < 7; k++) expect(byId(changes)[`k${k}`]).toBe(199 - ((199 - k) % 7));
  });

  it("takes a commit of nothing", async () => {
    await store.commit([]);
    expect((await store.load()).changes).toEqual([]);
  });

  it("refuses commits after close", async () => {
    await store.close();
    await expect(store.commit([meta("a", 1)])).rejects.toThrow();
    store = await open();
  });
}

export const meta = (id: string, value: unknown): Change => ({
  kind: "meta",
  id,
  value: value === undefined ? undefined : { id, value },
});

export const byId = (changes: readonly Change[]): Record<string, unknown> =>
  Object.fromEntries(changes.map((c) => [c.id, c.kind === "meta" ? c.value?.value : c.value]));
