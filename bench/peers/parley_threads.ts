/**
 * A handler that computes, on threads: `parley_threads.ts COUNT`.
 *
 * Lines, one event loop per thread, each with a listener of its own.
 *
 * @module
 */

import { serveThreads } from "../../lib/threads/serve_threads.ts";

const server = await serveThreads({
  hostname: "127.0.0.1",
  port: 0,
  threads: Number(Deno.args[0]),
  worker: new URL("./parley_threads_worker.ts", import.meta.url),
});
console.log(server.addr.port);
