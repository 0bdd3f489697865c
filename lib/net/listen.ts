/**
 * Where connections come from: the listener that a configuration asks for.
 *
 * @module
 */

import type { ServeConfig } from "../server/options.ts";
import type { Transport } from "./connection.ts";
import { listenUnix } from "./unix.ts";

/** What Parley needs of a listener; `Deno.Listener` has it. */
export interface Acceptor {
  /** The bound address. */
  readonly addr: Deno.Addr;
  /** The next connection. */
  accept(): Promise<Transport>;
  /** Closes the listener; a pending `accept` rejects. */
  close(): void;
  /** Keeps the process alive, as it does from the start. */
  ref?(): void;
  /** Lets the process end though the listener is open. */
  unref?(): void;
}

/**
 * Binds the listener of a configuration.
 *
 * @param config The options, checked.
 * @throws {Deno.errors.AddrInUse} The port or the path is taken.
 * @throws {Deno.errors.AddrNotAvailable} The address is not this machine's.
 * @throws {Deno.errors.NotFound} There is no folder for the path.
 * @throws {OptionError} There is a file at the path that is no socket.
 */
export function listen(config: ServeConfig): Acceptor {
  if (config.unix !== undefined) return listenUnix(config.unix);
  const { hostname, port, tcpBacklog, reusePort } = config;
  return Deno.listen({ hostname, port, tcpBacklog, reusePort });
}
