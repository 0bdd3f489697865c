/** The options of {@linkcode serve}, and their defaults. */

import type {
  CloseReason,
  EventListeners,
  RejectReason,
} from "../events/events.ts";
import type { Framing, FramingName } from "../framing/mod.ts";
import { type ProxyVersion, proxyVersions } from "../net/proxy_protocol.ts";
import type { TlsOptions } from "../tls/settings.ts";
import type {
  Payload,
  PeerConnection,
  ReplyLater,
  RequestInfo,
} from "./handler.ts";

/** Turns what a handler threw into a reply. */
export type ErrorHandler<
  State = Record<string, unknown>,
  Addr = Deno.Addr,
> = (
  error: unknown,
  info: RequestInfo<State, Addr>,
  request: Uint8Array<ArrayBuffer>,
) => ReplyLater;

/** The hooks of {@linkcode serve}. As functions, they cannot go to a thread. */
export interface Hooks<State = Record<string, unknown>, Addr = Deno.Addr> {
  /** Makes a connection's `info.state`, when it is first read. */
  state?: (info: PeerConnection<unknown, Addr>) => State;
  /**
   * Called when a connection is to be served. Its reply goes out before all
   * others, as a protocol's greeting, such as `220 ready`. If it throws, the
   * connection is closed as `error`, and told so as by `onError`.
   */
  onOpen?: (info: RequestInfo<State, Addr>) => ReplyLater;
  /** Called once for each such connection when it has ended. */
  onClose?: (
    info: RequestInfo<State, Addr>,
    reason: CloseReason,
  ) => void | Promise<void>;
  /**
   * Turns what the handler threw into a reply; also a {@linkcode TimeoutError}
   * where it took too long, and a {@linkcode ReplyTooLargeError}. Without it the
   * peer is told `ERR internal error`, `ERR request timeout: …` or `ERR reply too
   * large: …`; the error itself goes to the events only.
   */
  onError?: ErrorHandler<State, Addr>;
  /**
   * Tells a client why it is turned away, in the protocol's own words, or
   * nothing, within 2 s. Without this hook, or if it throws, it is told `text`, which begins
   * with `ERR `.
   */
  onRefuse?: (
    reason: RejectReason,
    text: string,
  ) => Payload | undefined | Promise<Payload | undefined>;
}

/**
 * Options of {@linkcode serve}. An option that `Deno.serve` also has is named the
 * same. Times are in milliseconds, sizes in bytes, and 0 is no limit. Defaults
 * are in brackets.
 */
export interface ServeOptions<
  State = Record<string, unknown>,
  Addr = Deno.Addr,
