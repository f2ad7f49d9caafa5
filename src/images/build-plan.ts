import type { Dockerfile, Instruction, Stage } from "./dockerfile.js";

export interface BuildPlan {
  readonly dockerfile: Dockerfile;
  /** Stages built, the last one included. */
  readonly stages: readonly Stage[];
  /** The number that Docker gives to each instruction, from 1. */
  readonly numberOf: ReadonlyMap<Instruction, number>;
  readonly total: number;
}

/** `labels` are those of the request: the last step, as if the file ended with a LABEL. */
export function planBuild(dockerfile: Dockerfile, lastStage: number, labels: Readonly<Record<string, string>>): BuildPlan {
  const stages = dockerfile.stages.slice(0, lastStage + 1).map((stage, i) => {
    if (i !== lastStage || Object.keys(labels).length === 0) return stage;
    return { ...stage, instructions: [...stage.instructions, labelInstruction(labels)] };
  });
  const all = [...dockerfile.globals, ...stages.flatMap((stage) => stage.instructions)];
  return { dockerfile, stages, numberOf: new Map(all.map((instruction, i) => [instruction, i + 1])), total: all.length };
}

function labelInstruction(labels: Readonly<Record<string, string>>): Instruction {
  const quoted = (text: string) => `'${text.replaceAll("'", `'"'"'`)}'`;
  const rest = Object.entries(labels)
    .map(([key, value]) => `${/^[\w.-]+$/.test(key) ? key : quoted(key)}=${/^[\w./:-]+$/.test(value) ? value : quoted(value)}`)
    .join(" ");
  return { keyword: "LABEL", rest, original: `LABEL ${rest}`, line: 0, heredocs: [] };
}
