/** The replies that the server itself gives, all starting with `ERR `. */

import { type FrameError, ReplyTooLargeError } from "../core/errors.ts";
import type { Rate } from "../core/units.ts";

/** See the module's text. */
export const replies = {
  /** @param error What is wrong with the peer's bytes. */
  frame: (error: FrameError): string => `ERR ${error.message}`,
  /** For what `httpGuard` closes. */
  http: "ERR malformed frame: an HTTP request, and this port speaks no HTTP",
  /** @param limit The number of connections the server allows. */
  busy: (limit: number): string =>
    `ERR busy: connection limit of ${limit} reached`,
  /** @param limit The number of connections one address may have. */
  busyIp: (limit: number): string =>
    `ERR busy: connection limit of ${limit} for this address reached`,
  /** For a connection, or a request, over the rate of its address. */
  busyRate: (of: "connection" | "request", { text }: Rate): string =>
    `ERR busy: ${of} rate of ${text} for this address reached`,
  /** For one that comes while the memory of all is used up. */
  overload: "ERR busy: memory limit reached",
  /** For one that has waited for a place for too long. */
  noAnswer: "ERR busy: no answer about a free place in time",
  /** For an address that `allow` lacks or `deny` has. */
  denied: "ERR denied: this address may not connect",
  /** @param reason What is wrong with the client's certificate, or lacks. */
  certificate: (reason: string): string => `ERR denied: ${reason}`,
  /** @param ms The request timeout in milliseconds. */
  requestTimeout: (ms: number): string =>
    `ERR request timeout: no reply within ${ms} ms`,
  /**
   * For a handler that fails. What it threw goes to the events only; that its
   * reply is too large, the peer may know, who can ask for less.
   */
  failed: (error: unknown): string =>
    error instanceof ReplyTooLargeError
      ? `ERR ${error.message}`
      : "ERR internal error",
};

/** Whether a reply is an error's: it starts with `ERR `. */
export function isErrReply(reply: Uint8Array): boolean {
  return reply.length >= 4 && reply[0] === 0x45 && reply[1] === 0x52 &&
    reply[2] === 0x52 && reply[3] === 0x20;
}
