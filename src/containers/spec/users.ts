import { refuse } from "../../base/errors.js";
import { readInRoot } from "./in-root.js";
import type { OciUser } from "./oci.js";

export interface ResolvedUser extends OciUser {
  readonly home: string;
}

/**
 * `user`, `uid`, `user:group`, … as in `docker run -u`, looked up in the root file system's /etc/passwd and /etc/group
 * (passwd(5), group(5)). A number that is not listed is taken as it is; a name that is not listed is refused, as Docker words it.
 */
export function resolveUser(rootfs: string, text: string, groupAdd: readonly string[]): ResolvedUser {
  const separator = text.indexOf(":");
  const userPart = separator < 0 ? text : text.slice(0, separator);
  const groupPart = separator < 0 ? "" : text.slice(separator + 1);
  // The usual case costs no reading.
  if ((userPart === "" || userPart === "0" || userPart === "root") && groupPart === "" && groupAdd.length === 0)
    return { uid: 0, gid: 0, additionalGids: rootGroups(rootfs), home: rootHome(rootfs) };
  const passwd = readEntries(rootfs, "etc/passwd");
  const groups = readEntries(rootfs, "etc/group");
  const wanted = userPart === "" ? "0" : userPart;
  const entry = passwd.find((e) => e[0] === wanted) ?? passwd.find((e) => e[2] === wanted);
  if (entry === undefined && !isNumber(wanted)) refuse(400, `unable to find user ${wanted}: no matching entries in passwd file`);
  const uid = Number(entry?.[2] ?? wanted);
  const name = entry?.[0];
  const gid = groupPart === "" ? Number(entry?.[3] ?? 0) : groupId(groups, groupPart);
  const memberOf =
    name === undefined || groupPart !== ""
      ? []
      : groups.filter((g) => (g[3] ?? "").split(",").includes(name)).map((g) => Number(g[2]));
  const additional = [...memberOf, ...groupAdd.map((g) => groupId(groups, g))];
  return { uid, gid, additionalGids: unique(additional.length === 0 ? [gid] : [gid, ...additional]), home: entry?.[5] || "/" };
}

function rootHome(rootfs: string): string {
  return readEntries(rootfs, "etc/passwd").find((e) => e[2] === "0")?.[5] || "/root";
}

function rootGroups(rootfs: string): number[] {
  const member = readEntries(rootfs, "etc/group").filter((g) => (g[3] ?? "").split(",").includes("root"));
  return unique([0, ...member.map((g) => Number(g[2]))]);
}

function groupId(groups: readonly (readonly string[])[], text: string): number {
  const entry = groups.find((g) => g[0] === text) ?? groups.find((g) => g[2] === text);
  if (entry === undefined && !isNumber(text)) refuse(400, `unable to find group ${text}: no matching entries in group file`);
  return Number(entry?.[2] ?? text);
}

const isNumber = (text: string): boolean => /^\d{1,10}$/.test(text);
const unique = (ids: readonly number[]): number[] => [...new Set(ids.filter((id) => Number.isInteger(id)))];

function readEntries(rootfs: string, path: string): string[][] {
  const text = readInRoot(rootfs, path) ?? "";
  return text
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split(":"));
}
