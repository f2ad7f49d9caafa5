import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { orRefuse, refuse } from "../base/errors.js";
import type { Progress, RegistryAuth } from "./contract.js";
import { programError } from "./program.js";
import { pushTargets, type RegistryContext } from "./pull.js";
import { familiarName, parseReference, repositoryOf } from "./reference.js";
import { isInsecure, refuseRegistry, registryHost, withAuthFile } from "./registry-access.js";
import type { Storage } from "./storage.js";

/** `docker push`: resolves to the pushed images. Refusal 404 when nothing local has the name. */
export async function pushImages(
  context: RegistryContext,
  ref: string,
  options: { readonly auth?: RegistryAuth },
  progress: Progress,
): Promise<readonly { readonly id: string; readonly name: string }[]> {
  const { storage, index, metadata } = context;
  const reference = orRefuse(parseReference(ref));
  if (reference.digest !== undefined) refuse(400, "cannot push a digest reference");
  const repository = repositoryOf(reference);
  const snapshot = await index.read();
  const targets = pushTargets(snapshot.byName, reference);
  if (targets.length === 0) refuse(404, `An image does not exist locally with the tag: ${familiarName(repository)}`);
  const insecure = isInsecure(storage, reference.domain);
  const tls = insecure ? ["--dest-tls-verify=false"] : [];
  const auths = options.auth === undefined ? {} : { [reference.domain]: options.auth };
  return withAuthFile(storage, auths, async (authFile) => {
    const failed = (stderr: string) =>
      refuseRegistry(stderr, { reference, action: "push", hasAuth: options.auth !== undefined, insecure });
    progress({ status: `The push refers to repository [${repository}]` });
    const pushed: { id: string; name: string }[] = [];
    for (const name of targets) {
      const id = snapshot.byName.get(name) ?? "";
      const layers = [...(snapshot.images.get(id)?.image.diffIds ?? [])].reverse();
      const say = (status: string) => {
        for (const layer of layers) progress({ status, progressDetail: {}, id: layer.slice(7, 19) });
      };
      say("Preparing");
      const digestFile = join(dirname(authFile), "digest");
      const result = await storage.skopeo([
        ...["copy", "--format", "v2s2", "--authfile", authFile, "--digestfile", digestFile, ...tls],
        ...[storage.reference(`@${id}`), `docker://${name}`],
      ]);
      if (result.code !== 0) failed(result.stderr);
      say("Pushed");
      const digest = (await readFile(digestFile, "utf8")).trim();
      const manifest = await storage.skopeo([
        ...[
          "inspect",
          "--raw",
          "--authfile",
          authFile,
          ...(insecure ? ["--tls-verify=false"] : []),
          `docker://${repository}@${digest}`,
        ],
      ]);
      const size = Buffer.byteLength(manifest.stdout);
      const tag = name.slice(repository.length + 1);
      await metadata.updateDigests((digests) => ({ ...digests, [`${repository}@${digest}`]: id }));
      progress({ status: `${tag}: digest: ${digest} size: ${size}` });
      progress({ progressDetail: {}, aux: { Tag: tag, Digest: digest, Size: size } });
      pushed.push({ id: `sha256:${id}`, name: familiarName(name) });
    }
    return pushed;
  });
}

/** `docker login`: refusal 401 for wrong credentials, 500 when the registry cannot be asked. */
export async function checkLogin(storage: Storage, auth: RegistryAuth): Promise<{ Status: string; IdentityToken: string }> {
  const host = registryHost(auth.serveraddress ?? "");
  const insecure = isInsecure(storage, host);
  return withAuthFile(storage, {}, async (authFile) => {
    const result = await storage.skopeo(
      [
        ...["login", "--authfile", authFile, "--username", auth.username ?? "", "--password-stdin"],
        ...(insecure ? ["--tls-verify=false"] : []),
        host,
      ],
      { stdin: Readable.from([auth.password ?? ""]) },
    );
    if (result.code === 0) return { Status: "Login Succeeded", IdentityToken: "" };
    const text = programError(result.stderr);
    const url = `${insecure ? "http" : "https"}://${host === "docker.io" ? "registry-1.docker.io" : host}/v2/`;
    if (/invalid username\/password|unauthorized/.test(text))
      refuse(
        401,
        `Get ${JSON.stringify(url)}: unauthorized: ${host === "docker.io" ? "incorrect username or password" : "authentication required"}`,
      );
    return refuse(500, /((?:Get|Head) "[^"]*": .*)$/s.exec(text)?.[1] ?? text);
  });
}
