/** What it means that `accept` failed. */

/**
 * Whose fault it is that `accept` failed:
 *
 * - `peer`: it reset its connection while it was queued;
 * - `descriptors`: the process has as many open as the system lets it have;
 * - `resources`: the system lacks something else, memory for one; it passes;
 * - `listener`: it is closed.
 */
export type AcceptFault = "peer" | "descriptors" | "resources" | "listener";

/**
 * Says whose fault a failure of `accept` is.
 *
 * @param error What `accept` threw.
 */
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
