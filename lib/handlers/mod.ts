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
export const echo: Handler<unknown> = (request) => request;

export const handlers = { commands, echo } as const satisfies Record<
  string,
  Handler
>;
