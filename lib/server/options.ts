/**
 * The options of {@linkcode serve}: their defaults, what is allowed, and the
 * frozen configuration they become. They are looked at once, before anything
 * is bound.
 */

import {
  checkHostname,
  checkNumber,
  checkOneOf,
  ranges,
  refuseBesidePath,
  refuseUnknown,
} from "../core/checks.ts";
import {
  CIDR_FORM,
  CidrError,
  type CidrList,
  parseCidrList,
} from "../core/cidr.ts";
import { OptionError } from "../core/errors.ts";
import { parseRate, type Rate, RATE_FORM } from "../core/units.ts";
import type { EventListeners } from "../events/events.ts";
import { type Framing, type FramingName, framingOf } from "../framing/mod.ts";
import type { ListenPlace } from "../net/listen.ts";
import { type ProxyVersion, proxyVersions } from "../net/proxy_protocol/mod.ts";
import { isListenPath, LISTEN_PATH_FORM, type UnixPlace } from "../net/unix.ts";
import {
  checkTls,
  type TlsOptions,
  type TlsSettings,
} from "../tls/settings.ts";
import type { ErrorHandler } from "./handler.ts";

/**
 * Options of {@linkcode serve}. Those that `Deno.serve` has too have its names.
 *
 * @typeParam State What the handler keeps in `info.state`.
 */
export interface ServeOptions<State = Record<string, unknown>>
  extends TlsOptions {
  /**
   * The address to listen on.
   *
   * @default {"0.0.0.0"}
   */
  hostname?: string;
  /**
   * The port to listen on; 0 lets the system pick one.
   *
   * @default {8080}
   */
  port?: number;
  /**
   * The path of a Unix socket to listen on, in place of an address and a port.
   * The socket must be new: {@linkcode removeStaleSocket} clears the way. Its
   * file is removed when the listener is closed, if the program may still write
   * and the file is still the same one.
   *
   * What goes by addresses is refused beside it: `hostname`, `port`,
   * `tcpBacklog`, `reusePort`, `maxConnectionsPerIp`, the rates, `ipPrefix`,
   * `allow`, `deny` and the PROXY protocol. The kernel's queue is Deno's 1024;
   * clients beyond that are refused until it is shorter.
   */
  path?: string;
  /**
   * The permissions of the Unix socket's file: whoever may write to it may
   * connect. It has them before anybody can.
   *
   * @default {0o600}
   */
  unixMode?: number;
  /**
   * How many connections may wait to be accepted. The kernel caps it at its
   * `net.core.somaxconn`.
   *
   * @default {4096}
   */
  tcpBacklog?: number;
  /**
   * Whether other listeners may share the port; Linux spreads the connections
   * over them. Needs `"unstable": ["net"]` in `deno.json`.
   *
   * @default {false}
   */
  reusePort?: boolean;
  /** Begins the drain, as `shutdown()` does. */
  signal?: AbortSignal;
  /**
   * How requests and replies are told apart.
   *
   * @default {"line"}
   */
  framing?: FramingName;
  /**
   * The maximum payload of a request in bytes.
   *
   * @default {65536}
   */
  maxFrame?: number;
  /**
   * The maximum payload of a reply in bytes. A handler's reply over it is not
   * sent: the peer is told `ERR reply too large: …` in its place.
   *
   * @default {16777216}
   */
  maxReply?: number;
  /**
   * The most connections open at once. One more is told `ERR busy: …`.
   * 0 turns the limit off.
   *
   * @default {10000}
   */
  maxConnections?: number;
  /**
   * The most connections open at once from one address. One more is told
   * `ERR busy: …`. 0 turns the limit off.
   *
   * @default {0}
   */
  maxConnectionsPerIp?: number;
  /**
   * The rate of connections from one address, such as `10/s`, `100/m` or
   * `10/s:50`, where 50 may come at once. One more is told `ERR busy: …`. See
   * {@linkcode rateLimit}; `0` is no limit, as for the next.
   *
   * @default {"0"}
   */
  maxConnectionRate?: string;
  /**
   * The rate of requests from one address. One more is answered `ERR busy: …`,
   * not handled, and its connection goes on.
   *
   * @default {"0"}
   */
  maxRequestRate?: string;
  /**
   * How many bits of an IPv6 address make it one address, for the limit and the
   * rates above: a client has a network of 2^64 addresses or more. IPv4 is whole.
   *
   * @default {64}
   */
  ipPrefix?: number;
  /**
   * The most memory that all connections hold with bytes that are not handled
   * and replies that are not taken, in bytes. Near it, those that hold most are
   * read from no more; over it, those that hold most are closed, and newcomers
   * wait, or are told `ERR busy: …`. 0 turns the limit off.
   *
   * @default {268435456}
   */
  maxMemory?: number;
  /**
   * Who may connect: addresses and CIDR blocks, separated by commas. Everybody
   * may if it is left out. Others are told `ERR denied: …`.
   */
  allow?: string;
  /** Who may not connect, even if `allow` has them; written like `allow`. */
  deny?: string;
  /**
   * Which versions of the PROXY protocol trusted peers speak. Their header
   * comes first on every connection, and its address counts as the client's
   * everywhere: in `info`, events and limits.
   *
   * @default {"off"}
   */
  proxyProtocol?: ProxyMode;
  /**
   * The peers whose header is believed, written like `allow`; nobody else
   * may send one. Required unless `proxyProtocol` is off.
   */
  proxyTrust?: string;
  /**
   * Whether a connection is closed, as `http_request`, whose first line ends in
   * ` HTTP/1.x`, or whose first or second begins with `Host:`: a web page can
   * send lines of its own so, to any address that its reader's machine reaches.
   * The other framings refuse HTTP by its first bytes in any case.
   *
   * @default {false}
   */
  httpGuard?: boolean;
  /**
   * How long a connection may be without a whole request, in milliseconds.
   * 0 turns the limit off, as it does for the timeouts below.
   *
   * @default {300000}
   */
  idleTimeout?: number;
  /**
   * How long a handler may take, in milliseconds.
   *
   * @default {30000}
   */
  requestTimeout?: number;
  /**
   * How long a peer may take nothing of what it is sent, in milliseconds.
   *
   * @default {30000}
   */
  writeTimeout?: number;
  /**
   * How long `shutdown()` lets connections finish before it forces them, in
   * milliseconds. With 0 it waits for as long as they take.
   *
   * @default {10000}
   */
  drainTimeout?: number;
  /**
   * How long `shutdown()` goes on accepting at first, while the server counts
   * as not ready, in milliseconds: the time that a load balancer takes to
   * notice.
   *
   * @default {0}
   */
  preDrainDelay?: number;
  /** Called once the server is bound, with the real address. */
  onListen?: (addr: Deno.Addr) => void;
  /**
   * Turns what the handler threw into a reply. Without it the peer is told
   * `ERR internal error`, or `ERR reply too large: …`; the error itself goes to
   * the events only.
   */
  onError?: ErrorHandler<State>;
  /** What to call for which event. */
  events?: EventListeners;
}

