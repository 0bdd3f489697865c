/** The handlers that ship, by name. */

import type { Handler } from "../server/handler.ts";
import { commands } from "./commands.ts";
import { echo } from "./echo.ts";

export const handlers = { commands, echo } as const satisfies Record<
  string,
  Handler
>;
