/**
 * What code without any permission can still do, and is kept from: importing a
 * package writes it to Deno's cache, as the storages of the web do; and a worker
 * has all of it anew.
 */

import module from "node:module";
import { Worker as NodeWorker } from "node:worker_threads";

/** Their methods write files, and none asks for a permission. */
const STORAGES = [
  ...["caches", "Cache", "CacheStorage"],
  ...["localStorage", "sessionStorage", "Storage"],
];

/** What may be imported still: files, which it takes a permission to read. */
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
    // The class is known by other names too, so it has to refuse by itself: the
    // constructor of a class begins with that of its prototype.
    Object.setPrototypeOf(kind, refuseWorker);
    Object.freeze(kind);
  }
}

function refuseWorker(): never {
  throw new Deno.errors.NotCapable("Cannot start a worker from a handler");
}
