import type { Driver } from "./contract.js";

/** Containers on "host" use the host's own namespace: there is nothing to build. */
export const hostDriver: Driver = { networkObjects: () => [], endpointObjects: () => [] };
