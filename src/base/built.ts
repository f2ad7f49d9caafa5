/**
 * Where compiled files are, seen from a module's `import.meta.url`: the module may be a source (tests), a compiled file (dist/) or part of the bundle
 * (dist/bundle/, which has the same folders for what is started by its file name).
 */
const HERE = /^(.*)\/(src|dist\/bundle|dist)\/(?!.*\/(?:src|dist)\/)/;

/** URL of a worker thread's file, as "kernel/worker.js". */
export function builtUrl(from: string, path: string): URL {
  const [, root, kind] = HERE.exec(from) ?? [];
  return new URL(`${root}/${kind === "dist/bundle" ? kind : "dist"}/${path}`);
}

/** URL of a file of the checkout, as "package.json". */
export function checkoutUrl(from: string, path: string): URL {
  const [, root] = HERE.exec(from) ?? [];
  return new URL(`${root}/${path}`);
}
