/** What the commands print. */
export function printContainerPorts(container: unknown): void {
  const { NetworkSettings, HostConfig, State } = container as {
    NetworkSettings: { Ports: Record<string, { HostIp: string; HostPort: string }[] | null> };
    HostConfig: { PortBindings: Record<string, { HostIp: string; HostPort: string }[] | null> | null };
    State: { Running: boolean };
  };
  const ports = State.Running ? NetworkSettings.Ports : (HostConfig.PortBindings ?? {});
  for (const [port, bindings] of Object.entries(ports))
    for (const b of bindings ?? [])
      process.stdout.write(`${port} -> ${b.HostIp.includes(":") ? `[${b.HostIp}]` : b.HostIp}:${b.HostPort}\n`);
}

interface NodeRow {
  readonly ID: string;
  readonly Name: string;
  readonly Address: string;
  readonly Status: string;
  readonly Endpoints: number;
  readonly Self: boolean;
}

export function printNodes(answer: unknown): void {
  const nodes = (answer as { Nodes: NodeRow[] }).Nodes;
  table([
    ["ID", "NAME", "ADDRESS", "STATUS", "ENDPOINTS"],
    ...nodes.map((n) => [`${n.ID.slice(0, 12)}${n.Self ? " *" : ""}`, n.Name, n.Address, n.Status, String(n.Endpoints)]),
  ]);
}

export function printVersion(answer: unknown): void {
  const v = answer as Record<string, string>;
  table([
    ["Version:", v["Version"] ?? ""],
    ["API version:", `${v["ApiVersion"] ?? ""} (minimum ${v["MinAPIVersion"] ?? ""})`],
    ["OS/Arch:", `${v["Os"] ?? ""}/${v["Arch"] ?? ""}`],
    ["Kernel:", v["KernelVersion"] ?? ""],
  ]);
}

function table(rows: readonly (readonly string[])[]): void {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((r) => r[column]!.length)));
  for (const row of rows)
    process.stdout.write(
      `${row
        .map((cell, i) => cell.padEnd(widths[i]! + 3))
        .join("")
        .trimEnd()}\n`,
    );
}
