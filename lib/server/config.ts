/** Checks the options of {@linkcode serve}, once, before anything is bound. */

import {
  checkHostname,
  checkNumber,
  checkOneOf,
  checkOptions,
  type Kind,
  ranges,
} from "../core/checks.ts";
import { CIDR_FORM, CidrList } from "../core/cidr.ts";
import { OptionError } from "../core/errors.ts";
import { parseRate, type Rate, RATE_FORM } from "../core/units.ts";
import { eventTypes } from "../events/events.ts";
import { framingOf } from "../framing/mod.ts";
import { checkListenPath, type UnixPlace } from "../net/unix.ts";
import { checkTls } from "../tls/settings.ts";
import type { ServerLimits } from "./parley_server.ts";
import {
  type AnyOptions,
  defaults,
  type Hooks,
  proxyModes,
  type ServeOptions,
} from "./options.ts";

type NumberOption = Exclude<keyof typeof ranges, "timeout" | "threads">;

/** The options, complete and checked; undefined for what is not used. */
export type ServeConfig = ReturnType<typeof resolveServeOptions>;

export const hookOptions: Readonly<Record<keyof Hooks, Kind>> = {
  ...{ state: "function", onOpen: "function", onClose: "function" } as const,
  ...{ onError: "function", onRefuse: "function" } as const,
};

export const serveOptions: Readonly<Record<keyof ServeOptions, Kind>> = {
  ...{ hostname: 0, port: 0, path: 0, unixMode: 0, tcpBacklog: 0 },
  ...{ framing: 0, maxFrame: 0, maxReply: 0, maxConnections: 0 },
  ...{ maxConnectionsPerIp: 0, maxConnectionRate: 0, maxRequestRate: 0 },
  ...{ ipPrefix: 0, maxMemory: 0, maxBuffered: 0, proxyProtocol: 0 },
  ...{ cert: 0, key: 0, clientCa: 0, clientAuth: 0, tlsMinVersion: 0 },
  ...{ alpnProtocols: 0, idleTimeout: 0, requestTimeout: 0, writeTimeout: 0 },
  ...{ slowRequest: 0, drainTimeout: 0, preDrainDelay: 0, events: 0 },
  ...{ allow: "string", deny: "string", proxyTrust: "string" } as const,
  ...{ reusePort: "boolean", httpGuard: "boolean" } as const,
  ...{ halfOpen: "boolean", onListen: "function" } as const,
  signal: AbortSignal,
  ...hookOptions,
};

const listeners: Readonly<Record<string, Kind>> = Object.fromEntries(
  eventTypes.map((type) => [type, "function"]),
);

/**
 * Checks the options and fills in the defaults.
 *
 * @param more What is allowed too, but checked elsewhere beyond its kind.
 * @throws {OptionError} A value is not allowed.
 */
export function resolveServeOptions(
  options: AnyOptions,
  more: Readonly<Record<string, Kind>> = {},
) {
  checkOptions<object>(options, { ...serveOptions, ...more });
  const { startTls = false, events = {} } = options;
  checkOptions<object>(events, listeners, "events");
  const framing = framingOf(options.framing ?? defaults.framing);
  const unix = unixPlace(options);
  const tls = checkTls(options);
  if (startTls && tls === undefined) {
    throw new OptionError("startTls", startTls, "a certificate beside it");
  }
  const numbers = numbersOf(options);
  const { maxFrame, maxReply } = numbers;
  const { overhead } = framing.codec(Math.min(maxFrame, maxReply));
  return Object.freeze({
    ...numbers,
    limits: {
      connections: numbers.maxConnections,
      connectionsPerIp: numbers.maxConnectionsPerIp,
      memory: numbers.maxMemory,
      maxFrame,
      timeouts: {
        idle: numbers.idleTimeout,
        request: numbers.requestTimeout,
        write: numbers.writeTimeout,
        drain: numbers.drainTimeout,
      },
    } satisfies ServerLimits,
    hostname: checkHostname(options.hostname ?? defaults.hostname),
    framing,
    /** The most bytes of a frame that is received. */
    frameLimit: maxFrame + overhead,
    unix,
    reusePort: options.reusePort ?? false,
    maxConnectionRate: rate("maxConnectionRate", options.maxConnectionRate),
    maxRequestRate: rate("maxRequestRate", options.maxRequestRate),
    httpGuard: options.httpGuard ?? false,
    halfOpen: options.halfOpen ?? true,
    allow: cidrs("allow", options.allow),
    deny: cidrs("deny", options.deny),
    proxy: proxyTrust(options),
    tls,
    /** Whether TLS begins only when a task calls `startTls()`. */
    startTls,
  });
}

/**
 * The options that are refused beside `path`: the clients of a Unix socket have
 * no address, and Deno sets the length of its queue.
 */
export const TCP_ONLY: readonly (keyof ServeOptions)[] = [
  ...["hostname", "port", "tcpBacklog", "reusePort", "ipPrefix"] as const,
  ...["maxConnectionsPerIp", "maxConnectionRate", "maxRequestRate"] as const,
  ...["allow", "deny", "proxyProtocol", "proxyTrust", "cert", "key"] as const,
  ...["clientCa", "clientAuth", "tlsMinVersion", "alpnProtocols"] as const,
];

function unixPlace(options: AnyOptions): UnixPlace | undefined {
  const { path, unixMode } = options;
  if (path === undefined) {
    if (unixMode === undefined) return undefined;
    throw new OptionError("unixMode", unixMode, "a path beside it");
  }
  checkListenPath(options, TCP_ONLY);
  return { path, mode: unixMode ?? defaults.unixMode };
}

function cidrs(option: string, text?: string): CidrList | undefined {
  return text === undefined ? undefined : new CidrList(option, text);
}

/** Whose PROXY header is believed, and in which versions. */
function proxyTrust({ proxyProtocol = "off", proxyTrust }: AnyOptions) {
  checkOneOf("proxyProtocol", proxyProtocol, proxyModes);
  const trusted = cidrs("proxyTrust", proxyTrust);
  if (proxyProtocol === "off") return undefined;
  // If everybody were believed, anybody could claim any address.
  if (trusted === undefined) {
    throw new OptionError("proxyTrust", proxyTrust ?? "", CIDR_FORM);
  }
  return { version: proxyProtocol, trusted };
}

function numbersOf(options: AnyOptions) {
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
