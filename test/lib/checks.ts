import { expect, it } from "vitest";
import type { Answer } from "./http.js";

type Later<T> = T | (() => T | Promise<T>);

/** name | how it is found | what is expected: an exact value, or a pattern that the text must contain */
export type Row = readonly [name: string, got: () => unknown, want: Later<unknown>];

/** Each row becomes a test. What is only known when the row is reached is given as a function. */
export function checks(...rows: readonly Row[]): void {
  for (const [name, got, want] of rows)
    it(name, async () => {
      const found = await got();
      const expected = await now(want);
      if (expected instanceof RegExp) expect(found).toMatch(expected);
      else expect(found).toEqual(expected);
    });
}

/** name | status | text, whole | request */
export type Refused = readonly [name: string, status: number, text: Later<string | RegExp>, request: () => Promise<Answer>];

/** Each row becomes a test of the status and of the whole text of a refusal. */
export function refusals(...rows: readonly Refused[]): void {
  for (const [name, status, text, request] of rows)
    it(`${name}: ${status}`, async () => {
      const answer = await request();
      const expected = await now(text);
      const whole = expected instanceof RegExp ? new RegExp(`^(?:${expected.source})$`) : expected;
      const said = { status: answer.status, message: answer.message };
      if (whole instanceof RegExp) expect(said).toEqual({ status, message: expect.stringMatching(whole) });
      else expect(said).toEqual({ status, message: whole });
    });
}

async function now<T>(value: Later<T>): Promise<T> {
  return typeof value === "function" ? (value as () => T | Promise<T>)() : value;
}
