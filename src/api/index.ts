export { type ApiServer, createApiServer } from "./server.js";
export type { ApiOptions } from "./types.js";
export { API_VERSION, MIN_API_VERSION } from "./version.js";