/** What `proxyProtocol` takes. */
export type ProxyMode = "off" | ProxyVersion;

/** The modes, in the order the documentation has them. */
export const proxyModes: readonly ProxyMode[] = ["off", ...proxyVersions];

/** Whose PROXY header is believed, and in which versions. */
export interface ProxyTrust {
  readonly version: ProxyVersion;
  readonly trusted: CidrList;
}

/** The options that are numbers. */
type NumberOption = Exclude<keyof typeof ranges, "timeout" | "threads">;

/** The options, complete and checked. */
export interface ServeConfig
  extends ListenPlace, Readonly<Record<NumberOption, number>> {
  readonly framing: Framing;
  /** Undefined where nothing limits it, as the next. */
  readonly maxConnectionRate: Rate | undefined;
  readonly maxRequestRate: Rate | undefined;
  readonly httpGuard: boolean;
  readonly allow: CidrList | undefined;
  readonly deny: CidrList | undefined;
  /** Undefined where no peer is believed. */
  readonly proxy: ProxyTrust | undefined;
  /** Undefined where the server speaks no TLS. */
  readonly tls: TlsSettings | undefined;
}

/** What stands where an option is left out. */
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
    proxyProtocol: "off",
    idleTimeout: 5 * 60_000,
    requestTimeout: 30_000,
    writeTimeout: 30_000,
    drainTimeout: 10_000,
    preDrainDelay: 0,
  } satisfies ServeOptions,
);

