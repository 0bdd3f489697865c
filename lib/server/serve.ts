/** {@linkcode serve}: options in, a running server out. */

import { OptionError } from "../core/errors.ts";
import type { Handler, Service } from "./handler.ts";
import type { Hooks } from "./hooks.ts";
import { resolveServeOptions } from "./config.ts";
import type { AnyOptions, ServeOptions } from "./options.ts";
import type { ParleyServer } from "./parley_server.ts";
import { Server, type Surroundings } from "./server.ts";

/**
 * Serves TCP connections with a handler.
 *
 * @param handler Answers one request.
 * @returns The running server, bound already.
 * @throws {OptionError} An option has a value that is not allowed. Nothing has
 * been bound then.
 * @throws {Deno.errors.AddrInUse} The port or the path is taken.
 * @throws {Deno.errors.AddrNotAvailable} The address is not this machine's.
 * @throws {Deno.errors.NotFound} There is no folder for the path.
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
export function serve(handler: Handler): ParleyServer;
/**
 * The same, with a handler that keeps a state of its own for each connection.
 *
 * @typeParam State What the option `state` makes.
 *
 * @example
 * ```ts
 * import { connect, serve } from "../mod.ts";
 *
 * await using server = serve(
 *   { hostname: "127.0.0.1", port: 0, state: () => ({ count: 0 }) },
 *   (_request, { state }) => `request ${++state.count}`,
 * );
 * await using client = await connect(server.addr as Deno.NetAddr);
 * console.log(new TextDecoder().decode(await client.request("hello")));
 * ```
 */
export function serve<State>(
  options: ServeOptions<State> & Required<Pick<Hooks<State>, "state">>,
  handler: Handler<State>,
): ParleyServer;
/** The same, with options: where to listen, and within which limits. */
export function serve(options: ServeOptions, handler: Handler): ParleyServer;
export function serve(
  ...args: [Handler] | [AnyOptions, Handler]
): ParleyServer {
  const [options, handler] = args.length === 1 ? [{}, args[0]] : args;
  return startServer(options, handler, {});
}

/** What `serve` does, with surroundings that a test may replace. */
export function startServer(
  options: AnyOptions,
  service: Service,
  surroundings: Surroundings,
): ParleyServer {
  const called = typeof service === "object" ? service.task : service;
  if (typeof called !== "function") {
    throw new OptionError("handler", called, "a function");
  }
  const more: Record<string, 0> = service === called ? {} : { startTls: 0 };
  const config = resolveServeOptions(options, more);
  const server = new Server(config, service, options, surroundings);
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
