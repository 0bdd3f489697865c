/**
 * What a thread of `server --threads` runs. Its name is that of its handler.
 *
 * @module
 */

import { handlers } from "../../handlers/mod.ts";
import { serveThread } from "../../threads/mod.ts";

const { name } = globalThis as unknown as { name: keyof typeof handlers };

serveThread(handlers[name]);
