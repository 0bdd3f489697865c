/**
 * Servers with several threads.
 *
 * @module
 */

export {
  serveThreads,
  type ServeThreadsOptions,
  type ThreadedServer,
} from "./supervisor.ts";
export { serveThread, type ServeThreadOptions } from "./thread.ts";
