/** What both versions of the PROXY header have in common. */

import { ProxyHeaderError } from "../../core/errors.ts";
import { hex } from "../../core/text.ts";

export interface ProxyHeader {
  /** How many bytes it takes. What follows them is the client's. */
  length: number;
  /**
   * The client. If it is missing, the connection's own addresses are the ones
   * to use: the proxy speaks for itself, as in a health check, or for a client
   * that has no TCP address.
   *
   * IPv6 is spelled as {@linkcode canonicalIPv6} does. An IPv4-mapped address
   * stays one, as it does when Deno shows a peer; lists know it for IPv4.
   */
  source?: Deno.NetAddr;
  /** Where the client connected to; there if `source` is. */
  destination?: Deno.NetAddr;
}

/** @throws {ProxyHeaderError} Always. */
export function broken(text: string): never {
  throw new ProxyHeaderError(text);
}

export function addr(hostname: string, port: number): Deno.NetAddr {
  return { transport: "tcp", hostname, port };
}

/**
 * Finds what the received bytes start with.
 *
 * @returns The one of `starts`; `undefined` when more bytes are needed.
 * @throws {ProxyHeaderError} None of them is possible any more.
 */
export function startOf(
  received: string,
  starts: readonly string[],
  expected: string,
): string | undefined {
  const found = starts.find((start) => received.startsWith(start));
  if (found !== undefined) return found;
  let same = 0;
  for (const start of starts) {
    if (start.startsWith(received)) return undefined;
    while (start.startsWith(received.slice(0, same + 1))) same++;
  }
  const got = hex(received.charCodeAt(same));
  broken(`expected ${expected}, got ${got} at byte ${same + 1}`);
}
