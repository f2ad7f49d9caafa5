export type { EngineOptions } from "./context.js";
export type * from "./contract.js";
export { type EngineParts, startEngine } from "./engine.js";
