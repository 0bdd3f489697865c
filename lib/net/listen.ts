/** Listeners, and what it means that accepting a connection failed. */

import type { Transport } from "./connection.ts";
import { listenUnix, type UnixPlace } from "./unix.ts";

/** What Parley needs of a listener; `close` makes a pending `accept` reject. */
export type Acceptor =
  & { accept(): Promise<Transport> }
  & Pick<Deno.Listener, "addr" | "close">
  & Partial<Pick<Deno.Listener, "ref" | "unref">>;

export function listen(
  { unix, hostname, port, tcpBacklog, reusePort }: Deno.TcpListenOptions & {
    /** In place of all others, where it is defined. */
    readonly unix: UnixPlace | undefined;
  },
): Acceptor {
  if (unix !== undefined) return listenUnix(unix);
  return Deno.listen({ hostname, port, tcpBacklog, reusePort });
}

/**
 * Why `accept` failed:
 *
 * - `peer`: it reset its connection while that was queued;
 * - `descriptors`: the process has as many open as the system allows;
 * - `resources`: the system lacks something else for now, such as memory;
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
  const { code } = Object(error) as { code?: unknown };
  // ENFILE, ENOBUFS and ENOMEM come as plain errors. Whatever else it is, the
  // server tries again, for it would be worse to give up.
  return code === "EMFILE" ? "descriptors" : "resources";
}
