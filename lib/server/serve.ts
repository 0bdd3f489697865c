/** {@linkcode serve}: options in, a running server out. */

import { OptionError } from "../core/errors.ts";
import type { Handler } from "./handler.ts";
import { resolveServeOptions, type ServeOptions } from "./options.ts";
import type { ParleyServer } from "./parley_server.ts";
import { Server, type Surroundings } from "./server.ts";

/**
 * Serves TCP connections with a handler.
 *
 * @param handler Answers one request.
 * @returns The running server, bound already.
 * @throws {Deno.errors.AddrInUse} The port is taken.
 *
 * @example
 * ```ts
 * import { connect, serve } from "../mod.ts";
 *
 * await using server = serve({ hostname: "127.0.0.1", port: 0 }, (request) => request);
 * await using client = await connect(server.addr as Deno.NetAddr);
 * console.log(new TextDecoder().decode(await client.request("hello")));
 * ```
 */
export function serve<State = Record<string, unknown>>(
  handler: Handler<State>,
): ParleyServer;
/**
 * Serves TCP connections with a handler and options.
 *
 * @param options Where to listen, and within which limits.
 * @param handler Answers one request.
 * @returns The running server, bound already.
 * @throws {OptionError} An option has a value that is not allowed. Nothing has
 * been bound then.
 * @throws {Deno.errors.AddrInUse} The port or the path is taken.
 * @throws {Deno.errors.AddrNotAvailable} The address is not this machine's.
 * @throws {Deno.errors.NotFound} There is no folder for the path.
 */
export function serve<State = Record<string, unknown>>(
  options: ServeOptions<State>,
  handler: Handler<State>,
): ParleyServer;
export function serve<State>(
  ...args: [Handler<State>] | [ServeOptions<State>, Handler<State>]
): ParleyServer {
  const [options, handler] = args.length === 1 ? [{}, args[0]] : args;
  return startServer(options, handler, {});
}

/** What `serve` does, with surroundings that a test may replace. */
export function startServer<State>(
  options: ServeOptions<State>,
  handler: Handler<State>,
  surroundings: Surroundings,
): ParleyServer {
  if (typeof handler !== "function") {
    throw new OptionError("handler", handler, "a function");
  }
  const config = resolveServeOptions(options);
  const server = new Server(
    config,
    // A connection's state starts as an empty record, whatever the handler
    // makes of it; from here on nobody but the handler looks at it.
    handler as Handler,
    options as ServeOptions,
    surroundings,
  );
  shutdownAt(options.signal, server);
  return server;
}

/** Has a signal begin a server's drain. */
export function shutdownAt(
  signal: AbortSignal | undefined,
  server: Pick<ParleyServer, "finished" | "shutdown">,
): void {
  if (signal === undefined) return;
  const shutdown = () => void server.shutdown();
  if (signal.aborted) return shutdown();
  signal.addEventListener("abort", shutdown, { once: true });
  server.finished.catch(() => {}).finally(() =>
    signal.removeEventListener("abort", shutdown)
  );
}
