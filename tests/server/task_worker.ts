/** What the threads of `threads_test.ts` run with a task for each connection. */

import { serveThreadConnections } from "../../lib/threads/mod.ts";

serveThreadConnections<{ count: number }>(async (connection) => {
  for await (const _ of connection) {
    await connection.send(`${++connection.state.count}`);
  }
  await connection.send("bye");
}, { state: () => ({ count: 0 }) });
