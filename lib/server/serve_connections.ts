/** {@linkcode serveConnections}: a task for each connection. */

import { OptionError } from "../core/errors.ts";
import type { ConnectionTask } from "./handler.ts";
import type { Hooks } from "./hooks.ts";
import type { AnyOptions, ServeOptions } from "./options.ts";
import type { ParleyServer } from "./parley_server.ts";
import { startServer } from "./serve.ts";

/** Options of `serve` that speak of a request and its reply. */
const REQUEST_ONLY = [
  ...["requestTimeout", "halfOpen", "onError", "onOpen", "onClose"] as const,
];

/**
 * Options of {@linkcode serveConnections}: those of `serve` that do not speak of
 * a request and its reply.
 *
 * @typeParam State What is kept in `connection.state`.
 */
export interface ConnectionsOptions<State = Record<string, unknown>>
  extends
    Omit<
      ServeOptions<State>,
      "requestTimeout" | "halfOpen" | "onError" | "onOpen" | "onClose"
    > {
  /**
   * Whether connections begin without TLS, though there is a certificate, and a
   * task begins it by `startTls()`.
   *
   * @default {false}
   */
  startTls?: boolean;
}

/**
 * Serves TCP connections with an asynchronous task for each, which reads and
 * sends as it likes. It is the same kind of server as that of `serve`: limits,
 * deadlines, TLS, the PROXY protocol, drain, events and metrics hold.
 *
 * - A connection ends when its task does. A task that throws is an event.
 * - `idleTimeout` counts while the task waits for a frame, `writeTimeout` while
 * the peer takes nothing. Nothing limits what the task does in between.
 * - A drain ends the iteration once what has come was given, and the task has
 * until `drainTimeout` to end.
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
 * await using client = await connect(server.addr as Deno.NetAddr);
 * console.log(new TextDecoder().decode(await client.request("hello")));
 * ```
 */
export function serveConnections(task: ConnectionTask): ParleyServer;
/**
 * The same, with a task that keeps a state of its own for each connection.
 *
 * @typeParam State What the option `state` makes.
 */
export function serveConnections<State>(
  options: ConnectionsOptions<State> & Required<Pick<Hooks<State>, "state">>,
  task: ConnectionTask<State>,
): ParleyServer;
/** The same, with options: where to listen, and within which limits. */
export function serveConnections(
  options: ConnectionsOptions,
  task: ConnectionTask,
): ParleyServer;
export function serveConnections(
  // deno-lint-ignore no-explicit-any
  ...args: [ConnectionTask] | [ConnectionsOptions<any>, ConnectionTask<any>]
): ParleyServer {
  const [options, task] = args.length === 1 ? [{}, args[0]] : args;
  return startServer(taskOptions(options), { task }, {});
}

/** The options, without deadlines for what a task does. */
export function taskOptions(options: AnyOptions): AnyOptions {
  for (const name of REQUEST_ONLY) {
    if (options[name] === undefined) continue;
    const expected = "no such option where tasks serve the connections";
    throw new OptionError(name, options[name], expected);
  }
  return { ...options, requestTimeout: 0 };
}
