/** Where connections come from, and what it means if there comes none. */

import type { Transport } from "./connection.ts";
import { listenUnix, type UnixPlace } from "./unix.ts";

/** What Parley needs of a listener; `Deno.Listener` has it. */
export interface Acceptor {
  readonly addr: Deno.Addr;
  accept(): Promise<Transport>;
  /** Closes the listener; a pending `accept` rejects. */
  close(): void;
  ref?(): void;
  unref?(): void;
}

export interface ListenPlace {
  readonly hostname: string;
  readonly port: number;
  /** In place of the two above, where it is defined. */
  readonly unix: UnixPlace | undefined;
  readonly tcpBacklog: number;
  readonly reusePort: boolean;
}

export function listen(place: ListenPlace): Acceptor {
  if (place.unix !== undefined) return listenUnix(place.unix);
  const { hostname, port, tcpBacklog, reusePort } = place;
  return Deno.listen({ hostname, port, tcpBacklog, reusePort });
}

/**
 * Whose fault it is that `accept` failed:
 *
 * - `peer`: it reset its connection while it was queued;
 * - `descriptors`: the process has as many open as the system lets it have;
 * - `resources`: the system lacks something else, memory for one; it passes;
 * - `listener`: it is closed.
 */
export type AcceptFault = "peer" | "descriptors" | "resources" | "listener";

export function faultOf(error: unknown): AcceptFault {
  if (
    error instanceof Deno.errors.NotConnected ||
    error instanceof Deno.errors.ConnectionAborted ||
    error instanceof Deno.errors.ConnectionReset
  ) return "peer";
  if (
    error instanceof Deno.errors.BadResource ||
    error instanceof Deno.errors.Interrupted
  ) return "listener";
  if ((error as { code?: unknown } | null)?.code === "EMFILE") {
    return "descriptors";
  }
  // ENFILE, ENOBUFS and ENOMEM come as plain errors, and whatever else the
  // system may say is tried again too: giving up would be worse.
  return "resources";
}
