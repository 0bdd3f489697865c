/** How many the accept loop takes, and when. */

import { assertEquals } from "../support/std.ts";

import { InMemory, turn } from "../support/in_memory.ts";

/** How many are connected, or were refused. */
function accepted({ server }: InMemory): number {
  const { active, opening } = server.metrics();
  return active + opening;
}

Deno.test("accept leaves turns to others while many are queued", async () => {
  await using running = new InMemory((request) => request);
  const all = Array.from({ length: 100 }, () => running.listener.connect());
  const perTurn = [];
  for (let before = 0; before < all.length; before = accepted(running)) {
    await turn();
    perTurn.push(accepted(running) - before);
  }
  assertEquals(perTurn, [32, 32, 32, 4]);
  for (const transport of all) transport.end();
  await running.pass(5, 1);
});

Deno.test("shutdown accepts as many as may be queued, and then no more", async () => {
  await using running = new InMemory((request) => request, { tcpBacklog: 3 });
  await turn();
  const finished = running.server.shutdown();
  for (let i = 0; i < 10; i++) {
    const transport = running.listener.connect();
    transport.push("x\n");
    transport.end();
  }
  await turn();
  assertEquals(running.server.connectionsTotal, 3);
  await running.pass(10, 1);
  await finished;
  assertEquals(running.server.requests, 3);
});
