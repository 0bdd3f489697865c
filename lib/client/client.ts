/** {@linkcode connect}: from its options to a client. */

import {
  checkHostname,
  checkNumber,
  refuseBesidePath,
  refuseUnknown,
} from "../core/checks.ts";
import { OptionError } from "../core/errors.ts";
import { type Framing, type FramingName, framingOf } from "../framing/mod.ts";
import type { Transport } from "../net/connection.ts";
import { isSocketPath, SOCKET_PATH_FORM } from "../net/unix.ts";
import type { Client } from "./api.ts";
import {
  dial,
  dialUnixSocket,
  type TlsConnectOptions,
  tlsOptions,
} from "./dial.ts";
import { PipelinedClient } from "./pipelined_client.ts";

/** Options of {@linkcode connect}. */
export interface ConnectOptions {
  /**
   * The server's address or name.
   *
   * @default {"127.0.0.1"}
   */
  hostname?: string;
  /**
   * The server's port.
   *
   * @default {8080}
   */
  port?: number;
  /** The path of a Unix socket, in place of `hostname` and `port`. */
  path?: string;
  /**
   * How requests and replies are told apart, as the server has it.
   *
   * @default {"line"}
   */
  framing?: FramingName | Framing;
  /**
   * The maximum payload of a reply in bytes.
   *
   * @default {16777216}
   */
  maxFrame?: number;
  /**
   * How long connecting, and then each reply, may take, in milliseconds. A
   * reply is given up to a quarter longer, since one coarse timer serves all
   * requests. 0 means for ever.
   *
   * @default {30000}
   */
  timeout?: number;
  /**
   * Whether the connection goes on when a request has timed out. Its reply is
   * dropped then when it comes late, and the others stay with their own
   * requests, behind it. If it never comes, each reply goes to the request before
   * its own: so the connection is closed unless you know that it will come.
   *
   * @default {false}
   */
  keepAfterTimeout?: boolean;
  /**
   * How many bytes may be unsent before {@linkcode Client.ready} waits, and the
   * most bytes of {@linkcode Client.pushes} that wait to be taken.
   *
   * @default {1048576}
   */
  maxBuffered?: number;
  /**
   * Whether a frame answers no request: then it is one of
   * {@linkcode Client.pushes}. It is given each frame that comes, as the copy
   * that is delivered. If it throws, the connection ends. Without it each frame
   * that comes while a request waits is its reply, and any other is forgotten.
   */
  isPush?: (frame: Uint8Array<ArrayBuffer>) => boolean;
  /**
   * Speaks TLS, as the server must then. Its certificate is checked; nothing is
   * sent before that.
   *
   * @default {false}
   */
  tls?: boolean | TlsConnectOptions;
  /** Gives up connecting. It is not looked at once there is a connection. */
  signal?: AbortSignal;
}

export const connectDefaults = Object.freeze(
  {
    hostname: "127.0.0.1",
    port: 8080,
    framing: "line",
    maxFrame: 16 * 1024 * 1024,
    timeout: 30_000,
    maxBuffered: 1024 * 1024,
  } satisfies ConnectOptions,
);

/** `transport` is what an address of the runtime has beside. */
const OPTIONS: Readonly<Record<keyof ConnectOptions | "transport", 0>> = {
  ...{ transport: 0, hostname: 0, port: 0, path: 0, framing: 0, maxFrame: 0 },
  ...{ timeout: 0, keepAfterTimeout: 0, maxBuffered: 0, isPush: 0 },
  ...{ tls: 0, signal: 0 },
};

/**
 * Connects to a server.
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
export async function connect(options: ConnectOptions = {}): Promise<Client> {
  const { path, signal } = options;
  const {
    hostname = connectDefaults.hostname,
    port = connectDefaults.port,
    maxFrame = connectDefaults.maxFrame,
    timeout = connectDefaults.timeout,
    maxBuffered = connectDefaults.maxBuffered,
    isPush,
  } = options;
  refuseUnknown(options, OPTIONS);
  checkHostname(hostname);
  checkNumber("port", port);
  checkNumber("maxFrame", maxFrame);
  checkNumber("timeout", timeout);
  checkNumber("maxBuffered", maxBuffered);
  if (isPush !== undefined && typeof isPush !== "function") {
    throw new OptionError("isPush", isPush, "a function of a frame");
  }
  const framing = framingOf(options.framing ?? connectDefaults.framing);
  framing.codec(maxFrame);
  const tls = tlsOptions(options.tls);
  const transport = path === undefined
    ? await dial({ hostname, port, timeout, signal, tls })
    : await dialPath(path, options);
  const { keepAfterTimeout } = options;
  return new PipelinedClient(transport, {
    ...{ framing, maxFrame, timeout, keepAfterTimeout, maxBuffered, isPush },
  });
}

async function dialPath(
  path: string,
  { hostname, port, tls, signal }: ConnectOptions,
): Promise<Transport> {
  if (!isSocketPath(path)) {
    throw new OptionError("path", path, SOCKET_PATH_FORM);
  }
  // No TLS is what a path has.
  const given = { hostname, port, tls: tls === false ? undefined : tls };
  refuseBesidePath(given, ["hostname", "port", "tls"]);
  return await dialUnixSocket(path, signal);
}
