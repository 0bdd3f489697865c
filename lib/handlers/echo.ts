/**
 * The handler `echo`: the reply is the request.
 *
 * @module
 */

import type { Handler } from "../handler.ts";

/**
 * Replies with the request's bytes.
 *
 * @example
 * ```ts
 * import { echo, serve } from "../mod.ts";
 *
 * await using server = serve({ hostname: "127.0.0.1", port: 0 }, echo);
 * ```
 */
export const echo: Handler = (request) => request;
