import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { refuse } from "../base/errors.js";
import type { RegistryAuth } from "./contract.js";
import { programError } from "./program.js";
import { familiarName, isLoopbackRegistry, type Reference, repositoryOf } from "./reference.js";
import type { Storage } from "./storage.js";
import { makeTemporary, removeTemporary } from "./storage-write.js";

/** "https://index.docker.io/v1/" → "docker.io"; "http://localhost:5000/v2/" → "localhost:5000" */
export function registryHost(address: string): string {
  const host = address.replace(/^https?:\/\//, "").replace(/\/.*$/, "");
  return host === "" || host === "index.docker.io" || host === "registry-1.docker.io" ? "docker.io" : host;
}

/** Does this registry get plain HTTP and unchecked certificates? */
export function isInsecure(storage: Storage, domain: string): boolean {
  return isLoopbackRegistry(domain) || storage.insecureRegistries.has(domain);
}

/**
 * Runs `use` with the path of a file of credentials (containers-auth.json(5)), readable by root only and removed afterwards.
 * Without credentials the file is empty, so that none of the machine's are taken.
 */
export async function withAuthFile<T>(
  storage: Storage,
  auths: Readonly<Record<string, RegistryAuth>>,
  use: (path: string) => Promise<T>,
): Promise<T> {
  const directory = await makeTemporary(storage);
  try {
    const entries = Object.entries(auths).map(([address, auth]) => {
      const pair = Buffer.from(`${auth.username ?? ""}:${auth.password ?? ""}`).toString("base64");
      const token = auth.identitytoken === undefined ? {} : { identitytoken: auth.identitytoken };
      return [registryHost(address), { auth: pair, ...token }];
    });
    const path = join(directory, "auth.json");
    await writeFile(path, JSON.stringify({ auths: Object.fromEntries(entries) }), { mode: 0o600 });
    return await use(path);
  } finally {
    await removeTemporary(directory);
  }
}

/** What skopeo says of a registry, as Docker says it. Always throws a refusal. */
export function refuseRegistry(
  stderr: string,
  context: {
    readonly reference: Reference;
    readonly action: "pull" | "push";
    readonly hasAuth: boolean;
    readonly insecure: boolean;
  },
): never {
  const text = programError(stderr);
  const { reference } = context;
  const repository = familiarName(repositoryOf(reference));
  const name =
    reference.digest === undefined ? `${repository}:${reference.tag ?? "latest"}` : `${repository}@${reference.digest}`;
  const request = /((?:Get|Head|Post|Put|Patch) "[^"]*": .*)$/s.exec(text)?.[1];
  if (request !== undefined) refuse(500, request);
  if (/requested access to the resource is denied|(?:^|: )denied(?::|$)/.test(text)) {
    const denied = "denied: requested access to the resource is denied";
    if (context.action === "push") refuse(500, denied);
    refuse(404, `pull access denied for ${repository}, repository does not exist or may require 'docker login': ${denied}`);
  }
  if (/unauthorized|authentication required|invalid username\/password/.test(text)) {
    if (context.hasAuth) refuse(500, "unauthorized: authentication required");
    if (context.action === "push") refuse(500, "no basic auth credentials");
    const host = reference.domain === "docker.io" ? "registry-1.docker.io" : reference.domain;
    const url = `${context.insecure ? "http" : "https"}://${host}/v2/${reference.path}/manifests/${reference.digest ?? reference.tag ?? "latest"}`;
    refuse(500, `Head ${JSON.stringify(url)}: no basic auth credentials`);
  }
  if (/name unknown|repository name not known/.test(text))
    refuse(404, `repository ${repository} not found: name unknown: repository name not known to registry`);
  if (/manifest unknown/.test(text)) refuse(404, `manifest for ${name} not found: manifest unknown: manifest unknown`);
  const platform =
    /no image found in (?:manifest list|image index) for architecture ([^,]+), variant "?([^",]*)"?, OS ([a-z]+)/.exec(text);
  if (platform !== null) {
    const wanted = [platform[3], platform[1], platform[2]].filter((part) => part !== undefined && part !== "").join("/");
    refuse(404, `no matching manifest for ${wanted} in the manifest list entries`);
  }
  return refuse(500, text);
}
