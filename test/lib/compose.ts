import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Lab } from "./lab.js";
import { must, type Ran, type RunOptions, run } from "./run.js";

/** Debian's docker-compose (1.29) on a project of a directory of its own. */
export class Compose {
  readonly directory: string;

  constructor(
    readonly lab: Lab,
    readonly project: string,
    files: Readonly<Record<string, string>>,
  ) {
    this.directory = join(lab.directory, project);
    for (const [name, text] of Object.entries(files)) this.write(name, text);
  }

  write(name: string, text: string): void {
    const path = join(this.directory, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }

  run(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const where = ["--no-ansi", "--project-directory", this.directory, "-f", join(this.directory, "docker-compose.yml")];
    return run("docker-compose", [...where, "-p", this.project, ...args], {
      timeoutMs: 120_000,
      ...options,
      env: {
        ...this.lab.engine.clientEnv,
        DOCKER_HOST: `unix://${this.lab.engine.socket}`,
        PYTHONUNBUFFERED: "1",
        ...options.env,
      },
    });
  }

  /** stdout of a command that must succeed. */
  out(...args: string[]): Promise<string> {
    return must(`docker-compose ${args.join(" ")}`, this.run(args));
  }
}
