/**
 * Code without any permission can still write files: an import of a package puts
 * it into Deno's cache, and so do the storages of the web. A worker could do all
 * that again. This takes it away.
 */

import module from "node:module";
import { Worker as NodeWorker } from "node:worker_threads";

/** Their methods write files, and none asks for a permission. */
const STORAGES = [
  ...["caches", "Cache", "CacheStorage"],
  ...["localStorage", "sessionStorage", "Storage"],
];

/** What may still be imported: to read a file takes a permission. */
const LOCAL = /^(node|data|blob|file):|^\.{0,2}\//;

/**
 * Takes packages, the storages of the web and workers away from all code of
 * this thread, for good. What is loaded stays, and so does a worker that runs.
 *
 * Before Deno 2.8 imports are not looked at. An executable does not need it, as
 * it has the packages that it was built with, and no way to fetch others.
 */
export function closeBackDoors(): void {
  module.registerHooks?.({
    resolve(specifier, context, next) {
      if (LOCAL.test(specifier)) return next(specifier, context);
      const message = `Cannot import ${specifier} from a handler`;
      throw new Deno.errors.NotCapable(message);
    },
  });
  for (const name of STORAGES) Reflect.deleteProperty(globalThis, name);
  for (const kind of [Worker, NodeWorker]) {
    // Other code may hold the class already, so the class itself has to refuse:
    // its constructor first calls that of its prototype.
    Object.setPrototypeOf(kind, refuseWorker);
    Object.freeze(kind);
  }
}

function refuseWorker(): never {
  throw new Deno.errors.NotCapable("Cannot start a worker from a handler");
}
