import type { Driver } from "./contract.js";

/** Containers on "none" have a namespace with nothing but lo, which the sandbox brings. */
export const nullDriver: Driver = { networkObjects: () => [], endpointObjects: () => [] };
