/**
 * Connecting to a name that has several addresses, by RFC 8305 ("Happy Eyeballs
 * Version 2"): all are tried, IPv4 and IPv6 in turn, and the first that succeeds
 * ends the others. Deno 2.7.14 tries the first address only, and no version says
 * what was wrong with each.
 */

import { isIP } from "node:net";

import { type Clock, systemClock } from "../core/clock.ts";

/** When the next attempt begins, in milliseconds (RFC 8305, section 8). */
const ATTEMPT_DELAY = 250;

export interface Attempts<Conn extends { close(): void }> {
  /** Finds the addresses of a name, at least one, the preferred ones first. */
  lookup(hostname: string): Promise<readonly string[]>;
  /** A connection that is made after the abort is to be returned all the same. */
  connect(address: string, signal: AbortSignal): Promise<Conn>;
  readonly signal: AbortSignal;
  readonly clock?: Clock;
}

export class AttemptsError extends AggregateError {
  override name = "AttemptsError";

  constructor(
    readonly attempts: readonly { address: string; error: unknown }[],
  ) {
    super(attempts.map(({ error }) => error), "All addresses failed");
  }
}

/** Connects to the first address of a host that lets us. */
export async function connectToAny<Conn extends { close(): void }>(
  hostname: string,
  { lookup, connect, signal, clock = systemClock }: Attempts<Conn>,
): Promise<Conn> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<Conn>();
  const over = new AbortController();
  const failed: AttemptsError["attempts"][number][] = [];
  let left: string[] = [];
  let open = 0;
  let cancelDelay = () => {};

  const attempt = async () => {
    cancelDelay();
    const address = left.shift()!;
    if (left.length > 0) cancelDelay = clock.after(ATTEMPT_DELAY, attempt);
    open++;
    try {
      const conn = await connect(address, over.signal);
      // Another was faster, or nobody waits any more.
      if (over.signal.aborted) return conn.close();
      over.abort();
      resolve(conn);
    } catch (error) {
      open--;
      if (over.signal.aborted) return;
      failed.push({ address, error });
      if (left.length > 0) attempt();
      else if (open === 0) {
        reject(failed.length > 1 ? new AttemptsError(failed) : error);
      }
    }
  };
  const abort = () => {
    over.abort();
    reject(signal.reason);
  };

  signal.addEventListener("abort", abort, { once: true });
  try {
    const found = isIP(hostname) !== 0
      ? [hostname]
      : await Promise.race([lookup(hostname), promise as Promise<never>]);
    left = interleave(found);
    attempt();
    return await promise;
  } finally {
    cancelDelay();
    signal.removeEventListener("abort", abort);
  }
}

/** Orders addresses, each once: the families in turn (RFC 8305, section 4). */
export function interleave(addresses: readonly string[]): string[] {
  const all = new Set(addresses);
  const [first = [], others = []] = Map.groupBy(all, isIP).values();
  return Array.from(all, (_, i) => [first[i], others[i]]).flat()
    .filter((address) => address !== undefined);
}
