/**
 * Docker's references may hold slashes ("docker.io/library/busybox", "/web", "myweb/db"): its own router matches them by
 * regular expression. Ours matches segments, so the reference is made one segment (percent-encoded) before routing.
 */
const containerVerbs =
  "json|top|logs|stats|changes|export|archive|start|stop|restart|kill|pause|unpause|rename|update|wait|attach/ws|attach|resize|exec|ports";
const imageVerbs = "json|history|get|push|tag";
const rules: readonly RegExp[] = [
  new RegExp(`^(/(?:linkspan/)?containers/)(?!create$|json$|prune$)(.+?)(/(?:${containerVerbs}))?$`),
  new RegExp(`^(/images/)(?!create$|json$|prune$|load$|get$|search$)(.+?)(/(?:${imageVerbs}))?$`),
  /^(\/networks\/)(?!create$|prune$)(.+?)(\/(?:connect|disconnect))?$/,
  /^(\/volumes\/)(?!create$|prune$)(.+?)()$/,
  /^(\/distribution\/)(.+?)(\/json)$/,
  /^(\/plugins\/)(?!privileges$|pull$|create$)(.+?)(\/(?:json|enable|disable|push|set|upgrade))?$/,
];

export interface SplitUrl {
  readonly version: string | undefined;
  /** To route by: no version, no query, the reference as one encoded segment */
  readonly path: string;
  readonly query: URLSearchParams;
}

export function splitUrl(url: string): SplitUrl {
  const mark = url.indexOf("?");
  const fullPath = mark < 0 ? url : url.slice(0, mark);
  const query = new URLSearchParams(mark < 0 ? "" : url.slice(mark + 1));
  const versioned = /^\/v([0-9]+(?:\.[0-9]+)*)(\/.*)$/.exec(fullPath);
  const path = versioned?.[2] ?? fullPath;
  for (const rule of rules) {
    const m = rule.exec(path);
    if (m === null) continue;
    return { version: versioned?.[1], path: `${m[1]}${encodeOnce(m[2]!)}${m[3] ?? ""}`, query };
  }
  return { version: versioned?.[1], path, query };
}

/** Encodes a reference that may be percent-encoded already. */
function encodeOnce(text: string): string {
  try {
    return encodeURIComponent(decodeURIComponent(text));
  } catch {
    return encodeURIComponent(text);
  }
}
