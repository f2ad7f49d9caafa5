import { Command, CommanderError } from "commander";
import { messageOf } from "../base/errors.js";
import { call, engineHost } from "./client.js";
import { printContainerPorts, printNodes, printVersion } from "./print.js";
import { parsePublish } from "./publish-spec.js";

/** The commands that talk to a running engine. Exit codes: 0, 1 (the engine refused, or differences found), 2 (wrong usage). */
export async function runClient(args: readonly string[]): Promise<number> {
  let exitCode = 0;
  const program = createProgram((code) => {
    exitCode = code;
  });
  try {
    if (args.length === 0) {
      program.outputHelp();
      return 2;
    }
    await program.parseAsync([...args], { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.code === "commander.unknownCommand") program.outputHelp({ error: true });
      return error.exitCode === 0 ? 0 : 2;
    }
    process.stderr.write(`Error: ${messageOf(error)}\n`);
    return 1;
  }
}

function createProgram(setExitCode: (code: number) => void): Command {
  const program = new Command("linkspan")
    .description("A container network engine for Linux that speaks the Docker Engine API")
    .option("-H, --host <host>", "The engine: unix:///path or tcp://address:port (else DOCKER_HOST)")
    .enablePositionalOptions()
    .exitOverride();
  const engine = (method: string, path: string, body?: unknown) =>
    call(engineHost(program.opts<{ host?: string }>().host), method, path, body);

  program.command("daemon").description("Run the engine (linkspan daemon --help)").allowUnknownOption();
  program
    .command("explain <ref>")
    .description("The ip, bridge and nft commands that would have built a network or container by hand")
    .action(async (ref: string) => {
      const answer = (await engine("GET", `/linkspan/explain?ref=${encodeURIComponent(ref)}`)) as { Commands: string };
      process.stdout.write(answer.Commands.endsWith("\n") || answer.Commands === "" ? answer.Commands : `${answer.Commands}\n`);
    });
  program
    .command("verify")
    .description("Compare what should exist in the kernel with what does; exit code 1 on differences")
    .action(async () => {
      const { Differences: differences } = (await engine("GET", "/linkspan/verify")) as { Differences: string[] };
      for (const line of differences) process.stdout.write(`${line}\n`);
      if (differences.length === 0) process.stdout.write("all is as it should be\n");
      else setExitCode(1);
    });
  program
    .command("port <container>")
    .description("Show the published ports of a container, or replace them (it may be running)")
    .option(
      "-p, --publish <spec>",
      "[ip:][hostPort:]containerPort[/proto] (repeatable)",
      (v: string, p: string[]) => [...p, v],
      [],
    )
    .option(
      "--allow <prefix>",
      "Only sources within this prefix may use the ports (repeatable)",
      (v: string, p: string[]) => [...p, v],
      [],
    )
    .option("--clear", "Publish nothing any more", false)
    .action(async (container: string, options: { publish: string[]; allow: string[]; clear: boolean }) => {
      const path = `/containers/${encodeURIComponent(container)}`;
      if (options.publish.length > 0 || options.clear) {
        const ports: Record<string, unknown[]> = {};
        for (const spec of options.publish)
          for (const { port, binding } of parsePublish(spec, options.allow)) ports[port] = [...(ports[port] ?? []), binding];
        await engine("POST", `/linkspan${path}/ports`, { Ports: ports });
      } else if (options.allow.length > 0) throw new Error("--allow needs --publish");
      printContainerPorts(await engine("GET", `${path}/json`));
    });
  const node = program.command("node").description("Hosts of the cluster").exitOverride();
  node
    .command("ls")
    .description("List them")
    .action(async () => printNodes(await engine("GET", "/linkspan/nodes")));
  node
    .command("rm <node>")
    .description("Forget a host that will not return; its addresses become free")
    .action(async (name: string) => {
      await engine("DELETE", `/linkspan/nodes/${encodeURIComponent(name)}`);
      process.stdout.write(`${name}\n`);
    });
  program
    .command("version")
    .description("Version of the engine and its API")
    .action(async () => printVersion(await engine("GET", "/version")));
  for (const command of [...program.commands, ...node.commands]) command.exitOverride();
  return program;
}
