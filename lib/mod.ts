/**
 * Parley: what `Deno.serve` is to HTTP, for plain TCP.
 *
 * {@linkcode serve} takes a handler and brings framing, backpressure, limits,
 * timeouts, events and a graceful shutdown. {@linkcode connect} is its other
 * side. What else there is, and what only some programs need, has entries of its
 * own: `/admin`, `/threads`, `/log`, `/otel` and `/testing`.
 *
 * @module
 */

export type * from "./client/api.ts";
export {
  connect,
  type ConnectOptions,
  createPool,
  type PoolOptions,
} from "./client/connect.ts";
export type { TlsConnectOptions } from "./client/dial.ts";
export { formatAddr, formatHostPort } from "./core/address.ts";
export * from "./core/errors.ts";
export { type RateLimit, rateLimit } from "./core/rate_limit.ts";
export type { PeerCertificate, TlsInfo } from "./core/tls_info.ts";
export type * from "./events/events.ts";
export {
  type Histogram,
  type Metrics,
  quantileOf,
  type ServerStats,
} from "./events/metrics.ts";
export { Codec, type Framing } from "./framing/codec.ts";
export { delimiter } from "./framing/delimiter.ts";
export { fixed, length, type LengthOptions, varint } from "./framing/length.ts";
export { type FramingName, framingNames } from "./framing/mod.ts";
export {
  type Command,
  commands,
  commandTable,
  UsageError,
} from "./handlers/commands.ts";
export { echo } from "./handlers/mod.ts";
export type { ProxyVersion } from "./net/proxy_protocol.ts";
export { removeStaleSocket } from "./net/unix.ts";
export { broadcast } from "./server/broadcast.ts";
export type * from "./server/handler.ts";
export type {
  ErrorHandler,
  Hooks,
  ProxyMode,
  ServeOptions,
} from "./server/options.ts";
export type * from "./server/parley_server.ts";
export {
  type ConnectionsOptions,
  type MadeState,
  serve,
  serveConnections,
} from "./server/serve.ts";
export type { TlsStatus } from "./tls/identity.ts";
export type { TlsKeyPair } from "./tls/pem.ts";
export type {
  ClientAuth,
  TlsFiles,
  TlsOptions,
  TlsVersion,
} from "./tls/settings.ts";
