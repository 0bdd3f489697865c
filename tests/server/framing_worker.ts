/** What the threads of `threads_test.ts` run with a framing of their own. */

import { serveThread } from "../../lib/threads/mod.ts";
import { respFraming } from "../support/framings.ts";

serveThread((_request, { framing }) => `+${framing}\r\n`, {
  framing: respFraming,
});
