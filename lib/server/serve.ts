/** {@linkcode serve} and {@linkcode serveConnections}: options in, a server out. */

import { checkOptions, refuse } from "../core/checks.ts";
import { OptionError } from "../core/errors.ts";
import type { ConnectionTask, Handler } from "./handler.ts";
import { resolveServeOptions, serveOptions } from "./config.ts";
import type { AnyOptions, Hooks, ServeOptions } from "./options.ts";
import type { ParleyServer } from "./parley_server.ts";
import { Server, type Service, type Surroundings } from "./server.ts";

/** Requires the option `state` where the state has a type of its own. */
export type MadeState<State> = Record<string, unknown> extends State ? unknown
  : Required<Pick<Hooks<State>, "state">>;

/**
 * Serves TCP connections with a handler.
 *
 * @typeParam State What the option `state` makes.
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
 * await using server = serve(
 *   { hostname: "127.0.0.1", port: 0, state: () => ({ count: 0 }) },
 *   (_request, { state }) => `request ${++state.count}`,
 * );
 * await using client = await connect(server.addr);
 * console.log(new TextDecoder().decode(await client.request("hello")));
 * ```
 */
export function serve(
  handler: Handler<Record<string, unknown>, Deno.NetAddr>,
): ParleyServer<Deno.NetAddr>;
/** The same, with options: where to listen, and within which limits. */
export function serve<State = Record<string, unknown>>(
  options: ServeOptions<State, Deno.NetAddr> & MadeState<State> & {
    path?: undefined;
  },
  handler: Handler<State, Deno.NetAddr>,
): ParleyServer<Deno.NetAddr>;
/** The same, at the path of a Unix socket. */
export function serve<State = Record<string, unknown>>(
  options: ServeOptions<State, Deno.UnixAddr> & MadeState<State> & {
    path: string;
  },
  handler: Handler<State, Deno.UnixAddr>,
): ParleyServer<Deno.UnixAddr>;
/** The same, at either. */
export function serve<State = Record<string, unknown>>(
  options: ServeOptions<State> & MadeState<State>,
  handler: Handler<State>,
): ParleyServer;
// deno-lint-ignore no-explicit-any
export function serve(...args: any[]) {
  const [options, handler] = args.length === 1 ? [{}, args[0]] : args;
  return startServer(options, handler, {});
}

/** Options of `serve` that are about a request and its reply. */
const REQUEST_ONLY = [
  ...["requestTimeout", "slowRequest", "halfOpen"],
  ...["onError", "onOpen", "onClose"],
];

/**
 * Options of {@linkcode serveConnections}: those of `serve` that are not about a
 * request and its reply.
 */
export interface ConnectionsOptions<
  State = Record<string, unknown>,
  Addr = Deno.Addr,
> extends
  Omit<
    ServeOptions<State, Addr>,
    | "requestTimeout"
    | "slowRequest"
    | "halfOpen"
    | "onError"
    | "onOpen"
    | "onClose"
  > {
  /**
   * Whether connections begin without TLS though there is a certificate (false).
   * A task then begins TLS by `startTls()`, and who is refused is told why.
   */
  startTls?: boolean;
}

/**
 * Serves TCP connections with an asynchronous task for each, which reads and
 * sends as it likes. Limits, deadlines, TLS, the PROXY protocol, drain, events
 * and metrics are those of `serve`.
 *
 * - A connection ends when its task does. A task that throws is an event.
 * - `idleTimeout` counts while the task waits for a frame, `writeTimeout` while
 * the peer takes nothing. Nothing limits what the task does in between.
 * - A drain ends the iteration after the frames that have arrived. The task then
 * has until `drainTimeout` to end.
 * - Each frame that is read counts as a request, done at once.
 *
 * @param task Serves one connection.
 * @returns The running server, bound already.
 * @throws {OptionError} An option has a value that is not allowed, as for `serve`,
 * as are the other errors.
 *
 * @example
 * ```ts
 * import { connect, serveConnections } from "../mod.ts";
 *
 * await using server = serveConnections(
 *   { hostname: "127.0.0.1", port: 0 },
 *   async (connection) => {
 *     for await (const frame of connection) await connection.send(frame);
 *   },
 * );
 * await using client = await connect(server.addr);
 * console.log(new TextDecoder().decode(await client.request("hello")));
 * ```
 */
export function serveConnections(
  task: ConnectionTask<Record<string, unknown>, Deno.NetAddr>,
): ParleyServer<Deno.NetAddr>;
/** The same, with options: where to listen, and within which limits. */
export function serveConnections<State = Record<string, unknown>>(
  options: ConnectionsOptions<State, Deno.NetAddr> & MadeState<State> & {
    path?: undefined;
  },
  task: ConnectionTask<State, Deno.NetAddr>,
): ParleyServer<Deno.NetAddr>;
/** The same, at the path of a Unix socket. */
export function serveConnections<State = Record<string, unknown>>(
  options: ConnectionsOptions<State, Deno.UnixAddr> & MadeState<State> & {
    path: string;
  },
  task: ConnectionTask<State, Deno.UnixAddr>,
): ParleyServer<Deno.UnixAddr>;
/** The same, at either. */
export function serveConnections<State = Record<string, unknown>>(
  options: ConnectionsOptions<State> & MadeState<State>,
  task: ConnectionTask<State>,
): ParleyServer;
// deno-lint-ignore no-explicit-any
export function serveConnections(...args: any[]) {
  const [options, task] = args.length === 1 ? [{}, args[0]] : args;
  return startServer(taskOptions(options), { task }, {});
}

/** The options of a server with tasks: nothing limits what a task does. */
export function taskOptions(options: AnyOptions): AnyOptions {
  // The spread below would turn a number or null into an object.
  checkOptions<object>(options, { ...serveOptions, startTls: 0 });
  refuse(options, REQUEST_ONLY, "where tasks serve the connections");
  return { ...options, requestTimeout: 0 };
}

/** Starts a server, in surroundings that a test may replace. */
export function startServer(
  options: AnyOptions,
  service: Service,
  surroundings: Surroundings,
  // deno-lint-ignore no-explicit-any
): ParleyServer<any> {
  const isTask = typeof service === "object" && service && "task" in service;
  const called = isTask ? service.task : service;
  if (typeof called !== "function") {
    throw new OptionError(isTask ? "task" : "handler", called, "a function");
  }
  const more = isTask ? { startTls: "boolean" as const } : undefined;
  const config = resolveServeOptions(options, more);
  const server = new Server(config, service, options, surroundings);
  shutdownAt(options.signal, server);
  return server;
}

/** Lets a signal begin the drain of a server. */
export function shutdownAt(
  signal: AbortSignal | undefined,
  server: Pick<ParleyServer, "finished" | "shutdown">,
): void {
  if (signal === undefined) return;
  const shutdown = () => void server.shutdown("the signal");
  if (signal.aborted) return shutdown();
  signal.addEventListener("abort", shutdown, { once: true });
  server.finished.catch(() => {}).finally(() =>
    signal.removeEventListener("abort", shutdown)
  );
}