/** Every option. */
export const serveOptions: Readonly<Record<keyof ServeOptions, 0>> = {
  ...{ hostname: 0, port: 0, path: 0, unixMode: 0, tcpBacklog: 0 },
  ...{ reusePort: 0, signal: 0, framing: 0, maxFrame: 0, maxReply: 0 },
  ...{ maxConnections: 0, maxConnectionsPerIp: 0, maxConnectionRate: 0 },
  ...{ maxRequestRate: 0, ipPrefix: 0, maxMemory: 0, httpGuard: 0 },
  ...{ allow: 0, deny: 0, proxyProtocol: 0, proxyTrust: 0, cert: 0, key: 0 },
  ...{ clientCa: 0, clientAuth: 0, tlsMinVersion: 0, alpnProtocols: 0 },
  ...{ idleTimeout: 0, requestTimeout: 0, writeTimeout: 0 },
  ...{ drainTimeout: 0, preDrainDelay: 0 },
  ...{ onListen: 0, onError: 0, events: 0 },
};

/**
 * Checks the options and fills in the defaults; `more` has the names of options
 * that somebody else looks at.
 *
 * @throws {OptionError} A value is not allowed.
 */
export function resolveServeOptions<State>(
  options: ServeOptions<State>,
  more: Readonly<Record<string, 0>> = {},
): ServeConfig {
  refuseUnknown(options, { ...serveOptions, ...more });
  return Object.freeze({
    ...numbersOf(options),
    hostname: checkHostname(options.hostname ?? defaults.hostname),
    framing: framingOf(options.framing ?? defaults.framing),
    unix: unixPlace(options),
    reusePort: options.reusePort ?? false,
    maxConnectionRate: rate("maxConnectionRate", options.maxConnectionRate),
    maxRequestRate: rate("maxRequestRate", options.maxRequestRate),
    httpGuard: options.httpGuard ?? false,
    allow: cidrs("allow", options.allow),
    deny: cidrs("deny", options.deny),
    proxy: proxyTrust(options),
    tls: checkTls(options),
  });
}

/**
 * The options that mean nothing beside `path`, as a Unix socket's clients have
 * no address and Deno sets its queue.
 */
export const TCP_ONLY: readonly (keyof ServeOptions)[] = [
  ...["hostname", "port", "tcpBacklog", "reusePort", "ipPrefix"] as const,
  ...["maxConnectionsPerIp", "maxConnectionRate", "maxRequestRate"] as const,
  ...["allow", "deny", "proxyProtocol", "proxyTrust", "cert", "key"] as const,
  ...["clientCa", "clientAuth", "tlsMinVersion", "alpnProtocols"] as const,
];

function unixPlace(options: ServeOptions<never>): UnixPlace | undefined {
  const { path, unixMode } = options;
  if (path === undefined) {
    if (unixMode === undefined) return undefined;
    throw new OptionError("unixMode", unixMode, "a path beside it");
  }
  if (!isListenPath(path)) {
    throw new OptionError("path", path, LISTEN_PATH_FORM);
  }
  refuseBesidePath(options, TCP_ONLY);
  return { path, mode: unixMode ?? defaults.unixMode };
}

/** Reads a list of addresses. */
function cidrs(option: string, text?: string): CidrList | undefined {
  if (text === undefined) return undefined;
  try {
    return parseCidrList(text);
  } catch (error) {
    if (!(error instanceof CidrError)) throw error;
    throw new OptionError(option, error.entry, CIDR_FORM);
  }
}

function proxyTrust(
  { proxyProtocol = "off", proxyTrust }: ServeOptions<never>,
): ProxyTrust | undefined {
  checkOneOf("proxyProtocol", proxyProtocol, proxyModes);
  const trusted = cidrs("proxyTrust", proxyTrust);
  if (proxyProtocol === "off") return undefined;
  // Believing everybody would let anybody take any address.
  if (trusted === undefined) {
    throw new OptionError("proxyTrust", proxyTrust ?? "", CIDR_FORM);
  }
  return { version: proxyProtocol, trusted };
}

function numbersOf(options: ServeOptions<never>) {
  const names = Object.keys(ranges).filter((name) => name in defaults);
  return Object.fromEntries((names as NumberOption[]).map((name) => {
    const { [name]: value = defaults[name] } = options;
    return [name, checkNumber(name, value)];
  })) as Record<NumberOption, number>;
}

function rate(option: string, text = "0"): Rate | undefined {
  if (text === "0") return undefined;
  const rate = parseRate(text);
  if (rate !== undefined) return rate;
  throw new OptionError(option, text, `${RATE_FORM}, or 0 for no limit`);
}
