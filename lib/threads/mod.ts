/**
 * Servers on several threads: `serveThreads` in the program, `serveThread` in the
 * module that its workers run.
 *
 * @module
 */

export { serveThreads } from "./serve_threads.ts";
export type { ServeThreadsOptions, ThreadedServer } from "./supervisor.ts";
export {
  serveThread,
  serveThreadConnections,
  type ServeThreadOptions,
  type ThreadTaskOptions,
} from "./thread.ts";
