/** The target of a `--link` on the default bridge, as far as its variables go. */
export interface LinkedContainer {
  readonly alias: string;
  /** The name of the container that has the link, without slash */
  readonly parentName: string;
  readonly ip: string;
  /** Exposed ports: "3306/tcp" */
  readonly ports: readonly string[];
  /** The target's own environment (Config.Env): "PW=secret" */
  readonly env: readonly string[];
}

interface Port {
  readonly number: number;
  readonly proto: string;
}

/**
 * The variables that a link gives to the container that has it: DB_PORT (the lowest port), DB_PORT_3306_TCP and its parts, _START and _END of
 * runs of consecutive ports, DB_NAME, and DB_ENV_ for each variable of the target other than HOME and PATH.
 */
export function linkEnvironment(link: LinkedContainer): string[] {
  const prefix = link.alias.toUpperCase().replaceAll("-", "_");
  const ports = parsePorts(link.ports);
  const url = (port: Port) => `${port.proto}://${link.ip}:${port.number}`;
  const env: string[] = [];
  if (ports[0] !== undefined) env.push(`${prefix}_PORT=${url(ports[0])}`);
  for (const { first, last } of runs(ports)) {
    const base = `${prefix}_PORT_${first.number}_${first.proto.toUpperCase()}`;
    env.push(`${base}_START=${url(first)}`, `${base}_ADDR=${link.ip}`, `${base}_PROTO=${first.proto}`);
    env.push(`${base}_PORT_START=${first.number}`, `${base}_END=${url(last)}`, `${base}_PORT_END=${last.number}`);
  }
  for (const port of ports) {
    const base = `${prefix}_PORT_${port.number}_${port.proto.toUpperCase()}`;
    env.push(`${base}=${url(port)}`, `${base}_ADDR=${link.ip}`, `${base}_PORT=${port.number}`, `${base}_PROTO=${port.proto}`);
  }
  env.push(`${prefix}_NAME=/${link.parentName}/${link.alias}`);
  for (const variable of link.env) {
    const equals = variable.indexOf("=");
    if (equals < 0) continue;
    const name = variable.slice(0, equals);
    if (name !== "HOME" && name !== "PATH") env.push(`${prefix}_ENV_${variable}`);
  }
  return env;
}

/** By number, tcp before the others. */
function parsePorts(texts: readonly string[]): Port[] {
  const ports = texts.map((text) => {
    const [number, proto] = text.split("/");
    return { number: Number(number), proto: (proto ?? "tcp").toLowerCase() };
  });
  const rank = (port: Port) => (port.proto === "tcp" ? 0 : 1);
  return ports.filter((port) => Number.isInteger(port.number)).sort((a, b) => a.number - b.number || rank(a) - rank(b));
}

/** Runs of two or more consecutive ports of one protocol. */
function* runs(ports: readonly Port[]): Generator<{ readonly first: Port; readonly last: Port }> {
  for (let i = 0; i < ports.length; ) {
    let j = i;
    while (j + 1 < ports.length && ports[j + 1]!.number === ports[j]!.number + 1 && ports[j + 1]!.proto === ports[i]!.proto) j++;
    if (j > i) yield { first: ports[i]!, last: ports[j]! };
    i = j + 1;
  }
}
