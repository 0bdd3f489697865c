/** The replies of the server itself. All begin with `ERR `. */

import { type FrameError, ReplyTooLargeError } from "../core/errors.ts";
import type { Rate } from "../core/units.ts";

export const replies = {
  frame: (error: FrameError): string => `ERR ${error.message}`,
  /** To a connection that `httpGuard` closes. */
  http: "ERR malformed frame: an HTTP request, and this port speaks no HTTP",
  busy: (limit: number): string =>
    `ERR busy: connection limit of ${limit} reached`,
  busyIp: (limit: number): string =>
    `ERR busy: connection limit of ${limit} for this address reached`,
  busyRate: (of: "connection" | "request", { text }: Rate): string =>
    `ERR busy: ${of} rate of ${text} for this address reached`,
  overload: "ERR busy: memory limit reached",
  noAnswer: "ERR busy: no answer about a free place in time",
  denied: "ERR denied: this address may not connect",
  certificate: (reason: string): string => `ERR denied: ${reason}`,
  requestTimeout: (ms: number): string =>
    `ERR request timeout: no reply within ${ms} ms`,
  /**
   * After a handler has failed. What it threw goes to the events only, unless the
   * reply is too large: the peer may then ask for less.
   */
  failed: (error: unknown): string =>
    error instanceof ReplyTooLargeError
      ? `ERR ${error.message}`
      : "ERR internal error",
};
