/** {@linkcode serveThreads}: one server on several threads. */

import { checkNumber } from "../core/checks.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import { OptionError } from "../core/errors.ts";
import { listen } from "../net/listen.ts";
import { resolveServeOptions } from "../server/config.ts";
import { shutdownAt } from "../server/serve.ts";
import {
  type ServeThreadsOptions,
  Supervisor,
  type ThreadedServer,
} from "./supervisor.ts";

/**
 * Serves TCP connections on several threads. It needs Linux, whose kernel
 * spreads connections over listeners of one port, `"unstable": ["net",
 * "worker-options"]` in `deno.json`, and, under `deno run`, the permission to
 * read the worker's modules.
 *
 * Limits hold for all threads together. Events of all threads come to the
 * listeners here; errors in them are copies.
 *
 * @param options As for `serve`, and how many threads run what.
 * @returns The running server, bound already.
 * @throws {OptionError} An option has a value that is not allowed, or the
 * system cannot do it. Nothing has been bound then.
 * @throws {Deno.errors.AddrInUse} The port is taken.
 *
 * @example
 * ```ts ignore
 * import { serveThreads } from "@parley/parley/threads";
 *
 * const server = await serveThreads({
 *   port: 7000,
 *   threads: 4,
 *   worker: new URL("./worker.ts", import.meta.url),
 * });
 * await server.finished;
 * ```
 */
export function serveThreads(
  options: ServeThreadsOptions,
): Promise<ThreadedServer> {
  return startThreads(options, systemClock);
}

/** What `serveThreads` does, with a clock that a test may bring. */
export async function startThreads(
  options: ServeThreadsOptions,
  clock: Clock,
): Promise<ThreadedServer> {
  const { threads = navigator.hardwareConcurrency } = options;
  checkNumber("threads", threads);
  const { os } = Deno.build;
  if (os !== "linux") {
    const one = `1 on ${os}: only Linux spreads connections over listeners`;
    throw new OptionError("threads", threads, one);
  }
  if (options.path !== undefined) {
    throw new OptionError("path", options.path, "no path beside threads");
  }
  const config = resolveServeOptions(options, {
    ...{ worker: 0, threads: 0, name: 0, permissions: 0, confine: 0 },
    startTls: 0,
  });
  // Listeners that share a port would also share it with another server that
  // has it already.
  if (config.port !== 0) listen({ ...config, reusePort: false }).close();
  const server = new Supervisor(options, config, threads, clock);
  await server.start();
  shutdownAt(options.signal, server);
  return server;
}
