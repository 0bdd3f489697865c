/**
 * Servers on several threads: `serveThreads` in the program, `serveThread` in the
 * module that its workers run.
 *
 * @module
 */

export {
  serveThreads,
  type ServeThreadsOptions,
  type ThreadedServer,
} from "./serve_threads.ts";
export {
  serveThread,
  serveThreadConnections,
  type ServeThreadOptions,
  type ThreadTaskOptions,
} from "./thread.ts";
