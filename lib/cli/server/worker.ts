/** What a thread of `server --threads` runs; its name is its handler's. */

import { handlers } from "../../handlers/mod.ts";
import { serveThread } from "../../threads/thread.ts";

const { name } = globalThis as unknown as { name: keyof typeof handlers };

serveThread(handlers[name]);