> extends TlsOptions, Hooks<State, Addr> {
  /** The address to listen on (`0.0.0.0`). */
  hostname?: string;
  /** The port to listen on (8080); 0 lets the system pick one. */
  port?: number;
  /**
   * The path of a Unix socket to listen on, in place of an address and a port.
   * The socket must be new: {@linkcode removeStaleSocket} clears the way. Its
   * file is removed when the listener is closed, if the program may still write
   * and the file is still the same one.
   *
   * Options about addresses are refused beside it, and so is TLS. Deno sets the
   * kernel's queue to 1024; more clients are refused until it is shorter.
   */
  path?: string;
  /**
   * The permissions of the Unix socket's file (`0o600`): who may write to it may
   * connect. They are set before anybody can connect.
   */
  unixMode?: number;
  /**
   * How many connections may wait to be accepted (4096). The kernel caps it at
   * its `net.core.somaxconn`.
   */
  tcpBacklog?: number;
  /**
   * Whether other listeners may share the port (false); Linux spreads the
   * connections over them. Needs `"unstable": ["net"]` in `deno.json`.
   */
  reusePort?: boolean;
  /** Begins the drain, as `shutdown()` does. */
  signal?: AbortSignal;
  /** How requests and replies are told apart (`line`). */
  framing?: FramingName | Framing;
  /** The maximum payload of a request (64 KiB). */
  maxFrame?: number;
  /**
   * The maximum payload of a reply (16 MiB). A handler's reply over it is not
   * sent: the peer is told `ERR reply too large: …` in its place.
   */
  maxReply?: number;
  /** The most connections open at once (10,000). Others are told `ERR busy: …`. */
  maxConnections?: number;
  /** The most connections open at once from one address (0). */
  maxConnectionsPerIp?: number;
  /**
   * The rate of connections from one address (`"0"`, for none), such as `10/s`,
   * `100/m` or `10/s:50`, where 50 may come at once; see {@linkcode rateLimit}.
   * A connection over the rate is told `ERR busy: …`.
   */
  maxConnectionRate?: string;
  /**
   * The rate of requests from one address (`"0"`). A request over the rate is
   * answered `ERR busy: …` and not handled; its connection goes on.
   */
  maxRequestRate?: string;
  /**
   * How many bits of an IPv6 address the limit and the rates above count by
   * (64), as one client has 2^64 addresses or more. IPv4 counts as a whole.
   */
  ipPrefix?: number;
  /**
   * The most memory that all connections together may hold in requests that are
   * not handled and replies that are not taken (256 MiB). Near the limit, the
   * connections that hold most are not read from; over it, they are closed, and
   * new ones wait or are told `ERR busy: …`.
   */
  maxMemory?: number;
  /**
   * The most bytes that may wait for a peer when `send` or `broadcast` sends it a
   * frame (1 MiB). With more, its connection is closed as `slow_consumer`. A
   * frame may be larger if nothing waits before it.
   */
  maxBuffered?: number;
  /**
   * Whether a client that has finished sending still gets the reply that its
   * handler is working on (true). If not, the handler's `signal` aborts, and the
   * connection ends.
   */
  halfOpen?: boolean;
  /**
   * Who may connect: addresses and CIDR blocks, separated by commas. Everybody
   * may if it is left out. Others are told `ERR denied: …`.
   */
  allow?: string;
  /** Who may not connect, also if `allow` names them; written like `allow`. */
  deny?: string;
  /**
   * Which versions of the PROXY protocol trusted peers speak (`off`). Their
   * header comes first on every connection, and its address counts as the
   * client's everywhere: in `info`, events and limits.
   */
  proxyProtocol?: ProxyMode;
  /**
   * The peers whose header is believed, written like `allow`; nobody else
   * may send one. Required unless `proxyProtocol` is off.
   */
  proxyTrust?: string;
  /**
   * Whether a connection that speaks HTTP is closed, as `http_request` (false):
   * its first line ends in ` HTTP/1.x`, or its first or second line begins with
   * `Host:`. A web page can send such lines, with more of its own, to any address
   * that its reader's machine reaches. Framings without lines always refuse HTTP
   * by its first bytes.
   */
  httpGuard?: boolean;
  /** How long to wait for a whole request (5 minutes). */
  idleTimeout?: number;
  /** How long a handler may take (30 s). */
  requestTimeout?: number;
  /** How long a peer may take none of the bytes that it is sent (30 s). */
  writeTimeout?: number;
  /** From which duration on a request is a `slow_request` event (0: never). */
  slowRequest?: number;
  /**
   * How long `shutdown()` lets connections finish before it forces them (10 s);
   * with 0, for as long as they take.
   */
  drainTimeout?: number;
  /**
   * How long `shutdown()` still accepts at first (0), while the server counts as
   * not ready: as long as a load balancer takes to notice.
   */
  preDrainDelay?: number;
  /** Called once the server is bound, with the real address. */
  onListen?: (addr: Addr) => void;
  /** What to call for which event. */
  events?: EventListeners;
}

/** Options with hooks for any state and any addresses. */
// deno-lint-ignore no-explicit-any
export type AnyOptions = ServeOptions<any, any> & { startTls?: boolean };

/** The values of the option `proxyProtocol`. */
export type ProxyMode = "off" | ProxyVersion;

/** The modes, in the order of the documentation. */
export const proxyModes: readonly ProxyMode[] = ["off", ...proxyVersions];

/** The defaults. */
export const defaults = Object.freeze(
  {
    hostname: "0.0.0.0",
    port: 8080,
    unixMode: 0o600,
    tcpBacklog: 4096,
    framing: "line",
    maxFrame: 64 * 1024,
    maxReply: 16 * 1024 * 1024,
    maxConnections: 10_000,
    maxConnectionsPerIp: 0,
    maxConnectionRate: "0",
    maxRequestRate: "0",
    ipPrefix: 64,
    maxMemory: 256 * 1024 * 1024,
    maxBuffered: 1024 * 1024,
    proxyProtocol: "off",
    idleTimeout: 5 * 60_000,
    requestTimeout: 30_000,
    writeTimeout: 30_000,
    slowRequest: 0,
    drainTimeout: 10_000,
    preDrainDelay: 0,
  } satisfies ServeOptions,
);
