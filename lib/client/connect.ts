/** {@linkcode connect} and {@linkcode createPool}: from options to clients. */

import type { Place } from "../core/address.ts";
import * as checks from "../core/checks.ts";
import { OptionError } from "../core/errors.ts";
import { type Framing, type FramingName, framingOf } from "../framing/mod.ts";
import { isSocketPath, SOCKET_PATH_FORM } from "../net/unix.ts";
import type { Client, Pool, ServerPlace, ServersOptions } from "./api.ts";
import {
  dial,
  dialUnixSocket,
  type TlsConnectOptions,
  tlsOptions,
} from "./dial.ts";
import { type Hooks, PipelinedClient } from "./pipelined_client.ts";
import { ServerPool } from "./pool.ts";

/**
 * Options of {@linkcode connect}. Times are in milliseconds, where 0 is no limit,
 * and sizes in bytes. What stands in brackets is the default.
 */
export interface ConnectOptions extends ServerPlace {
  /** How requests and replies are told apart, as on the server (`line`). */
  framing?: FramingName | Framing;
  /** The maximum payload of a reply (16 MiB). */
  maxFrame?: number;
  /**
   * How long connecting, and then each reply, may take (30,000). One coarse timer
   * serves all requests, so a reply is given up to a quarter longer.
   */
  timeout?: number;
  /**
   * Whether the connection goes on when a request has timed out (false). Its reply
   * is dropped then when it comes late, and the others stay with their own
   * requests, behind it. If it never comes, each reply goes to the request before
   * its own: so the connection is closed unless you know that it will come.
   */
  keepAfterTimeout?: boolean;
  /**
   * How many bytes may be unsent before {@linkcode Client.ready} waits, and the
   * most bytes of {@linkcode Client.pushes} that wait to be taken (1 MiB).
   */
  maxBuffered?: number;
  /**
   * Whether a frame answers no request: then it is one of
   * {@linkcode Client.pushes}. It is given each frame that comes, as the copy
   * that is delivered. If it throws, the connection ends. Without it each frame
   * that comes while a request waits is its reply, and any other is dropped.
   */
  isPush?: (frame: Uint8Array<ArrayBuffer>) => boolean;
  /**
   * Speaks TLS, as the server must then (false). Nothing is sent before the
   * server's certificate has been checked.
   */
  tls?: boolean | TlsConnectOptions;
  /** Gives up connecting. It has no effect once there is a connection. */
  signal?: AbortSignal;
}

export const connectDefaults = Object.freeze({
  ...{ hostname: "127.0.0.1", port: 8080, framing: "line" as FramingName },
  ...{ maxFrame: 2 ** 24, timeout: 30_000, maxBuffered: 2 ** 20 },
});

/** Options of {@linkcode createPool}. */
export interface PoolOptions
  extends
    Omit<ConnectOptions, keyof ServerPlace | "isPush" | "signal">,
    ServersOptions {}

const poolDefaults = {
  ...{ size: 4, maxPending: 16, maxQueued: 1024 },
  ...{ retries: 3, maxDelay: 10_000, checkInterval: 5000 },
};

/** All options, and their kinds; an address of the runtime has `transport` too. */
const PLACE = { transport: 0, hostname: 0, port: 0, path: 0 } as const;
const LINK = {
  ...{ framing: 0, maxFrame: 0, timeout: 0, maxBuffered: 0, tls: 0 } as const,
  keepAfterTimeout: "boolean",
} as const;
const SINGLE = {
  ...{ ...PLACE, ...LINK },
  ...{ isPush: "function", signal: AbortSignal } as const,
};
const POOL = {
  ...{ balance: 0, size: 0, maxPending: 0, maxQueued: 0, retries: 0 } as const,
  ...{ maxDelay: 0, checkInterval: 0, healthCheck: 0, ...LINK } as const,
  ...{ servers: Array, onStateChange: "function" } as const,
};

/**
 * Connects to a server; or, with `servers`, makes a pool whose first connection
 * is there.
 *
 * @param options Where to, and within which limits.
 * @returns The client, connected. A server may turn the connection away all the
 * same: then requests reject with {@linkcode RefusedError}.
 * @throws {OptionError} An option has a value that is not allowed.
 * @throws {ConnectError} There is no connection to be had; `cause` says why.
 * @throws {TimeoutError} It took longer than `timeout`.
 *
 * @example
 * ```ts
 * import { connect, echo, serve } from "../mod.ts";
 *
 * await using server = serve({ hostname: "127.0.0.1", port: 0 }, echo);
 * const { port } = server.addr;
 * await using client = await connect({ port });
 * const replies = await Promise.all([
 *   client.request("one"),
 *   client.request("two"),
 * ]);
 * ```
 */
