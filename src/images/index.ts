export { encodePathStat, exportTar, getArchive, type PathStat, statPath } from "./archive.js";
export { ChangeKind, changes, copyUp, dirSize, type PathChange } from "./archive-changes.js";
export { type PutOptions, putArchive } from "./archive-put.js";
export { createImageStore } from "./image-store.js";
export type { ImageStoreOptions } from "./storage.js";
