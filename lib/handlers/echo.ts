/** The handler `echo`: the reply is the request. */

/**
 * Replies with the request's bytes.
 *
 * @param request The request.
 * @returns The same bytes.
 *
 * @example
 * ```ts
 * import { echo, serve } from "../mod.ts";
 *
 * await using server = serve({ hostname: "127.0.0.1", port: 0 }, echo);
 * ```
 */
export function echo(
  request: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  return request;
}
