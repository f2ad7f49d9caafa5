import { Readable } from "node:stream";
import fc from "fast-check";
import { pack } from "tar-stream";
import { describe, expect, it } from "vitest";
import { applyChanges, parseExpose } from "../../src/images/changes.js";
import { externalImages, firstBadInstruction, parseDockerfile, targetStage } from "../../src/images/dockerfile.js";
import { shellWords, splitWords } from "../../src/images/dockerfile-words.js";
import { canonicalName, familiarName, parseReference } from "../../src/images/reference.js";
import { chainIds } from "../../src/images/remove.js";
import { readTar, writeHeader } from "../../src/images/tar-blocks.js";
import { bytesOf } from "./harness.js";

const name = (text: string) => {
  const parsed = parseReference(text);
  return parsed.ok ? canonicalName(parsed.value) : parsed.error.message;
};

describe("image names", () => {
  it.each([
    ["busybox", "docker.io/library/busybox:latest"],
    ["docker.io/library/busybox", "docker.io/library/busybox:latest"],
    ["index.docker.io/team/x:1", "docker.io/team/x:1"],
    ["localhost/x", "localhost/x:latest"],
    ["localhost:5000/x", "localhost:5000/x:latest"],
    ["[::1]:5000/x:y", "[::1]:5000/x:y"],
    ["team/x", "docker.io/team/x:latest"],
    [`x@sha256:${"a".repeat(64)}`, `docker.io/library/x@sha256:${"a".repeat(64)}`],
    ["Busybox", "invalid reference format: repository name must be lowercase"],
    ["x:", "invalid reference format"],
    ["", "invalid reference format"],
    ["a//b", "invalid reference format"],
    ["a b", "invalid reference format"],
    ["-x", "invalid reference format"],
    ["a".repeat(64), `invalid repository name (${"a".repeat(64)}), cannot specify 64-byte hexadecimal strings`],
  ])("%s is %s", (text, expected) => expect(name(text)).toBe(expected));

  it("a canonical name and its short form mean the same", () => {
    const part = fc.stringMatching(/^[a-z0-9]{1,8}$/);
    const text = fc
      .tuple(fc.option(part), part, fc.option(part))
      .map(([a, b, t]) => `${a === null ? "" : `${a}/`}${b}${t === null ? "" : `:${t}`}`);
    fc.assert(fc.property(text, (ref) => name(familiarName(name(ref))) === name(ref)));
  });
});

describe("words and changes", () => {
  it("splits and expands as Docker's shell words", () => {
    expect(splitWords(`a "b c" d\\ e 'f  g'`)).toEqual(["a", '"b c"', "d\\ e", "'f  g'"]);
    const variables = new Map([
      ["A", "1"],
      ["E", ""],
    ]);
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is a Dockerfile's syntax
    expect(shellWords("$A-${A}-${B:-x}-${A:+y}-${E:-e}-\\$A-'$A'-\"$A\"-$", variables)).toBe("1-1-x-y-e-$A-$A-1-$");
  });
  it("parses EXPOSE as go-connections does", () => {
    expect(parseExpose("80")).toMatchObject({ value: ["80/tcp"] });
    expect(parseExpose("7000-7001/UDP")).toMatchObject({ value: ["7000/udp", "7001/udp"] });
    expect(parseExpose("#")).toMatchObject({ error: { status: 400, message: "Invalid containerPort: #" } });
    expect(parseExpose("99999")).toMatchObject({ error: { message: "Invalid containerPort: 99999" } });
    expect(parseExpose("80/icmp")).toMatchObject({ error: { message: "Invalid proto: icmp" } });
  });
  it("never throws on any change line", () => {
    fc.assert(
      fc.property(fc.string(), fc.constantFrom("ENV", "CMD", "LABEL", "EXPOSE", "HEALTHCHECK", "VOLUME", ""), (text, keyword) => {
        applyChanges({}, [`${keyword} ${text}`]);
      }),
    );
  });
  it("reads health checks and replaces variables of the environment", () => {
    const result = applyChanges({ Env: ["P=/opt"] }, [
      "HEALTHCHECK --interval=1m30s --retries=3 CMD curl -f x",
      "WORKDIR $P",
      "WORKDIR sub",
      "ENV old style value",
    ]);
    expect(result).toMatchObject({
      ok: true,
      value: {
        Healthcheck: { Interval: 90e9, Retries: 3, Test: ["CMD-SHELL", "curl -f x"] },
        WorkingDir: "/opt/sub",
        Env: ["P=/opt", "old=style value"],
      },
    });
  });
});

