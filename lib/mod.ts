/**
 * Parley: what `Deno.serve` is to HTTP, for plain TCP.
 *
 * {@linkcode serve} takes a handler and brings framing, backpressure, limits,
 * timeouts, events and a graceful shutdown. {@linkcode connect} is its other
 * side.
 *
 * @example
 * ```ts
 * import { connect, serve } from "./mod.ts";
 *
 * await using server = serve(
 *   { hostname: "127.0.0.1", port: 0 },
 *   (request) => `${request.length} bytes`,
 * );
 * await using client = await connect(server.addr as Deno.NetAddr);
 * console.log(new TextDecoder().decode(await client.request("hello")));
 * ```
 *
 * @module
 */

export { formatAddr, formatHostPort } from "./address.ts";
export { PROMETHEUS_TYPE, prometheusText } from "./admin/prometheus.ts";
export {
  type AdminOptions,
  type AdminServer,
  serveAdmin,
} from "./admin/server.ts";
export type { AdminSource } from "./admin/source.ts";
export {
  type Client,
  connect,
  type ConnectOptions,
  type RequestOptions,
} from "./client.ts";
export type { TlsConnectOptions } from "./dial.ts";
export {
  ClientClosedError,
  ConnectError,
  ConnectionLostError,
  EncodeError,
  FrameError,
  OptionError,
  ParleyError,
  RefusedError,
  ReplyTooLargeError,
  TimeoutError,
  TlsError,
} from "./errors.ts";
export type * from "./events.ts";
export { type FramingName, framingNames } from "./framing/mod.ts";
export type {
  ErrorHandler,
  Handler,
  Reply,
  RequestInfo,
  ServerStats,
} from "./handler.ts";
export { commands } from "./handlers/commands.ts";
export { echo } from "./handlers/echo.ts";
export { type Histogram, type Metrics, quantileOf } from "./metrics.ts";
export type { ProxyMode, ServeOptions } from "./options.ts";
export type { TlsKeyPair } from "./pem.ts";
export type { ProxyVersion } from "./proxy_protocol.ts";
export { type ParleyServer, serve, type ServerLimits } from "./server.ts";
export type { ConnectionInfo, ConnectionState } from "./session.ts";
export {
  serveThread,
  type ServeThreadOptions,
  serveThreads,
  type ServeThreadsOptions,
  type ThreadedServer,
} from "./threads/mod.ts";
export { removeStaleSocket } from "./unix.ts";
