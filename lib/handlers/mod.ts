/** The handlers that ship, by name. */

import type { Handler } from "../server/handler.ts";
import { commands } from "./commands.ts";

/**
 * The handler `echo`: the reply is the request.
 *
 * @example
 * ```ts
 * import { echo, serve } from "../mod.ts";
 *
 * await using server = serve({ hostname: "127.0.0.1", port: 0 }, echo);
 * ```
 */
export function echo<Bytes = Uint8Array>(request: Bytes): Bytes {
  return request;
}

export const handlers = { commands, echo } satisfies Record<string, Handler>;
