/**
 * Servers with several threads.
 *
 * @module
 */

export { serveThreads } from "./serve_threads.ts";
export type { ServeThreadsOptions, ThreadedServer } from "./supervisor.ts";
export { serveThread, type ServeThreadOptions } from "./thread.ts";
