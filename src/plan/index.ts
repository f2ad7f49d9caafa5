export { differs, plan } from "./diff.js";
export { explain } from "./explain.js";
export * from "./objects.js";
export type * from "./port.js";
export { SimulatedKernel } from "./simulate.js";
