import type { ProgressMessage } from "./contract.js";
import type { Dockerfile, Instruction, Stage } from "./dockerfile.js";
import { lineSplitter } from "./program.js";

export interface BuildPlan {
  readonly dockerfile: Dockerfile;
  /** Stages built, the last one included. */
  readonly stages: readonly Stage[];
  /** The number that Docker gives to each instruction, from 1. */
  readonly numberOf: ReadonlyMap<Instruction, number>;
  readonly total: number;
}

export function planBuild(dockerfile: Dockerfile, lastStage: number, extraSteps: number): BuildPlan {
  const stages = dockerfile.stages.slice(0, lastStage + 1);
  const all = [...dockerfile.globals, ...stages.flatMap((stage) => stage.instructions)];
  return {
    dockerfile,
    stages,
    numberOf: new Map(all.map((instruction, i) => [instruction, i + 1])),
    total: all.length + extraSteps,
  };
}

export interface BuildOutput {
  stdout(text: string): void;
  stderr(text: string): void;
  /** The step at work, for errors. */
  current(): Instruction | undefined;
  /** buildah's own last words, not shown to the user yet. */
  error(): string;
  /** Sends what is still pending; resolves when all messages are sent. */
  end(): Promise<void>;
}

const ansi = { red: "\u001b[91m", off: "\u001b[0m" } as const;

/**
 * Turns what `buildah build --layers` prints into the classic builder's messages:
 * `[1/2] STEP 2/5: RUN x` → "Step 2/9 : RUN x", `--> Using cache ID` → " ---> Using cache", `--> ID` → " ---> id of 12 digits".
 * A step's line is believed only where the next step is due: a RUN may print anything.
 * `longId` completes buildah's 11 digits; `baseId` gives the id of a FROM's image.
 */
export function createBuildOutput(options: {
  readonly plan: BuildPlan;
  readonly progress: (message: ProgressMessage) => void;
  readonly longId: (prefix: string) => Promise<string | undefined>;
  readonly baseId: (stage: Stage) => string | undefined;
}): BuildOutput {
  const { plan, progress } = options;
  let queue: Promise<void> = Promise.resolve();
  const later = (work: () => void | Promise<void>) => {
    queue = queue.then(work, work);
  };
  const send = (stream: string) => later(() => progress({ stream }));
  /** The step's own output. */
  const output = (text: string) => {
    if (text === "") return;
    openLine = !text.endsWith("\n");
    send(text);
  };
  /** A line of the builder's: begins a new line if the step left one open. */
  const say = (line: string) => {
    if (openLine) send("\n");
    openLine = false;
    if (line !== "") send(line);
  };
  const results = new Map<Stage, string>();
  let stage: Stage | undefined;
  let instruction: Instruction | undefined;
  let step = 0;
  let finished = true;
  let committing = false;
  let failure = "";
  let pending = "";
  let openLine = false;

  function beginStep(stageNumber: number, number: number, text: string): boolean {
    const next = plan.stages[stageNumber - 1];
    if (next === undefined || (next === stage ? number !== step + 1 : number !== 1)) return false;
    stage = next;
    step = number;
    instruction = next.instructions[number - 1];
    finished = false;
    const shown = instruction === undefined ? plan.total : plan.numberOf.get(instruction);
    // The very first FROM was told by the caller, above the pull of its image.
    if (instruction !== plan.stages[0]?.instructions[0]) say(`Step ${shown}/${plan.total} : ${instruction?.original ?? text}\n`);
    if (instruction?.keyword === "FROM") {
      const base =
        options.baseId(next) ??
        plan.stages.filter((other) => other.name === next.base.toLowerCase()).map((other) => results.get(other))[0];
      say(` ---> ${(base ?? "").slice(0, 12)}\n`);
      finished = true;
    }
    return true;
  }

  function endStep(shortId: string): void {
    const ended = stage;
    if (finished) return;
    finished = true;
    if (openLine) say("");
    later(async () => {
      const id = (await options.longId(shortId)) ?? shortId;
      if (ended !== undefined) results.set(ended, id);
      progress({ stream: ` ---> ${id.slice(0, 12)}\n` });
    });
  }

  /** A whole line. False: it is the step's output. */
  function control(line: string): boolean {
    const start = /^(?:\[([0-9]+)\/[0-9]+\] )?STEP ([0-9]+)\/[0-9]+: (.*)$/.exec(line);
    if (start !== null && beginStep(Number(start[1] ?? 1), Number(start[2]), start[3] ?? "")) return true;
    if (/^(?:\[[0-9]+\/[0-9]+\] )?COMMIT(?: |$)/.test(line) && stage !== undefined && step >= stage.instructions.length) {
      committing = true;
      return true;
    }
    if (committing && (/^Successfully tagged /.test(line) || /^[0-9a-f]{64}$/.test(line))) return true;
    const cached = /^--> Using cache ([0-9a-f]{64})$/.exec(line)?.[1];
    if (cached !== undefined) {
      say(" ---> Using cache\n");
      endStep(cached);
      return true;
    }
    const done = /^(.*)--> ([0-9a-f]{11,12})$/.exec(line);
    if (done === null) return false;
    output(done[1] ?? "");
    endStep(done[2] ?? "");
    return true;
  }

  const errors = lineSplitter((line) => {
    if (/^time="[^"]*" level=/.test(line)) return;
    if (line.startsWith("Error: ")) {
      failure = line.slice("Error: ".length);
      return;
    }
    const unused = /^\[Warning\] one or more build args were not consumed: \[(.*)\]$/.exec(line)?.[1];
    if (unused !== undefined) say(`[Warning] One or more build-args [${unused}] were not consumed\n`);
    else if (line !== "" || !finished) say(`${ansi.red}${line}\n${ansi.off}`);
  });

  return {
    stdout(text) {
      const lines = (pending + text).split("\n");
      pending = lines.pop() ?? "";
      for (const line of lines) if (!control(line)) output(`${line}\n`);
      // What cannot become a line of buildah's own is shown at once: progress dots, prompts.
      if (openLine || !/^(?:[S[C-]|[0-9a-f]{1,64}$)/.test(pending)) {
        const held = /(?:-|--|-->|--> [0-9a-f]{0,12})$/.exec(pending)?.[0] ?? "";
        output(pending.slice(0, pending.length - held.length));
        pending = held;
      }
    },
    stderr: (text) => errors.push(text),
    current: () => instruction,
    error: () => failure,
    async end() {
      errors.flush();
      if (pending !== "" && !control(pending)) output(pending);
      pending = "";
      await queue;
    },
  };
}
