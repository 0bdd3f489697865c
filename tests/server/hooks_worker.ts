/** What the threads of `threads_test.ts` run with hooks. */

import { broadcast, type RequestInfo } from "../../lib/mod.ts";
import { serveThread } from "../../lib/threads/mod.ts";

const room = new Set<RequestInfo<unknown>>();

serveThread((request) => broadcast(room, request), {
  onOpen: (info) => {
    room.add(info);
    return "welcome";
  },
  onClose: (info) => void room.delete(info),
});
