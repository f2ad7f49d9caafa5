import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Real namespaces and two cores: files run one after the other, so that timing assertions mean something.
    fileParallelism: false,
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: "forks",
    // Timing assertions on a shared machine: a test that fails is run once more, and the report says so ("retry x1"). On a person's own machine it is not.
    retry: process.env["CI"] ? 1 : 0,
  },
});