describe("Dockerfiles", () => {
  const parse = (text: string) => {
    const parsed = parseDockerfile(text, "Dockerfile", {});
    if (!parsed.ok) throw new Error(parsed.error.message);
    return parsed.value;
  };
  it("joins continued lines, without the comments between", () => {
    const [stage] = parse("# syntax=docker/dockerfile:1\n# escape=`\nFROM a:1 as X\nRUN one `\n# no\n\n  && two\n").stages;
    expect(stage).toMatchObject({ name: "x", base: "a:1" });
    expect(stage?.instructions[1]?.original).toBe("RUN one   && two");
  });
  it("knows which images are needed, and targets", () => {
    const file = parse(
      "FROM a AS one\nFROM one\nCOPY --from=b /x /y\nCOPY --from=0 /x /y\nFROM scratch AS three\nCOPY --from=one x y\n",
    );
    expect(externalImages(file, 2)).toEqual(["a", "b"]);
    expect(externalImages(file, 0)).toEqual(["a"]);
    expect([targetStage(file, ""), targetStage(file, "ONE"), targetStage(file, "1"), targetStage(file, "no")]).toEqual([
      2,
      0,
      1,
      undefined,
    ]);
  });
  it("finds what can only fail", () => {
    const bad = (text: string) => firstBadInstruction(parse(text).stages.flatMap((stage) => stage.instructions));
    expect(bad("FROM a\nRUN x\nEXPOSE 80 # y\n")).toMatchObject({ at: 2, refusal: { message: "Invalid containerPort: #" } });
    expect(bad("FROM a\nEXPOSE $PORT 80\nCMD x # y\n")).toBeUndefined();
  });
  it("never throws on any text", () => {
    const line = fc.oneof(fc.constantFrom("FROM a", "RUN <<E", "E", "COPY a \\", "#x", ""), fc.string());
    fc.assert(fc.property(fc.array(line), (lines) => void parseDockerfile(lines.join("\n"), "Dockerfile", {})));
  });
});

describe("tar headers", () => {
  it("survive a rewrite, with long names and binary attributes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ minLength: 1, maxLength: 300 }), fc.uint8Array({ maxLength: 700 }), async (text, bytes) => {
        const path = `x${text.replace(/[\0/]/g, "_")}`;
        const archive = pack();
        archive.entry({ name: "plain", mode: 0o640 }, Buffer.from(bytes));
        archive.finalize();
        const parts: Buffer[] = [];
        for await (const entry of readTar(Readable.from(archive as AsyncIterable<Buffer>))) {
          const pax = new Map([["SCHILY.xattr.security.capability", Buffer.from(bytes)]]);
          parts.push(writeHeader({ path, type: "0", header: entry.header, size: entry.size, pax }));
          parts.push(await bytesOf(Readable.from(entry.content())));
        }
        let seen = 0;
        for await (const entry of readTar(Readable.from([Buffer.concat(parts), Buffer.alloc(1024)]))) {
          seen++;
          expect(entry).toMatchObject({ path, size: bytes.length, mode: 0o640 });
          expect(entry.pax.get("SCHILY.xattr.security.capability")).toEqual(Buffer.from(bytes));
          expect((await bytesOf(Readable.from(entry.content()))).subarray(0, bytes.length)).toEqual(Buffer.from(bytes));
        }
        expect(seen).toBe(1);
      }),
    );
  });
  it("chain ids follow the OCI image specification", () => {
    expect(chainIds(["sha256:aa"])).toEqual(["sha256:aa"]);
    expect(chainIds(["sha256:aa", "sha256:bb"])[1]).toMatch(/^sha256:[0-9a-f]{64}$/);
  });
});
