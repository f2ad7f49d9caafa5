export { createImageStore } from "./image-store.js";
export type { ImageStoreOptions } from "./storage.js";