export function connect(options: PoolOptions): Promise<Pool>;
/** Connects to a server. */
export function connect(options?: ConnectOptions): Promise<Client>;
export async function connect(
  options: ConnectOptions & Partial<PoolOptions> = {},
): Promise<Client | Pool> {
  const { servers, signal } = options;
  if (servers !== undefined) {
    return await (createPool({ ...options, servers }) as ServerPool).open();
  }
  checks.checkOptions<ConnectOptions>(options, SINGLE);
  const { placeOf, link } = linker(options);
  return await link(placeOf(options), signal);
}

/**
 * Makes a pool: connections to one or more servers, opened as they are needed.
 *
 * @param options Which servers, how requests are spread, and within which limits.
 * @throws {OptionError} An option has a value that is not allowed.
 *
 * @example
 * ```ts
 * import { createPool, echo, serve } from "../mod.ts";
 *
 * const options = { hostname: "127.0.0.1", port: 0 };
 * await using one = serve(options, echo);
 * await using two = serve(options, echo);
 * await using pool = createPool({
 *   servers: [one.addr, two.addr],
 *   timeout: 2000,
 *   healthCheck: { request: "PING", expect: "PING" },
 *   onStateChange: (server, error) => console.log(server, error),
 * });
 * await pool.request("hello", { idempotent: true });
 * ```
 */
export function createPool(options: PoolOptions): Pool {
  checks.checkOptions(options, POOL);
  const { balance = "least-pending", healthCheck, onStateChange } = options;
  const balances = ["least-pending", "round-robin", "failover"] as const;
  checks.checkOneOf("balance", balance, balances);
  if (healthCheck !== undefined) {
    checks.checkOptions(healthCheck, { request: 0, expect: 0 }, "healthCheck");
    const { request, expect } = healthCheck;
    if (typeof request !== "string" && !(request instanceof Uint8Array)) {
      throw new OptionError("request", request, "a text or bytes");
    }
    if (typeof expect !== "string" && typeof expect !== "function") {
      throw new OptionError("expect", expect, "a text or a function");
    }
  }
  const numbers = { ...poolDefaults };
  for (const name of Object.keys(numbers) as (keyof typeof numbers)[]) {
    const { [name]: value = poolDefaults[name] } = options;
    numbers[name] = checks.checkRange(name, [1, 2 ** 31 - 1], value);
  }
  const { placeOf, ...linking } = linker(options);
  const servers = (options.servers ?? []).map((place) => {
    checks.checkOptions(place, PLACE, "servers");
    return placeOf(place);
  });
  if (servers.length === 0) throw new OptionError("servers", "", "a server");
  return new ServerPool({
    ...{ servers, balance, healthCheck, onStateChange, ...linking, ...numbers },
  });
}

/** Checks the options of connections; gives what makes them. */
function linker(options: ConnectOptions) {
  const number = (name: "maxFrame" | "timeout" | "maxBuffered") => {
    const { [name]: value = connectDefaults[name] } = options;
    return checks.checkNumber(name, value);
  };
  const maxFrame = number("maxFrame");
  const timeout = number("timeout");
  const maxBuffered = number("maxBuffered");
  const { keepAfterTimeout, isPush } = options;
  const framing = framingOf(options.framing ?? connectDefaults.framing);
  framing.codec(maxFrame);
  const tls = tlsOptions(options.tls);

  return {
    timeout,
    placeOf({ hostname, port, path }: ServerPlace): Place {
      if (path === undefined) {
        return {
          hostname: checks.checkHostname(hostname ?? connectDefaults.hostname),
          port: checks.checkNumber("port", port ?? connectDefaults.port),
        };
      }
      if (!isSocketPath(path)) {
        throw new OptionError("path", path, SOCKET_PATH_FORM);
      }
      const others = { hostname, port, tls };
      checks.refuse(others, Object.keys(others), "beside path");
      return { path };
    },
    async link(place: Place, signal?: AbortSignal, hooks?: Hooks) {
      const transport = "path" in place
        ? await dialUnixSocket(place.path, signal)
        : await dial({ ...place, timeout, signal, tls });
      return new PipelinedClient(transport, {
        ...{ framing, maxFrame, timeout, maxBuffered },
        ...{ keepAfterTimeout, isPush, ...hooks },
      });
    },
  };
}
