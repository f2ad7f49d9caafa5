import type { Refusal } from "../base/errors.js";
import { refusal } from "../base/errors.js";
import { fail, ok, type Result } from "../base/result.js";

/**
 * A parsed image name. Grammar: github.com/distribution/reference (README); Docker's normalisation: "busybox" is
 * docker.io/library/busybox.
 */
export interface Reference {
  /** "docker.io", "localhost:5000" */
  readonly domain: string;
  /** "library/busybox" */
  readonly path: string;
  readonly tag: string | undefined;
  /** "sha256:…" */
  readonly digest: string | undefined;
}

const component = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const pathPattern = new RegExp(`^${component}(?:/${component})*$`);
const domainPattern =
  /^(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?$/;
const tagPattern = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const digestPattern = /^[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-fA-F]{32,}$/;

/** Docker's error texts, status 400. */
export function parseReference(text: string): Result<Reference, Refusal> {
  if (/^[0-9a-f]{64}$/.test(text))
    return fail(refusal(400, `invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`));
  let rest = text;
  let digest: string | undefined;
  let tag: string | undefined;
  const at = rest.indexOf("@");
  if (at >= 0) {
    digest = rest.slice(at + 1);
    rest = rest.slice(0, at);
    if (!digestPattern.test(digest)) return fail(refusal(400, "invalid reference format"));
  }
  const colon = rest.lastIndexOf(":");
  if (colon > rest.lastIndexOf("/")) {
    tag = rest.slice(colon + 1);
    rest = rest.slice(0, colon);
    if (!tagPattern.test(tag)) return fail(refusal(400, "invalid reference format"));
  }
  const slash = rest.indexOf("/");
  const first = slash < 0 ? "" : rest.slice(0, slash);
  let domain = "docker.io";
  let path = rest;
  if (/[.:]/.test(first) || first === "localhost") {
    domain = first === "index.docker.io" ? "docker.io" : first;
    path = rest.slice(slash + 1);
  }
  if (domain === "docker.io" && !path.includes("/")) path = `library/${path}`;
  if (path !== path.toLowerCase() && pathPattern.test(path.toLowerCase()))
    return fail(refusal(400, "invalid reference format: repository name must be lowercase"));
  if (!pathPattern.test(path) || !domainPattern.test(domain)) return fail(refusal(400, "invalid reference format"));
  if (domain.length + path.length + 1 > 255) return fail(refusal(400, "repository name must not be more than 255 characters"));
  return ok({ domain, path, tag, digest });
}

/** "docker.io/library/busybox" */
export function repositoryOf(reference: Reference): string {
  return `${reference.domain}/${reference.path}`;
}

/** "docker.io/library/busybox:latest" or "…@sha256:…": the name as containers/storage keeps it. */
export function canonicalName(reference: Reference): string {
  if (reference.digest !== undefined) return `${repositoryOf(reference)}@${reference.digest}`;
  return `${repositoryOf(reference)}:${reference.tag ?? "latest"}`;
}

/** What docker prints: "docker.io/library/busybox:latest" → "busybox:latest". Works on any canonical name. */
export function familiarName(canonical: string): string {
  if (canonical.startsWith("docker.io/library/")) return canonical.slice("docker.io/library/".length);
  if (canonical.startsWith("docker.io/")) return canonical.slice("docker.io/".length);
  return canonical;
}

/** "[::1]:5000" → true: registries that are spoken to without TLS, as Docker does for 127.0.0.0/8. */
export function isLoopbackRegistry(domain: string): boolean {
  const host = domain.replace(/:[0-9]+$/, "");
  return host === "localhost" || host === "[::1]" || /^127(\.[0-9]{1,3}){3}$/.test(host);
}
