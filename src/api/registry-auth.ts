import { refuse } from "../base/errors.js";
import type { RegistryAuth } from "./types.js";

function decodeHeader(header: string): unknown {
  const text = Buffer.from(header.replaceAll("-", "+").replaceAll("_", "/"), "base64").toString("utf8");
  return text.trim() === "" ? {} : JSON.parse(text);
}

/** X-Registry-Auth: base64 (either alphabet) of JSON. Undefined when the client sends no credentials. */
export function registryAuth(header: string | string[] | undefined): RegistryAuth | undefined {
  if (typeof header !== "string" || header === "") return undefined;
  let value: unknown;
  try {
    value = decodeHeader(header);
  } catch {
    // Docker takes an unreadable header for "no credentials" on pull; clients send "null" and worse.
    return undefined;
  }
  return asAuth(value);
}

/** X-Registry-Config: credentials by registry, for build. */
export function registryConfig(header: string | string[] | undefined): Record<string, RegistryAuth> {
  if (typeof header !== "string" || header === "") return {};
  try {
    const value = decodeHeader(header) as Record<string, unknown>;
    const out: Record<string, RegistryAuth> = {};
    for (const [registry, auth] of Object.entries(value ?? {})) {
      const read = asAuth(auth);
      if (read !== undefined) out[registry] = read;
    }
    return out;
  } catch {
    refuse(400, "invalid X-Registry-Config header");
  }
}

function asAuth(value: unknown): RegistryAuth | undefined {
  if (value === null || typeof value !== "object") return undefined;
  const v = value as Record<string, unknown>;
  const auth: { -readonly [K in keyof RegistryAuth]: RegistryAuth[K] } = {};
  for (const key of ["username", "password", "serveraddress", "identitytoken"] as const) {
    const field = v[key];
    if (typeof field === "string" && field !== "") auth[key] = field;
  }
  if (auth.username === undefined && typeof v["auth"] === "string") {
    const [username, ...password] = Buffer.from(v["auth"], "base64").toString("utf8").split(":");
    if (username) Object.assign(auth, { username, password: password.join(":") });
  }
  return auth.username === undefined && auth.identitytoken === undefined ? undefined : auth;
}
